"""The one form of JWS that records have: compact (RFC 7515 section 7.1), ES256 (RFC 7518 section 3.4), canonical.

With `cryptography` for its signature: a general library takes nearly as long again around each check, and a reader
checks a hundred thousand. Another library judges in the tests that it is JWS.
"""

from __future__ import annotations

import base64
import binascii
import functools
from collections.abc import Sequence
from typing import Protocol

import msgspec
from cryptography.exceptions import InvalidSignature
from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.hazmat.primitives.asymmetric.utils import encode_dss_signature

from federation.errors import RecordRefused, RefusalCode

RECORD_TYPE = "isthmus-record"
MAX_RECORD_BYTES = 65_536
"""A bundle of a dozen authorities and a chain in its header needs about 25 KiB; etcd itself refuses 1.5 MB."""
UNREADABLE = (msgspec.DecodeError, binascii.Error, ValueError, RecursionError)
"""What reading bytes that a stranger wrote may raise."""
_ES256 = ec.ECDSA(hashes.SHA256())
_COORDINATE_BYTES = 32
_SMALL_HEADER_BYTES = 512
"""All records of a cluster but its bundle have the same header of some hundred bytes."""


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


_read_header = msgspec.json.Decoder(RecordHeader).decode


class Signer(Protocol):
    """A P-256 key that stays where it is: `trust.keys.PrivateKey`."""

    def sign(self, message: bytes) -> bytes:
        """ES256 as JWS wants it: r and s, 32 bytes each (RFC 7518 section 3.4)."""
        ...


def encode_chain(chain: Sequence[bytes]) -> tuple[str, ...]:
    """A chain (DER) as `x5c` writes it (RFC 7515 section 4.1.6)."""
    return tuple(base64.b64encode(der).decode() for der in chain)


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
        header = _read_header(decode_segment(segment))
    except UNREADABLE:
        raise RecordRefused(RefusalCode.NOT_A_RECORD, "the header is not that of a JWS") from None
    if header.typ != RECORD_TYPE or header.alg != "ES256":
        detail = f"typ {header.typ[:32]!r} and alg {header.alg[:16]!r}, not {RECORD_TYPE!r} and 'ES256'"
        raise RecordRefused(RefusalCode.NOT_A_RECORD, detail)
    if header.critical:
        raise RecordRefused(RefusalCode.NOT_A_RECORD, "a record has no critical header parameters")
    return header


_parse_small_header = functools.lru_cache(maxsize=256)(_parse_header_segment)


def encode_segment(data: bytes) -> bytes:
    """Base64url without padding (RFC 7515 section 2)."""
    return binascii.b2a_base64(data, newline=False).rstrip(b"=").translate(_TO_URL)


def decode_segment(segment: bytes) -> bytes:
    """Base64url without padding, in its one canonical spelling (RFC 4648 section 3.5): a signature that can be
    respelled would let a stranger change a record's bytes without breaking it, and a payload that can be would not even
    be ASCII."""
    decoded = binascii.a2b_base64(segment.translate(_FROM_URL) + b"=" * (-len(segment) % 4), strict_mode=True)
    # What is left to be spelled in another way is the last character, where it stands for less than six bits.
    rest = len(decoded) % 3
    if rest and encode_segment(decoded[-rest:]) != segment[-rest - 1 :]:
        raise ValueError("not canonical base64url")
    return decoded


_TO_URL = bytes.maketrans(b"+/", b"-_")
_FROM_URL = bytes.maketrans(b"-_+/=", b"+/!!!")
"""What standard base64 has in their place is no base64url: nothing of that decodes."""


def verify_signature(raw: bytes, key: ec.EllipticCurvePublicKey) -> None:
    """RFC 7518 section 3.4: r and s, 32 bytes each, over what is before the last dot. May be called in any thread.
    Raises RecordRefused."""
    signed, _, segment = raw.rpartition(b".")
    try:
        signature = decode_segment(segment)
        if len(signature) != 2 * _COORDINATE_BYTES or not isinstance(key.curve, ec.SECP256R1):
            raise ValueError("not ES256")
        r, s = signature[:_COORDINATE_BYTES], signature[_COORDINATE_BYTES:]
        der = encode_dss_signature(int.from_bytes(r, "big"), int.from_bytes(s, "big"))
        key.verify(der, signed, _ES256)
    except (InvalidSignature, *UNREADABLE):
        raise RecordRefused(RefusalCode.BAD_SIGNATURE, "its signature does not fit") from None
