"""The key of a CA that somebody else made: of any kind that SVIDs may be signed with."""

from __future__ import annotations

from typing import NoReturn, Protocol, TypeAlias

from cryptography import x509
from cryptography.exceptions import UnsupportedAlgorithm
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec, rsa

from trust.errors import TrustError

_Key: TypeAlias = ec.EllipticCurvePrivateKey | rsa.RSAPrivateKey

# The pairs that path validation takes (CA/Browser Forum's baseline requirements, section 7.1.3.2).
_HASHES: dict[str, hashes.HashAlgorithm] = {
    "secp256r1": hashes.SHA256(),
    "secp384r1": hashes.SHA384(),
    "secp521r1": hashes.SHA512(),
}


class CertificateSigner(Protocol):
    """A CA's key that stays where it is: `CaKey`, or the `PrivateKey` of a root of our own."""

    def sign_certificate(self, builder: x509.CertificateBuilder) -> x509.Certificate: ...


class CaKey:
    """An ECDSA key on P-256, P-384 or P-521, or an RSA key. It signs certificates and shows nothing of itself."""

    __slots__ = ("_key",)

    def __init__(self, key: _Key) -> None:
        self._key = key

    @classmethod
    def from_pem(cls, pem: bytes, where: str) -> CaKey:
        """Parses an unencrypted PEM key (PKCS #8, SEC 1 or PKCS #1). `where` names its origin in errors.

        Raises TrustError with code `malformed-key`.
        """
        try:
            key = serialization.load_pem_private_key(pem, password=None)
        except (ValueError, TypeError, UnsupportedAlgorithm):
            # The parser's own text is left out: it helps nobody, and it saw the secret.
            raise TrustError("malformed-key", f"{where} is not an unencrypted PEM private key") from None
        if isinstance(key, rsa.RSAPrivateKey):
            return cls(key)
        if isinstance(key, ec.EllipticCurvePrivateKey) and key.curve.name in _HASHES:
            return cls(key)
        raise TrustError("malformed-key", f"{where} is neither ECDSA on P-256, P-384 or P-521 nor RSA")

    def belongs_to(self, certificate: x509.Certificate) -> bool:
        return self._key.public_key() == certificate.public_key()

    def sign_certificate(self, builder: x509.CertificateBuilder) -> x509.Certificate:
        if isinstance(self._key, rsa.RSAPrivateKey):
            return builder.sign(self._key, hashes.SHA256())
        return builder.sign(self._key, _HASHES[self._key.curve.name])  # type: ignore[arg-type]

    def __repr__(self) -> str:
        return "<CaKey, redacted>"

    def __reduce_ex__(self, protocol: object) -> NoReturn:
        raise TypeError("a CA's key is not pickled or copied: it stays in the process that loaded it")
