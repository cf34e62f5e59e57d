"""Signed records: what a cluster says in etcd, bound to its place, so that nobody has to trust etcd.

A record is a JWS in compact form (RFC 7515 section 7.1), ES256, `typ` `isthmus-record`. Its claims name the
federation, the cluster and the path below the cluster where it lies, a sequence that only grows, and the time; the
record proper is `value`. A record that was moved, copied from another cluster or federation, changed, or brought
back from the past is refused here, with a code that is counted and shown.

This one form of JWS is all that is read and written here, with `cryptography` for its signature: a general library
takes nearly as long again around each check, and a reader checks a hundred thousand. Another library judges in the
tests that it is JWS.
"""

from __future__ import annotations

import base64
import binascii
import enum
import functools
from collections.abc import Callable, Sequence
from typing import Annotated, Any, Protocol, TypeAlias

import msgspec
from cryptography.exceptions import InvalidSignature
from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.hazmat.primitives.asymmetric.utils import encode_dss_signature

RECORD_TYPE = "isthmus-record"
MAX_RECORD_BYTES = 65_536
"""A bundle of a dozen authorities and a chain in its header needs about 25 KiB; etcd itself refuses 1.5 MB."""
MAX_SKEW_S = 600.0
"""How far ahead of our clock a record's time may be. Clocks five minutes apart are tolerated, twice that is not."""


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
    """Root of what this package raises. `code` is bounded and labels a metric."""

    code: str = "federation"


class RecordRefused(FederationError):
    """A value in etcd (or on disk) that is not a record we believe."""

    def __init__(self, code: RefusalCode, detail: str) -> None:
        super().__init__(code, detail)
        self.code: RefusalCode = code
        self.detail = detail

    def __str__(self) -> str:
        return f"{self.code}: {self.detail}"


class Record(msgspec.Struct, frozen=True):
    """A record whose signature and place were checked. `value` is JSON, not yet looked at."""

    cluster: str
    path: str
    sequence: int
    issued_at: float
    """Unix seconds by the writer's clock."""
    value: bytes
    kid: str


class RecordHeader(msgspec.Struct, frozen=True):
    """A record's protected header. `chain` is `x5c`: DER in standard base64, the record key's certificate first."""

    alg: str
    typ: str
    kid: str
    chain: tuple[str, ...] = msgspec.field(name="x5c", default=())
    critical: tuple[str, ...] = msgspec.field(name="crit", default=())

    def chain_der(self) -> tuple[bytes, ...]:
        """The chain as DER. Raises RecordRefused."""
        try:
            return tuple(base64.b64decode(text, validate=True) for text in self.chain)
        except (binascii.Error, ValueError):
            raise RecordRefused(RefusalCode.BAD_CHAIN, "x5c is not base64") from None


MAX_SEQUENCE = 2**63 - 1


class _Claims(msgspec.Struct, frozen=True):
    federation: str
    cluster: str
    path: str
    sequence: Annotated[int, msgspec.Meta(ge=0, le=MAX_SEQUENCE)]
    iat: float
    value: msgspec.Raw


class Signer(Protocol):
    """A P-256 key that stays where it is: `trust.keys.PrivateKey`."""

    def sign(self, message: bytes) -> bytes:
        """ES256 as JWS wants it: r and s, 32 bytes each (RFC 7518 section 3.4)."""
        ...


KeyLookup: TypeAlias = Callable[[RecordHeader, float], ec.EllipticCurvePublicKey]
"""Gives the key that a record with this header may be signed with (at that time, Unix seconds), or raises
RecordRefused."""

VerifiedBefore: TypeAlias = Callable[[RecordHeader], bool]
"""Whether these very bytes were verified at this place before, with the key that the header names now."""

_UNREADABLE = (msgspec.DecodeError, binascii.Error, ValueError, RecursionError)
_read_header = msgspec.json.Decoder(RecordHeader).decode
_read_claims = msgspec.json.Decoder(_Claims).decode
_ES256 = ec.ECDSA(hashes.SHA256())
_COORDINATE_BYTES = 32
_SMALL_HEADER_BYTES = 512
"""All records of a cluster but its bundle have the same header of some hundred bytes."""


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
    signed = _encode_segment(msgspec.json.encode(header)) + b"." + _encode_segment(msgspec.json.encode(claims))
    return signed + b"." + _encode_segment(key.sign(signed))


