"""What a certificate says by itself, and whether it may be an X.509-SVID, before anybody asks who signed it.

Source: the X509-SVID standard, sections 2 to 5.2.
"""

from __future__ import annotations

from datetime import datetime
from typing import TypeVar

from cryptography import x509
from cryptography.exceptions import UnsupportedAlgorithm
from cryptography.hazmat.primitives import serialization
from cryptography.hazmat.primitives.asymmetric import ec, rsa
from cryptography.x509.oid import ExtendedKeyUsageOID

from trust.errors import PeerRejected, TrustError
from trust.spiffe_id import SpiffeId, parse_spiffe_id

_Extension = TypeVar("_Extension", bound=x509.ExtensionType)

MAX_CERTIFICATE_BYTES = 16_384
_MIN_RSA_BITS = 2048
_BOTH_ROLES = frozenset((ExtendedKeyUsageOID.SERVER_AUTH, ExtendedKeyUsageOID.CLIENT_AUTH))

# The parser is lazy: a field that nobody looked at yet may still turn out to be garbage.
PARSE_ERRORS = (
    ValueError,
    TypeError,
    UnsupportedAlgorithm,
    x509.DuplicateExtension,
    x509.InvalidVersion,
    x509.UnsupportedGeneralNameType,
)


def parse_certificate(der: bytes) -> x509.Certificate:
    """Parses one DER certificate. Raises PeerRejected with code `malformed`."""
    if len(der) > MAX_CERTIFICATE_BYTES:
        raise PeerRejected("malformed", f"a certificate of {len(der)} bytes: at most {MAX_CERTIFICATE_BYTES} are read")
    try:
        return x509.load_der_x509_certificate(der)
    except PARSE_ERRORS as error:
        raise PeerRejected("malformed", f"not a DER certificate: {str(error)[:200]!a}") from error


def encode_certificate(certificate: x509.Certificate) -> bytes:
    return certificate.public_bytes(serialization.Encoding.DER)


def spiffe_id_of(certificate: x509.Certificate) -> SpiffeId:
    """The one SPIFFE ID of a certificate (X509-SVID section 2). Other kinds of names beside it mean nothing.

    Raises PeerRejected: `no-spiffe-id`, `several-spiffe-ids` (also when a second URI is no SPIFFE ID),
    `malformed-spiffe-id` or `malformed`.
    """
    names = find_extension(certificate, x509.SubjectAlternativeName)
    uris = [] if names is None else names.get_values_for_type(x509.UniformResourceIdentifier)
    if not uris:
        raise PeerRejected("no-spiffe-id", "the certificate has no URI name: it is not an X.509-SVID")
    if len(uris) > 1:
        raise PeerRejected("several-spiffe-ids", f"the certificate has {len(uris)} URI names: an X.509-SVID has one")
    try:
        return parse_spiffe_id(uris[0])
    except TrustError as error:
        raise PeerRejected("malformed-spiffe-id", str(error)) from None


def validate_leaf(certificate: x509.Certificate) -> None:
    """Checks that a certificate may identify a caller or a server (X509-SVID sections 4 and 5.2).

    Raises PeerRejected: `ca-certificate`, `wrong-key-usage`, `weak-key` or `malformed`.
    """
    constraints = find_extension(certificate, x509.BasicConstraints)
    if constraints is not None and constraints.ca:
        raise PeerRejected("ca-certificate", "a CA's certificate signs others: it is never used to authenticate")
    usage = find_extension(certificate, x509.KeyUsage)
    if usage is None or not usage.digital_signature:
        raise PeerRejected("wrong-key-usage", "key usage does not have digitalSignature")
    if usage.key_cert_sign or usage.crl_sign:
        raise PeerRejected("wrong-key-usage", "key usage has keyCertSign or cRLSign, which only a CA's may have")
    extended = find_extension(certificate, x509.ExtendedKeyUsage)
    if extended is not None and not _BOTH_ROLES.issubset(extended):
        raise PeerRejected("wrong-key-usage", "extended key usage does not have both serverAuth and clientAuth")
    validate_key_strength(certificate)


def validate_authority(certificate: x509.Certificate) -> None:
    """Checks that a certificate may sign SVIDs (X509-SVID sections 3.2 and 4).

    Raises PeerRejected: `ca-certificate` when it is none, `wrong-key-usage`, `weak-key` or `malformed`.
    """
    constraints = find_extension(certificate, x509.BasicConstraints)
    if constraints is None or not constraints.ca:
        raise PeerRejected("ca-certificate", "the certificate is not a CA's: basic constraints do not say so")
    usage = find_extension(certificate, x509.KeyUsage)
    if usage is None or not usage.key_cert_sign:
        raise PeerRejected("wrong-key-usage", "the CA certificate's key usage does not have keyCertSign")
    validate_key_strength(certificate)


def validate_key_strength(certificate: x509.Certificate) -> None:
    """Raises PeerRejected with code `weak-key` unless the key is P-256, P-384, P-521 or RSA of 2048 bits or more."""
    try:
        key = certificate.public_key()
    except PARSE_ERRORS as error:
        raise PeerRejected("malformed", f"the certificate's public key can't be read: {str(error)[:200]!a}") from error
    if isinstance(key, ec.EllipticCurvePublicKey) and isinstance(key.curve, ec.SECP256R1 | ec.SECP384R1 | ec.SECP521R1):
        return
    if isinstance(key, rsa.RSAPublicKey) and key.key_size >= _MIN_RSA_BITS:
        return
    raise PeerRejected(
        "weak-key", f"the key is neither ECDSA on P-256, P-384 or P-521 nor RSA of at least {_MIN_RSA_BITS} bits"
    )


def validate_period(certificate: x509.Certificate, now: datetime, what: str) -> None:
    """Raises PeerRejected with code `expired` or `not-yet-valid`. `what` names the certificate in the message."""
    if now > certificate.not_valid_after_utc:
        raise PeerRejected(
            "expired", f"{what} expired at {certificate.not_valid_after_utc:%Y-%m-%dT%H:%M:%SZ}: it was not renewed"
        )
    if now < certificate.not_valid_before_utc:
        raise PeerRejected(
            "not-yet-valid",
            f"{what} is valid from {certificate.not_valid_before_utc:%Y-%m-%dT%H:%M:%SZ} on: compare the clocks",
        )


def find_extension(certificate: x509.Certificate, kind: type[_Extension]) -> _Extension | None:
    """An extension's value, or None. Raises PeerRejected with code `malformed` when the extensions can't be read."""
    try:
        return certificate.extensions.get_extension_for_class(kind).value
    except x509.ExtensionNotFound:
        return None
    except PARSE_ERRORS as error:
        raise PeerRejected("malformed", f"the certificate's extensions can't be read: {str(error)[:200]!a}") from error
