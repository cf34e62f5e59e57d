"""SPIFFE bundles: the keys of a trust domain, as a JWK set.

Source: the SPIFFE Trust Domain and Bundle standard, section 4; X509-SVID section 6; RFC 7517; RFC 7638.
"""

from __future__ import annotations

import base64
import binascii
import hashlib
import re
from typing import Any

import msgspec
from cryptography.hazmat.primitives.asymmetric import ec, rsa

from trust.certificate import parse_certificate, validate_authority
from trust.errors import PeerRejected, TrustError
from trust.revocation import Revocations, parse_revocations

MAX_DOCUMENT_BYTES = 262_144
MAX_KEYS = 64

_USE_X509 = "x509-svid"
_USE_RECORD = "isthmus-record"
_REVOKED = "isthmus_revoked"
_MAX_INTEGER = 2**63 - 1
_DEFAULT_REFRESH_HINT_S = 300
_KEY_ID = re.compile(r"[!-~]{1,128}")
_COORDINATE = re.compile(r"[A-Za-z0-9_-]{43}")  # 32 bytes in unpadded base64url
_CURVES = {"secp256r1": "P-256", "secp384r1": "P-384", "secp521r1": "P-521"}
_KEY_TYPES = ("EC", "RSA")


class RecordKey(msgspec.Struct, frozen=True):
    """A P-256 key that signs a cluster's records. `x` and `y` are its coordinates as a JWK writes them."""

    kid: str
    x: str
    y: str

    @classmethod
    def of(cls, key: ec.EllipticCurvePublicKey) -> RecordKey:
        """The record key with this public key; its ID is the RFC 7638 thumbprint."""
        jwk = _public_jwk(key)
        canonical = msgspec.json.encode({name: jwk[name] for name in ("crv", "kty", "x", "y")})
        return cls(kid=_base64url(hashlib.sha256(canonical).digest()), x=jwk["x"], y=jwk["y"])

    @property
    def jwk(self) -> dict[str, str]:
        """The public JWK, with `kid`, without `use`: what a JOSE library imports."""
        return {"kty": "EC", "crv": "P-256", "x": self.x, "y": self.y, "kid": self.kid}

    @property
    def public_key(self) -> ec.EllipticCurvePublicKey:
        x, y = (int.from_bytes(base64.urlsafe_b64decode(text + "="), "big") for text in (self.x, self.y))
        return ec.EllipticCurvePublicNumbers(x, y, ec.SECP256R1()).public_key()


class Bundle(msgspec.Struct, frozen=True):
    """What a trust domain publishes about itself. No authorities means that all of them were revoked."""

    trust_domain: str
    sequence: int
    refresh_hint_s: int
    authorities: tuple[bytes, ...]
    """DER certificates of the CAs whose SVIDs are valid."""
    record_keys: tuple[RecordKey, ...]
    revoked: Revocations = Revocations()
    """What is refused though an authority of the bundle certified it."""

    def to_document(self) -> dict[str, Any]:
        """The JWK set as JSON's own types, for embedding in another document."""
        keys: list[dict[str, Any]] = []
        for der in self.authorities:
            jwk = _public_jwk(parse_certificate(der).public_key())
            # No kid: X509-SVID section 6.1 forbids it.
            keys.append({"use": _USE_X509, **jwk, "x5c": [base64.b64encode(der).decode()]})
        keys.extend({"use": _USE_RECORD, **key.jwk} for key in self.record_keys)
        document: dict[str, Any] = {
            "spiffe_sequence": self.sequence,
            "spiffe_refresh_hint": self.refresh_hint_s,
            "keys": keys,
        }
        if self.revoked:
            document[_REVOKED] = self.revoked.to_document()
        return document


def encode_bundle(bundle: Bundle) -> bytes:
    """The JSON document that `parse_bundle` reads."""
    return msgspec.json.encode(bundle.to_document())


def parse_bundle(document: bytes | dict[str, Any], trust_domain: str) -> Bundle:
    """Parses the bundle of `trust_domain`, which the document itself does not name.

    Keys of an unknown type or use are left out, as the standard bids. Raises TrustError with code
    `malformed-bundle` for everything else that is wrong: half of a bundle is never believed.
    """
    if isinstance(document, bytes):
        document = _decode(document, trust_domain)
    keys = document.get("keys")
    if not isinstance(keys, list):
        raise _malformed(trust_domain, "`keys` is not a list; a bundle without keys has an empty one")
    if len(keys) > MAX_KEYS:
        raise _malformed(trust_domain, f"{len(keys)} keys: at most {MAX_KEYS} are read")
    authorities: dict[bytes, None] = {}
    record_keys: dict[str, RecordKey] = {}
    for index, jwk in enumerate(keys):
        where = f"keys[{index}]"
        if not isinstance(jwk, dict):
            raise _malformed(trust_domain, f"{where} is not an object")
        if jwk.get("kty") not in _KEY_TYPES:
            continue
        if jwk.get("use") == _USE_X509 and jwk.get("x5c"):
            authorities[_parse_authority(jwk["x5c"], trust_domain, where)] = None
        elif jwk.get("use") == _USE_RECORD:
            key = _parse_record_key(jwk, trust_domain, where)
            if key.kid in record_keys:
                raise _malformed(trust_domain, f"{where}.kid names a second key")
            record_keys[key.kid] = key
    return Bundle(
        trust_domain=trust_domain,
        sequence=_parse_integer(document, "spiffe_sequence", trust_domain),
        refresh_hint_s=_parse_integer(document, "spiffe_refresh_hint", trust_domain) or _DEFAULT_REFRESH_HINT_S,
        authorities=tuple(authorities),
        record_keys=tuple(record_keys.values()),
        revoked=_parse_revoked(document, trust_domain),
    )


