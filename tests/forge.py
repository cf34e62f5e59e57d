"""Makes certificates of any shape, also wrong ones, independently of what `trust.issuance` makes."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta

from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec, ed25519, rsa
from cryptography.x509.oid import ExtendedKeyUsageOID, NameOID

from trust.keys import PrivateKey

NOW = datetime(2026, 6, 1, 12, 0, tzinfo=UTC)

AnyKey = ec.EllipticCurvePrivateKey | rsa.RSAPrivateKey | ed25519.Ed25519PrivateKey
BOTH_ROLES = (ExtendedKeyUsageOID.SERVER_AUTH, ExtendedKeyUsageOID.CLIENT_AUTH)


def p256() -> ec.EllipticCurvePrivateKey:
    return ec.generate_private_key(ec.SECP256R1())


def der_of(certificate: x509.Certificate) -> bytes:
    return certificate.public_bytes(serialization.Encoding.DER)


def private_key_of(key: AnyKey) -> PrivateKey:
    return PrivateKey.from_pem(pem_of(key))


def pem_of(key: AnyKey) -> bytes:
    return key.private_bytes(
        serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, serialization.NoEncryption()
    )


def key_usage(*bits: str) -> x509.KeyUsage:
    names = (
        "digital_signature",
        "content_commitment",
        "key_encipherment",
        "data_encipherment",
        "key_agreement",
        "key_cert_sign",
        "crl_sign",
        "encipher_only",
        "decipher_only",
    )
    return x509.KeyUsage(**{name: name in bits for name in names})


def name(common_name: str) -> x509.Name:
    return x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, common_name)] if common_name else [])


@dataclass(frozen=True)
class Forge:
    """An authority that signs whatever it is asked to."""

    certificate: x509.Certificate
    key: AnyKey

    @property
    def der(self) -> bytes:
        return der_of(self.certificate)

    @classmethod
    def root(
        cls,
        common_name: str = "root",
        *,
        key: AnyKey | None = None,
        not_before: datetime = NOW - timedelta(days=1),
        not_after: datetime = NOW + timedelta(days=365),
        path_length: int | None = None,
    ) -> Forge:
        key = key or p256()
        certificate = _sign(
            key,
            subject=name(common_name),
            issuer=name(common_name),
            public_key=key.public_key(),
            not_before=not_before,
            not_after=not_after,
            extensions=_ca_extensions(path_length),
        )
        return cls(certificate, key)

    def intermediate(
        self,
        common_name: str = "intermediate",
        *,
        not_before: datetime = NOW - timedelta(days=1),
        not_after: datetime = NOW + timedelta(days=365),
        more: Iterable[tuple[x509.ExtensionType, bool]] = (),
    ) -> Forge:
        key = p256()
        certificate = _sign(
            self.key,
            subject=name(common_name),
            issuer=self.certificate.subject,
            public_key=key.public_key(),
            not_before=not_before,
            not_after=not_after,
            extensions=[*_ca_extensions(None), *more],
        )
        return Forge(certificate, key)

    def leaf(
        self,
        *uris: str,
        key: AnyKey | None = None,
        subject: str = "",
        dns: Sequence[str] = (),
        not_before: datetime = NOW - timedelta(minutes=5),
        not_after: datetime = NOW + timedelta(hours=1),
        ca: bool | None = False,
        usage: x509.KeyUsage | None = key_usage("digital_signature"),  # noqa: B008 (immutable)
        extended: Sequence[x509.ObjectIdentifier] = BOTH_ROLES,
        more: Iterable[tuple[x509.ExtensionType, bool]] = (),
    ) -> bytes:
        """A certificate in DER; by default one that X509-SVID allows when it has one URI."""
        names: list[x509.GeneralName] = [x509.UniformResourceIdentifier(uri) for uri in uris]
        names += [x509.DNSName(each) for each in dns]
        extensions: list[tuple[x509.ExtensionType, bool]] = list(more)
        if names:
            extensions.append((x509.SubjectAlternativeName(names), not subject))
        if ca is not None:
            extensions.append((x509.BasicConstraints(ca=ca, path_length=None), True))
        if usage is not None:
            extensions.append((usage, True))
        if extended:
            extensions.append((x509.ExtendedKeyUsage(extended), False))
        certificate = _sign(
            self.key,
            subject=name(subject),
            issuer=self.certificate.subject,
            public_key=(key or p256()).public_key(),
            not_before=not_before,
            not_after=not_after,
            extensions=extensions,
        )
        return der_of(certificate)


def _ca_extensions(path_length: int | None) -> list[tuple[x509.ExtensionType, bool]]:
    return [
        (x509.BasicConstraints(ca=True, path_length=path_length), True),
        (key_usage("key_cert_sign"), True),
    ]


def _sign(
    signer: AnyKey,
    *,
    subject: x509.Name,
    issuer: x509.Name,
    public_key: ec.EllipticCurvePublicKey | rsa.RSAPublicKey | ed25519.Ed25519PublicKey,
    not_before: datetime,
    not_after: datetime,
    extensions: Iterable[tuple[x509.ExtensionType, bool]],
) -> x509.Certificate:
    builder = x509.CertificateBuilder(
        issuer_name=issuer,
        subject_name=subject,
        public_key=public_key,
        serial_number=x509.random_serial_number(),
        not_valid_before=not_before,
        not_valid_after=not_after,
    )
    for extension, critical in extensions:
        builder = builder.add_extension(extension, critical)
    return builder.sign(signer, None if isinstance(signer, ed25519.Ed25519PrivateKey) else hashes.SHA256())
