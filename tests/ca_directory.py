"""A CA as cert-manager lays it out: written by tests, of any key and shape."""

from __future__ import annotations

import os
from collections.abc import Sequence
from datetime import datetime, timedelta
from pathlib import Path

from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec, rsa

from tests.forge import NOW, AnyKey, Forge, key_usage, name, pem_of

_DAY = timedelta(days=1)


def p384() -> ec.EllipticCurvePrivateKey:
    return ec.generate_private_key(ec.SECP384R1())


def rsa2048() -> rsa.RSAPrivateKey:
    return rsa.generate_private_key(public_exponent=65537, key_size=2048)


def sub_ca(
    issuer: Forge,
    key: ec.EllipticCurvePrivateKey | rsa.RSAPrivateKey,
    *,
    common_name: str = "isthmus CA",
    path_length: int | None = 0,
    usage: Sequence[str] = ("key_cert_sign", "digital_signature"),
    ca: bool = True,
    uri: str = "",
    life: timedelta = 30 * _DAY,
    not_before_ago: timedelta = _DAY,
    constraints: x509.NameConstraints | None = None,
    now: datetime = NOW,
) -> Forge:
    """An intermediate as an operator's PKI issues one."""
    builder = (
        x509.CertificateBuilder()
        .issuer_name(issuer.certificate.subject)
        .subject_name(name(common_name))
        .public_key(key.public_key())
        .serial_number(x509.random_serial_number())
        .not_valid_before(now - not_before_ago)
        .not_valid_after(now + life)
        .add_extension(x509.BasicConstraints(ca=ca, path_length=path_length if ca else None), True)
        .add_extension(key_usage(*usage), True)
        .add_extension(x509.SubjectKeyIdentifier.from_public_key(key.public_key()), False)
    )
    if uri:
        builder = builder.add_extension(x509.SubjectAlternativeName([x509.UniformResourceIdentifier(uri)]), False)
    if constraints is not None:
        builder = builder.add_extension(constraints, True)
    signer = issuer.key
    assert isinstance(signer, ec.EllipticCurvePrivateKey | rsa.RSAPrivateKey)
    return Forge(builder.sign(signer, hashes.SHA256()), key)


def pem(*certificates: x509.Certificate) -> bytes:
    return b"".join(certificate.public_bytes(serialization.Encoding.PEM) for certificate in certificates)


def write_ca(
    directory: Path, issuer: Forge, roots: Sequence[Forge], *, above: Sequence[Forge] = (), key: AnyKey | None = None
) -> Path:
    """Writes the three files, each whole: tls.crt is `issuer` and `above`, ca.crt is `roots`."""
    directory.mkdir(exist_ok=True)
    _put(directory / "tls.crt", pem(issuer.certificate, *(forge.certificate for forge in above)))
    _put(directory / "tls.key", pem_of(key if key is not None else issuer.key))
    _put(directory / "ca.crt", pem(*(forge.certificate for forge in roots)))
    return directory


def _put(path: Path, content: bytes) -> None:
    new = path.with_suffix(".new")
    new.touch(0o600)
    new.write_bytes(content)
    os.rename(new, path)
