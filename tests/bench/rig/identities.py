"""X.509-SVIDs for the peers' gateways: P-256, one SPIFFE ID, one CA a cluster, as our own gateways have them."""

from __future__ import annotations

import ssl
from datetime import UTC, datetime
from pathlib import Path

import msgspec
from cryptography import x509
from cryptography.hazmat.primitives import serialization

from trust.authority import Authority
from trust.keys import PrivateKey
from trust.spiffe_id import gateway_id

_LIFETIME_S = 24 * 3600.0


class Identity(msgspec.Struct, frozen=True):
    """One gateway's files, PEM."""

    spiffe_id: str
    certificate: Path
    key: Path
    combined: Path
    """Certificate and key in one file."""
    root: Path
    """What the other gateway validates this one against."""


def make_identity(directory: Path, cluster: str) -> Identity:
    """A gateway's identity under a CA of its own, in `directory`."""
    now = datetime.now(UTC)
    trust_domain = f"{cluster}.acme.test"
    authority = Authority.load_or_create(directory / f"{cluster}-ca", trust_domain, now)
    key = PrivateKey.generate()
    request = key.sign_request(x509.CertificateSigningRequestBuilder().subject_name(x509.Name([])))
    request_der = request.public_bytes(serialization.Encoding.DER)
    chain = authority.issue_gateway(request_der, now=now, lifetime_s=_LIFETIME_S)
    identity = Identity(
        spiffe_id=str(gateway_id(trust_domain)),
        certificate=directory / f"{cluster}.pem",
        key=directory / f"{cluster}.key",
        combined=directory / f"{cluster}.combined.pem",
        root=directory / f"{cluster}-root.pem",
    )
    certificate = "".join(map(ssl.DER_cert_to_PEM_cert, chain)).encode()
    identity.certificate.write_bytes(certificate)
    identity.key.write_bytes(key.expose_private_pem())
    identity.combined.write_bytes(certificate + key.expose_private_pem())
    identity.root.write_text(ssl.DER_cert_to_PEM_cert(authority.root_der))
    return identity
