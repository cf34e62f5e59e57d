"""What this package raises, and why a record is refused."""

from __future__ import annotations

import enum


class RefusalCode(enum.StrEnum):
    """Why a record was refused: bounded, because it labels a metric."""

    NOT_A_RECORD = "not-a-record"
    TOO_LARGE = "too-large"
    UNKNOWN_KEY = "unknown-key"
    BAD_CHAIN = "bad-chain"
    BAD_SIGNATURE = "bad-signature"
    WRONG_FEDERATION = "wrong-federation"
    WRONG_CLUSTER = "wrong-cluster"
    WRONG_PATH = "wrong-path"
    ROLLED_BACK = "rolled-back"
    FROM_THE_FUTURE = "from-the-future"
    MALFORMED_VALUE = "malformed-value"
    MISPLACED_KEY = "misplaced-key"


class FederationError(Exception):
    """Root of what this package raises. `code` is bounded: what is to be done depends on it."""

    code: str = "federation"


class RecordRefused(FederationError):
    """A value in etcd (or on disk) that is not a record we believe."""

    def __init__(self, code: RefusalCode, detail: str) -> None:
        super().__init__(code, detail)
        self.code: RefusalCode = code
        self.detail = detail

    def __str__(self) -> str:
        return f"{self.code}: {self.detail}"
