"""What can go wrong with identity. One root; `code` is bounded and labels a metric, `str()` is for a person."""

from __future__ import annotations

from typing import Literal, TypeAlias

TrustCode: TypeAlias = Literal[
    "malformed-spiffe-id",
    "malformed-fingerprint",
    "malformed-bundle",
    "malformed-key",
    "malformed-chain",
    "unreadable-file",
    "unsafe-permissions",
    "incomplete-authority",
    "key-mismatch",
    "foreign-authority",
    "authority-not-valid",
    "bad-signing-request",
    "foreign-identity",
    "no-identity",
    "path-length",
    "malformed-bundle-url",
    "rolled-back",
    "name-constraints",
    "keyring-changed",
]

RejectionCode: TypeAlias = Literal[
    "no-certificate",
    "malformed",
    "no-spiffe-id",
    "several-spiffe-ids",
    "malformed-spiffe-id",
    "wrong-trust-domain",
    "ca-certificate",
    "wrong-key-usage",
    "weak-key",
    "expired",
    "not-yet-valid",
    "unknown-authority",
    "not-a-gateway",
    "not-a-record-signer",
    "wrong-root",
    "revoked",
]


class TrustError(Exception):
    """The root of this package's errors.

    `code` is one of `TrustCode`, or for a `PeerRejected` one of `RejectionCode`. The message says what was wrong,
    where, and what to do next; it never holds key material.
    """

    def __init__(self, code: TrustCode | RejectionCode, message: str) -> None:
        super().__init__(message)
        self.code: str = code


class PeerRejected(TrustError):
    """What somebody else presented does not prove who they are. `code` is one of `RejectionCode`."""

    def __init__(self, code: RejectionCode, message: str) -> None:
        super().__init__(code, message)