def encode_chain(chain: Sequence[bytes]) -> tuple[str, ...]:
    """A chain (DER) as `x5c` writes it (RFC 7515 section 4.1.6)."""
    return tuple(base64.b64encode(der).decode() for der in chain)


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


def parse_header(raw: bytes) -> RecordHeader:
    """The header of what claims to be a record; nothing is verified yet. Raises RecordRefused."""
    if len(raw) > MAX_RECORD_BYTES:
        raise RecordRefused(RefusalCode.TOO_LARGE, f"{len(raw)} bytes, at most {MAX_RECORD_BYTES} are read")
    segments = raw.split(b".")
    if len(segments) != 3:
        raise RecordRefused(RefusalCode.NOT_A_RECORD, "not a JWS in compact form")
    if len(segments[0]) <= _SMALL_HEADER_BYTES:
        return _parse_small_header(segments[0])
    return _parse_header_segment(segments[0])


def _parse_header_segment(segment: bytes) -> RecordHeader:
    try:
        header = _read_header(_decode_segment(segment))
    except _UNREADABLE:
        raise RecordRefused(RefusalCode.NOT_A_RECORD, "the header is not that of a JWS") from None
    if header.typ != RECORD_TYPE or header.alg != "ES256":
        detail = f"typ {header.typ[:32]!r} and alg {header.alg[:16]!r}, not {RECORD_TYPE!r} and 'ES256'"
        raise RecordRefused(RefusalCode.NOT_A_RECORD, detail)
    if header.critical:
        raise RecordRefused(RefusalCode.NOT_A_RECORD, "a record has no critical header parameters")
    return header


_parse_small_header = functools.lru_cache(maxsize=256)(_parse_header_segment)


def peek_value(raw: bytes) -> bytes:
    """What a record says before anything of it is verified: to find the key that verifies it. Raises RecordRefused."""
    parse_header(raw)
    try:
        return bytes(_read_claims(_decode_segment(raw.split(b".")[1])).value)
    except _UNREADABLE:
        raise RecordRefused(RefusalCode.MALFORMED_VALUE, "its claims can't be read") from None


def peek_issued_at(raw: bytes) -> float:
    """When a record says that it was issued (Unix seconds), before anything is verified. Raises RecordRefused."""
    parse_header(raw)
    try:
        return _read_claims(_decode_segment(raw.split(b".")[1])).iat
    except _UNREADABLE:
        raise RecordRefused(RefusalCode.MALFORMED_VALUE, "its claims can't be read") from None


def _encode_segment(data: bytes) -> bytes:
    return base64.urlsafe_b64encode(data).rstrip(b"=")


def _decode_segment(segment: bytes) -> bytes:
    """Base64url without padding, in its one canonical spelling (RFC 4648 section 3.5): a signature that can be
    respelled would let a stranger change a record's bytes without breaking it, and a payload that can be would not even
    be ASCII."""
    decoded = base64.urlsafe_b64decode(segment + b"=" * (-len(segment) % 4))
    if _encode_segment(decoded) != segment:
        raise ValueError("not canonical base64url")
    return decoded


def verify_signature(raw: bytes, key: ec.EllipticCurvePublicKey) -> None:
    """RFC 7518 section 3.4: r and s, 32 bytes each, over what is before the last dot. May be called in any thread.
    Raises RecordRefused."""
    signed, _, segment = raw.rpartition(b".")
    try:
        signature = _decode_segment(segment)
        if len(signature) != 2 * _COORDINATE_BYTES or not isinstance(key.curve, ec.SECP256R1):
            raise ValueError("not ES256")
        r, s = signature[:_COORDINATE_BYTES], signature[_COORDINATE_BYTES:]
        der = encode_dss_signature(int.from_bytes(r, "big"), int.from_bytes(s, "big"))
        key.verify(der, signed, _ES256)
    except (InvalidSignature, *_UNREADABLE):
        raise RecordRefused(RefusalCode.BAD_SIGNATURE, "its signature does not fit") from None


def _parse_claims(raw: bytes) -> _Claims:
    try:
        payload = _decode_segment(raw.split(b".")[1])
    except _UNREADABLE:
        raise RecordRefused(RefusalCode.BAD_SIGNATURE, "its payload is not base64url in canonical form") from None
    try:
        return _read_claims(payload)
    except _UNREADABLE as error:
        raise RecordRefused(RefusalCode.MALFORMED_VALUE, f"claims: {error}") from None


def _validate_place(claims: _Claims, federation: str, cluster: str, path: str) -> None:
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