def _decode(document: bytes, trust_domain: str) -> dict[str, Any]:
    if len(document) > MAX_DOCUMENT_BYTES:
        raise _malformed(trust_domain, f"{len(document)} bytes: at most {MAX_DOCUMENT_BYTES} are read")
    try:
        decoded = msgspec.json.decode(document)
    except (msgspec.DecodeError, ValueError, RecursionError) as error:
        raise _malformed(trust_domain, f"it is not JSON: {error}") from None
    if not isinstance(decoded, dict):
        raise _malformed(trust_domain, "it is not a JSON object")
    return decoded


def _parse_revoked(document: dict[str, Any], trust_domain: str) -> Revocations:
    try:
        return parse_revocations(document.get(_REVOKED, {}))
    except ValueError as error:
        raise _malformed(trust_domain, str(error)) from None


def _parse_integer(document: dict[str, Any], name: str, trust_domain: str) -> int:
    """0 where the document does not say it."""
    value = document.get(name, 0)
    if not isinstance(value, int) or isinstance(value, bool) or not 0 <= value <= _MAX_INTEGER:
        raise _malformed(trust_domain, f"`{name}` is not an integer from 0 to 2^63-1")
    return value


def _parse_authority(x5c: object, trust_domain: str, where: str) -> bytes:
    """The first certificate of `x5c`; X509-SVID section 6.2 bids to ignore others behind it."""
    if not isinstance(x5c, list) or not isinstance(x5c[0], str):
        raise _malformed(trust_domain, f"{where}.x5c is not a list of base64 strings")
    try:
        der = base64.b64decode(x5c[0], validate=True)
    except (binascii.Error, ValueError):
        raise _malformed(trust_domain, f"{where}.x5c[0] is not base64") from None
    try:
        validate_authority(parse_certificate(der))
    except PeerRejected as error:
        raise _malformed(trust_domain, f"{where}.x5c[0]: {error}") from None
    return der


def _parse_record_key(jwk: dict[str, Any], trust_domain: str, where: str) -> RecordKey:
    kid, x, y = jwk.get("kid"), jwk.get("x"), jwk.get("y")
    if not isinstance(kid, str) or _KEY_ID.fullmatch(kid) is None:
        raise _malformed(trust_domain, f"{where}.kid is not 1 to 128 printable ASCII characters without spaces")
    if jwk.get("kty") != "EC" or jwk.get("crv") != "P-256":
        raise _malformed(trust_domain, f"{where} is not a P-256 key; records are signed with ES256")
    for coordinate in (x, y):
        if not isinstance(coordinate, str) or _COORDINATE.fullmatch(coordinate) is None:
            raise _malformed(trust_domain, f"{where}: x and y are not 32 bytes each in base64url without padding")
    key = RecordKey(kid=kid, x=str(x), y=str(y))
    try:
        point = key.public_key
    except ValueError:
        raise _malformed(trust_domain, f"{where}: the point is not on the curve") from None
    # Base64url has several spellings of the same bytes; two keys are compared by one of them.
    return RecordKey(kid=kid, x=_public_jwk(point)["x"], y=_public_jwk(point)["y"])


def _public_jwk(key: object) -> dict[str, str]:
    if isinstance(key, ec.EllipticCurvePublicKey):
        numbers, size = key.public_numbers(), (key.key_size + 7) // 8
        x, y = (_base64url(number.to_bytes(size, "big")) for number in (numbers.x, numbers.y))
        return {"kty": "EC", "crv": _CURVES[key.curve.name], "x": x, "y": y}
    if isinstance(key, rsa.RSAPublicKey):
        n, e = key.public_numbers().n, key.public_numbers().e
        return {"kty": "RSA", "n": _base64url(_unsigned(n)), "e": _base64url(_unsigned(e))}
    raise TypeError(f"an authority's key is ECDSA or RSA, not {type(key).__name__}")


def _unsigned(number: int) -> bytes:
    return number.to_bytes((number.bit_length() + 7) // 8, "big")


def _base64url(data: bytes) -> str:
    return base64.urlsafe_b64encode(data).rstrip(b"=").decode()


def _malformed(trust_domain: str, why: str) -> TrustError:
    return TrustError("malformed-bundle", f"the bundle of {trust_domain} is refused: {why}")
