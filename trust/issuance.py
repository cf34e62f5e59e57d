"""The kinds of certificates that a cluster's CA makes: its own root, leaves, and the link from a root to its successor.

Source: the X509-SVID standard, sections 2 to 4, and RFC 5280 section 4.2.
"""

from __future__ import annotations

from datetime import datetime, timedelta

from cryptography import x509
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.x509.oid import ExtendedKeyUsageOID, NameOID

from trust.ca_key import CertificateSigner
from trust.certificate import find_extension
from trust.keys import PrivateKey
from trust.spiffe_id import SpiffeId

ROOT_LIFETIME = timedelta(days=3653)
"""Ten years: a root is replaced by rotation, never by running out."""

MAX_BACKDATE = timedelta(minutes=10)
"""How far in the past a certificate may begin, so that a peer whose clock is behind accepts it."""

_MAX_COMMON_NAME = 64  # RFC 5280 appendix A.1, ub-common-name


def issue_root(key: PrivateKey, trust_domain: str, now: datetime) -> x509.Certificate:
    """A self-signed CA certificate whose SPIFFE ID is the trust domain itself (X509-SVID section 3.2)."""
    serial = x509.random_serial_number()
    # The serial number in the subject gives every root a name of its own. Path building looks issuers up by name,
    # and must not confuse an old root with the new one while a rotation has both in the bundle.
    subject = x509.Name(
        [
            x509.NameAttribute(NameOID.ORGANIZATION_NAME, "Isthmus"),
            x509.NameAttribute(NameOID.COMMON_NAME, trust_domain[:_MAX_COMMON_NAME]),
            x509.NameAttribute(NameOID.SERIAL_NUMBER, f"{serial:x}"),
        ]
    )
    builder = (
        x509.CertificateBuilder()
        .subject_name(subject)
        .issuer_name(subject)
        .public_key(key.public_key)
        .serial_number(serial)
        .not_valid_before(now - MAX_BACKDATE)
        .not_valid_after(now + ROOT_LIFETIME)
        .add_extension(x509.BasicConstraints(ca=True, path_length=None), critical=True)
        .add_extension(_key_usage(signs_certificates=True), critical=True)
        .add_extension(x509.SubjectKeyIdentifier.from_public_key(key.public_key), critical=False)
        .add_extension(
            x509.SubjectAlternativeName([x509.UniformResourceIdentifier(str(SpiffeId(trust_domain, "")))]),
            critical=False,
        )
    )
    return key.sign_certificate(builder)


def issue_leaf(
    public_key: ec.EllipticCurvePublicKey,
    identity: SpiffeId,
    issuer: x509.Certificate,
    issuer_key: CertificateSigner,
    now: datetime,
    lifetime: timedelta,
    *,
    common_name: str = "",
) -> x509.Certificate:
    """An X.509-SVID for `identity`. It ends after `lifetime`, but never after its issuer does. `common_name` says to
    whom it was issued, for revocation: nobody is authenticated by it.

    It begins a tenth of its life in the past, so that a short life still has its renewal time ahead, and at most
    `MAX_BACKDATE`.
    """
    subject = [x509.NameAttribute(NameOID.COMMON_NAME, common_name)] if common_name else []
    builder = (
        x509.CertificateBuilder()
        .subject_name(x509.Name(subject))
        .issuer_name(issuer.subject)
        .public_key(public_key)
        .serial_number(x509.random_serial_number())
        .not_valid_before(now - min(lifetime / 10, MAX_BACKDATE))
        .not_valid_after(min(now + lifetime, issuer.not_valid_after_utc))
        # Critical unless there is a subject beside it (RFC 5280 section 4.2.1.6, X509-SVID section 3.1).
        .add_extension(
            x509.SubjectAlternativeName([x509.UniformResourceIdentifier(str(identity))]), critical=not common_name
        )
        .add_extension(x509.BasicConstraints(ca=False, path_length=None), critical=True)
        .add_extension(_key_usage(signs_certificates=False), critical=True)
        .add_extension(
            x509.ExtendedKeyUsage([ExtendedKeyUsageOID.SERVER_AUTH, ExtendedKeyUsageOID.CLIENT_AUTH]), critical=False
        )
        .add_extension(
            _authority_key_identifier(issuer),
            critical=False,
        )
    )
    return issuer_key.sign_certificate(builder)


def _authority_key_identifier(issuer: x509.Certificate) -> x509.AuthorityKeyIdentifier:
    own = find_extension(issuer, x509.SubjectKeyIdentifier)
    if own is not None:
        return x509.AuthorityKeyIdentifier.from_issuer_subject_key_identifier(own)
    # RFC 5280 section 4.2.1.2 wants one in every CA's certificate; where it lacks, its key tells the same.
    identifier = x509.SubjectKeyIdentifier.from_public_key(issuer.public_key())
    return x509.AuthorityKeyIdentifier.from_issuer_subject_key_identifier(identifier)


def issue_link(root: x509.Certificate, issuer: x509.Certificate, issuer_key: PrivateKey) -> x509.Certificate:
    """The root `root`, certified by the root `issuer` that it replaces: who believes the old one can follow to the new
    one (RFC 4210 section 4.4, the new key with the old one)."""
    builder = (
        x509.CertificateBuilder()
        .subject_name(root.subject)
        .issuer_name(issuer.subject)
        .public_key(root.public_key())
        .serial_number(x509.random_serial_number())
        .not_valid_before(root.not_valid_before_utc)
        .not_valid_after(min(root.not_valid_after_utc, issuer.not_valid_after_utc))
    )
    for extension in root.extensions:
        builder = builder.add_extension(extension.value, extension.critical)
    identifier = issuer.extensions.get_extension_for_class(x509.SubjectKeyIdentifier).value
    builder = builder.add_extension(
        x509.AuthorityKeyIdentifier.from_issuer_subject_key_identifier(identifier), critical=False
    )
    return issuer_key.sign_certificate(builder)


def _key_usage(signs_certificates: bool) -> x509.KeyUsage:
    return x509.KeyUsage(
        digital_signature=not signs_certificates,
        content_commitment=False,
        key_encipherment=False,
        data_encipherment=False,
        key_agreement=False,
        key_cert_sign=signs_certificates,
        crl_sign=signs_certificates,
        encipher_only=False,
        decipher_only=False,
    )
