"""A gateway's X.509-SVID: its certificate chain together with the key, and when to renew it."""

from __future__ import annotations

import itertools
import random
from collections.abc import Sequence
from datetime import datetime

import msgspec
from cryptography import x509
from cryptography.exceptions import InvalidSignature
from cryptography.hazmat.primitives import serialization

from trust.certificate import parse_certificate, spiffe_id_of, validate_leaf
from trust.errors import PeerRejected, TrustError
from trust.keys import PrivateKey
from trust.spiffe_id import SpiffeId

_RENEW_FROM, _RENEW_TO = 0.4, 0.5


class X509Svid(msgspec.Struct, frozen=True, eq=False):
    """Made by `svid_from`. `chain` is DER, leaf first, without the root. The times are aware, in UTC."""

    spiffe_id: SpiffeId
    chain: tuple[bytes, ...]
    key: PrivateKey
    not_before: datetime
    not_after: datetime

    def renew_at(self, rng: random.Random) -> datetime:
        """When to ask for the next one: before half of its life, and not when everybody else does."""
        return self.not_before + (self.not_after - self.not_before) * rng.uniform(_RENEW_FROM, _RENEW_TO)

    def __repr__(self) -> str:
        return f"<X509Svid {self.spiffe_id} until {self.not_after:%Y-%m-%dT%H:%M:%SZ}>"


def make_signing_request(key: PrivateKey) -> bytes:
    """A PKCS #10 request in DER. It names nobody: the authority decides whom it certifies."""
    request = key.sign_request(x509.CertificateSigningRequestBuilder().subject_name(x509.Name([])))
    return request.public_bytes(serialization.Encoding.DER)


def svid_from(chain: Sequence[bytes], key: PrivateKey) -> X509Svid:
    """Puts a chain (DER, leaf first) and its key together, and checks that they belong together.

    Raises TrustError with code `malformed-chain` or `key-mismatch`.
    """
    if not chain:
        raise TrustError("malformed-chain", "the authority answered with an empty chain")
    try:
        certificates = [parse_certificate(der) for der in chain]
        validate_leaf(certificates[0])
        identity = spiffe_id_of(certificates[0])
    except PeerRejected as error:
        raise TrustError("malformed-chain", f"the chain is not an X.509-SVID's: {error}") from error
    if certificates[0].public_key() != key.public_key:
        raise TrustError("key-mismatch", f"the certificate of {identity} is for another key than ours")
    for subject, issuer in itertools.pairwise(certificates):
        _require_issued_by(subject, issuer)
    return X509Svid(
        spiffe_id=identity,
        chain=tuple(chain),
        key=key,
        not_before=certificates[0].not_valid_before_utc,
        not_after=certificates[0].not_valid_after_utc,
    )


def _require_issued_by(subject: x509.Certificate, issuer: x509.Certificate) -> None:
    try:
        subject.verify_directly_issued_by(issuer)
    except (ValueError, TypeError, InvalidSignature):
        raise TrustError(
            "malformed-chain", "the chain is out of order: each certificate must be signed by the next one"
        ) from None
