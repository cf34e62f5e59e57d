"""Signed records: what a cluster says in etcd, bound to its place, so that nobody has to trust etcd.

A record is a JWS in compact form (RFC 7515 section 7.1), ES256, `typ` `isthmus-record`. Its claims name the
federation, the cluster and the path below the cluster where it lies, a sequence that only grows, and the time; the
record proper is `value`. A record that was moved, copied from another cluster or federation, changed, or brought
back from the past is refused here, with a code that is counted and shown.

The form is `federation.jws`.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Annotated, Any, TypeAlias

import msgspec
from cryptography.hazmat.primitives.asymmetric import ec

from federation.errors import RecordRefused, RefusalCode
from federation.jws import (
    RECORD_TYPE,
    UNREADABLE,
    RecordHeader,
    Signer,
    decode_segment,
    encode_chain,
    encode_segment,
    parse_header,
    verify_signature,
)

MAX_SKEW_S = 600.0
"""How far ahead of our clock a record's time may be. Clocks five minutes apart are tolerated, twice that is not."""


class Record(msgspec.Struct, frozen=True):
    """A record whose signature and place were checked. `value` is JSON, not yet looked at."""

    cluster: str
    path: str
    sequence: int
    issued_at: float
    """Unix seconds by the writer's clock."""
    value: bytes
    kid: str


MAX_SEQUENCE = 2**63 - 1


class _Claims(msgspec.Struct, frozen=True):
    federation: str
    cluster: str
    path: str
    sequence: Annotated[int, msgspec.Meta(ge=0, le=MAX_SEQUENCE)]
    iat: float
    value: msgspec.Raw


KeyLookup: TypeAlias = Callable[[RecordHeader, float], ec.EllipticCurvePublicKey]
"""Gives the key that a record with this header may be signed with (at that time, Unix seconds), or raises
RecordRefused."""

VerifiedBefore: TypeAlias = Callable[[RecordHeader], bool]
"""Whether these very bytes were verified at this place before, with the key that the header names now."""

_read_claims = msgspec.json.Decoder(_Claims).decode


def sign_record(
    value: bytes,
    *,
    federation: str,
    cluster: str,
    path: str,
    sequence: int,
    issued_at: float,
    key: Signer,
    kid: str,
    chain: Sequence[bytes] = (),
) -> bytes:
    """The record of `value` (JSON) for that place. `chain` (DER, the key's certificate first, the root last) goes
    into the header, for a reader that knows nothing but the root's fingerprint."""
    header: dict[str, Any] = {"alg": "ES256", "typ": RECORD_TYPE, "kid": kid}
    if chain:
        header["x5c"] = encode_chain(chain)
    claims = _Claims(federation, cluster, path, sequence, issued_at, msgspec.Raw(value))
    signed = encode_segment(msgspec.json.encode(header)) + b"." + encode_segment(msgspec.json.encode(claims))
    return signed + b"." + encode_segment(key.sign(signed))


def open_record(
    raw: bytes,
    *,
    federation: str,
    cluster: str,
    path: str,
    key_for: KeyLookup,
    last_sequence: int,
    now: float,
    verified_before: VerifiedBefore = lambda header: False,
) -> Record:
    """Checks `raw`, found at `path` of `cluster`, in the order cheap to dear, and returns what it says.

    `last_sequence` is that of the last record accepted at this place (-1: none), `now` is Unix seconds. The signature
    is not checked again where `verified_before` says so; everything else is. Raises RecordRefused for everything else
    than a record that its cluster wrote for exactly this place.
    """
    header = parse_header(raw)
    key = key_for(header, now)
    if not verified_before(header):
        verify_signature(raw, key)
    claims = _parse_claims(raw)
    _validate_place(claims, federation, cluster, path)
    if claims.sequence <= last_sequence:
        detail = f"sequence {claims.sequence} is not above {last_sequence}, which was accepted before"
        raise RecordRefused(RefusalCode.ROLLED_BACK, detail)
    if claims.iat > now + MAX_SKEW_S:
        detail = f"issued {claims.iat - now:.0f} s ahead of our clock; compare the clocks of both clusters"
        raise RecordRefused(RefusalCode.FROM_THE_FUTURE, detail)
    return Record(cluster, path, claims.sequence, claims.iat, bytes(claims.value), header.kid)


def reopen_record(raw: bytes, *, federation: str, cluster: str, path: str) -> Record:
    """A record that we accepted before and kept where nobody else writes: its place is checked, its signature is not.
    Raises RecordRefused."""
    header = parse_header(raw)
    claims = _parse_claims(raw)
    _validate_place(claims, federation, cluster, path)
    return Record(cluster, path, claims.sequence, claims.iat, bytes(claims.value), header.kid)


def peek_value(raw: bytes) -> bytes:
    """What a record says before anything of it is verified: to find the key that verifies it. Raises RecordRefused."""
    parse_header(raw)
    try:
        return bytes(_read_claims(decode_segment(raw.split(b".")[1])).value)
    except UNREADABLE:
        raise RecordRefused(RefusalCode.MALFORMED_VALUE, "its claims can't be read") from None


def peek_issued_at(raw: bytes) -> float:
    """When a record says that it was issued (Unix seconds), before anything is verified. Raises RecordRefused."""
    parse_header(raw)
    try:
        return _read_claims(decode_segment(raw.split(b".")[1])).iat
    except UNREADABLE:
        raise RecordRefused(RefusalCode.MALFORMED_VALUE, "its claims can't be read") from None


def _parse_claims(raw: bytes) -> _Claims:
    try:
        payload = decode_segment(raw.split(b".")[1])
    except UNREADABLE:
        raise RecordRefused(RefusalCode.BAD_SIGNATURE, "its payload is not base64url in canonical form") from None
    try:
        return _read_claims(payload)
    except UNREADABLE as error:
        raise RecordRefused(RefusalCode.MALFORMED_VALUE, f"claims: {error}") from None


def _validate_place(claims: _Claims, federation: str, cluster: str, path: str) -> None:
    if (claims.federation, claims.cluster, claims.path) == (federation, cluster, path):
        return
    for code, what, claimed, found in (
        (RefusalCode.WRONG_FEDERATION, "federation", claims.federation, federation),
        (RefusalCode.WRONG_CLUSTER, "cluster", claims.cluster, cluster),
        (RefusalCode.WRONG_PATH, "path", claims.path, path),
    ):
        if claimed != found:
            raise RecordRefused(code, f"signed for {what} {claimed[:128]!r}, found at {found!r}")


def next_sequence(last: int, now: float) -> int:
    """A sequence above `last`. Following the clock (`now`: Unix seconds, counted here in milliseconds) lets a
    cluster that lost its disk and its etcd go on above what its peers have seen."""
    return max(last + 1, int(now * 1_000))
