"""The token with which a cluster is invited: one line, made by the inviter, carried to the joiner by people.

`isthmus1.<payload>.<check>`, both in base64url without padding. The check is no protection from anybody (whoever has
the token has the secret): it tells a truncated or mistyped paste from one that is refused for what it says.
"""

from __future__ import annotations

import binascii
import hashlib
import re
from typing import Annotated, NoReturn

import msgspec
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey
from cryptography.hazmat.primitives.hashes import SHA256
from cryptography.hazmat.primitives.kdf.hkdf import HKDF

from discovery.model import is_dns_label
from federation import base64url
from federation.errors import FederationError
from trust.errors import TrustError
from trust.fingerprint import parse_fingerprint
from trust.spiffe_id import parse_trust_domain

_VERSION = "isthmus1"
_CHECK_BYTES = 9
_MAX_CHARACTERS = 8_192
_URL = re.compile(r"https?://[\x21-\x7e]{1,253}")
_PREFIX = re.compile(r"(/[A-Za-z0-9._-]+)+")
SECRET_BYTES = 32
INVITATION_ID = re.compile(r"[0-9a-f]{16}")


class TokenRefused(FederationError):
    """Text that is no token of an invitation. `code`: `not-a-token`, `truncated`, `damaged`, `other-version` or
    `malformed`. The message never holds any of the text."""

    def __init__(self, code: str, message: str) -> None:
        self.code = code
        super().__init__(message)


class _Secret(bytes):
    """Bytes that don't show themselves."""

    def __repr__(self) -> str:
        return "<secret>"

    __str__ = __repr__


class JoinToken(msgspec.Struct, frozen=True, kw_only=True, array_like=True):
    """What the joiner is told. `cluster`, `trust_domain` and `root` are the inviter's; `invited` is the only cluster
    that may use it, empty: any; `expires_at` is Unix seconds."""

    federation: str
    cluster: str
    trust_domain: str
    root: str
    endpoints: Annotated[tuple[str, ...], msgspec.Meta(min_length=1, max_length=16)]
    prefix: str
    invitation: str
    secret: bytes
    expires_at: float
    invited: str = ""

    def __repr__(self) -> str:
        return f"<JoinToken {self.invitation} of {self.cluster} in {self.federation}, secret redacted>"

    def __reduce__(self) -> NoReturn:
        raise TypeError("a token is not pickled: it holds a secret")

    def key(self) -> Ed25519PrivateKey:
        """The key that proves possession of the token."""
        return invitation_key(self.secret, self.invitation)


def invitation_key(secret: bytes, invitation: str) -> Ed25519PrivateKey:
    """The key pair of an invitation, derived from its secret (HKDF, RFC 5869). The inviter keeps its public half only:
    what lies on its disk redeems nothing."""
    derived = HKDF(algorithm=SHA256(), length=32, salt=invitation.encode(), info=b"isthmus invitation 1")
    return Ed25519PrivateKey.from_private_bytes(derived.derive(secret))


def encode_token(token: JoinToken) -> str:
    payload = msgspec.json.encode(msgspec.structs.replace(token, secret=bytes(token.secret)))
    return f"{_VERSION}.{base64url.encode(payload)}.{base64url.encode(_check(payload))}"


def parse_token(text: str) -> JoinToken:
    """Reads a token as it was pasted: white space and line breaks in it are passed over. Raises TokenRefused."""
    pasted = "".join(text.split())
    version, *parts = pasted.split(".")
    if not pasted or not version.startswith("isthmus"):
        raise TokenRefused("not-a-token", f"this is not a token: one begins with {_VERSION}. and is a single line")
    if version != _VERSION and parts:
        raise TokenRefused("other-version", f"it is of another version of Isthmus: this one reads {_VERSION} only")
    if len(pasted) > _MAX_CHARACTERS or len(parts) > 2:
        raise TokenRefused("damaged", "it is longer than any token: copy it again, alone")
    if len(parts) < 2 or len(parts[1]) < len(base64url.encode(bytes(_CHECK_BYTES))):
        raise TokenRefused("truncated", f"it is truncated after {len(pasted)} characters: copy the whole line")
    return _parse_payload(*parts)


def _parse_payload(payload: str, check: str) -> JoinToken:
    damaged = TokenRefused("damaged", "it was changed on the way, its check does not fit: copy it again")
    try:
        content = base64url.decode(payload)
        if base64url.decode(check) != _check(content):
            raise damaged
    except (binascii.Error, ValueError):
        raise damaged from None
    try:
        token = msgspec.json.decode(content, type=JoinToken)
        _validate(token)
    except (msgspec.DecodeError, TrustError, ValueError, RecursionError):
        raise TokenRefused("malformed", "what it says is not an invitation: ask for a new one") from None
    return msgspec.structs.replace(token, secret=_Secret(token.secret))


def _validate(token: JoinToken) -> None:
    """Raises ValueError or TrustError: everything in it ends in a file, a key of etcd or a terminal."""
    parse_trust_domain(token.trust_domain)
    if parse_fingerprint(token.root) != token.root:
        raise ValueError("root")
    labels = [token.federation, token.cluster, *([token.invited] if token.invited else [])]
    if not all(is_dns_label(label) for label in labels):
        raise ValueError("name")
    if not all(_URL.fullmatch(url) for url in token.endpoints) or not _PREFIX.fullmatch(token.prefix):
        raise ValueError("etcd")
    if len(token.secret) != SECRET_BYTES or not INVITATION_ID.fullmatch(token.invitation):
        raise ValueError("secret")
    if not 0 <= token.expires_at < 2**40:
        raise ValueError("expiry")


def _check(payload: bytes) -> bytes:
    return hashlib.sha256(payload).digest()[:_CHECK_BYTES]
