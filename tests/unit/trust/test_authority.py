"""The cluster's CA: what it makes, what it takes from a request, and what it keeps."""

from __future__ import annotations

import os
import stat
from datetime import timedelta
from pathlib import Path

import pytest
from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec, rsa
from cryptography.x509.oid import ExtendedKeyUsageOID

from tests.forge import NOW, key_usage, name, p256
from trust.authority import Authority
from trust.errors import TrustError
from trust.keys import PrivateKey
from trust.svid import make_signing_request
from trust.verify import validate_gateway, validate_record_chain

EAST = "east.acme.test"


@pytest.fixture
def authority(tmp_path: Path) -> Authority:
    return Authority.load_or_create(tmp_path / "trust", EAST, NOW)


def gateway_leaf(authority: Authority, lifetime_s: float = 3600.0) -> x509.Certificate:
    chain = authority.issue_gateway(make_signing_request(PrivateKey.generate()), now=NOW, lifetime_s=lifetime_s)
    assert len(chain) == 1, "the root signs directly, and is not sent"
    return x509.load_der_x509_certificate(chain[0])


def test_a_second_start_finds_the_same_ca(tmp_path: Path) -> None:
    """Peers pinned it: a new root at a restart would cut the cluster off."""
    first = Authority.load_or_create(tmp_path / "trust", EAST, NOW)
    second = Authority.load_or_create(tmp_path / "trust", EAST, NOW + timedelta(days=900))
    assert (second.root_der, second.record_chain) == (first.root_der, first.record_chain)
    assert second.record_key.public_key == first.record_key.public_key
    assert second.bundle(7) == first.bundle(7)


def test_what_lies_on_disk(tmp_path: Path) -> None:
    """Four files in a directory that is closed to others, made under missing parents, and no leftovers beside it."""
    before = os.umask(0)
    try:
        Authority.load_or_create(tmp_path / "state" / "east" / "trust", EAST, NOW)
    finally:
        os.umask(before)
    directory = tmp_path / "state" / "east" / "trust"
    assert os.listdir(directory.parent) == ["trust"]
    assert stat.S_IMODE(directory.stat().st_mode) == 0o700
    modes = {path.name: stat.S_IMODE(path.stat().st_mode) for path in directory.iterdir()}
    assert modes == dict.fromkeys(("ca.key", "ca.pem", "record.key", "record.pem"), 0o600)


def test_an_empty_directory_may_be_there_already(tmp_path: Path) -> None:
    """Somebody made it by hand, with whatever mode."""
    (tmp_path / "trust").mkdir(mode=0o755)
    Authority.load_or_create(tmp_path / "trust", EAST, NOW)
    assert stat.S_IMODE((tmp_path / "trust").stat().st_mode) == 0o700


def test_the_root_is_a_signing_certificate(authority: Authority) -> None:
    """X509-SVID sections 3.2 and 4."""
    root = x509.load_der_x509_certificate(authority.root_der)
    extensions = root.extensions
    assert extensions.get_extension_for_class(x509.BasicConstraints).critical
    assert extensions.get_extension_for_class(x509.BasicConstraints).value.ca
    usage = extensions.get_extension_for_class(x509.KeyUsage)
    assert usage.critical
    assert usage.value == key_usage("key_cert_sign", "crl_sign")
    names = extensions.get_extension_for_class(x509.SubjectAlternativeName).value
    assert list(names) == [x509.UniformResourceIdentifier(f"spiffe://{EAST}")]
    assert authority.fingerprint == "sha256:" + root.fingerprint(hashes.SHA256()).hex()


def test_two_roots_of_one_trust_domain_have_different_names(tmp_path: Path) -> None:
    """OpenSSL looks an issuer up by its name, and rotation has two roots loaded."""
    roots = [
        x509.load_der_x509_certificate(Authority.load_or_create(tmp_path / each, EAST, NOW).root_der)
        for each in ("a", "b")
    ]
    assert roots[0].subject != roots[1].subject


def test_a_trust_domain_longer_than_a_common_name(tmp_path: Path) -> None:
    """A common name holds 64 characters, a trust domain 255."""
    trust_domain = "a" * 255
    authority = Authority.load_or_create(tmp_path / "trust", trust_domain, NOW)
    chain = authority.issue_gateway(make_signing_request(PrivateKey.generate()), now=NOW, lifetime_s=60)
    assert validate_gateway(chain, {trust_domain: [authority.root_der]}, NOW).trust_domain == trust_domain


def test_a_gateways_certificate_is_an_x509_svid(authority: Authority) -> None:
    """X509-SVID section 4, field by field."""
    leaf = gateway_leaf(authority)
    names = leaf.extensions.get_extension_for_class(x509.SubjectAlternativeName)
    assert list(names.value) == [
        x509.UniformResourceIdentifier(f"spiffe://{EAST}/ns/isthmus-system/sa/isthmus-gateway")
    ]
    assert names.critical
    assert leaf.subject == x509.Name([])
    assert not leaf.extensions.get_extension_for_class(x509.BasicConstraints).value.ca
    usage = leaf.extensions.get_extension_for_class(x509.KeyUsage)
    assert usage.critical
    assert usage.value == key_usage("digital_signature")
    assert set(leaf.extensions.get_extension_for_class(x509.ExtendedKeyUsage).value) == {
        ExtendedKeyUsageOID.SERVER_AUTH,
        ExtendedKeyUsageOID.CLIENT_AUTH,
    }


@pytest.mark.parametrize(
    ("lifetime_s", "backdate_s"), [(3600.0, 360.0), (60.0, 6.0), (86_400.0, 600.0), (864_000.0, 600.0)]
)
def test_validity_reaches_a_little_into_the_past(authority: Authority, lifetime_s: float, backdate_s: float) -> None:
    """A peer whose clock is behind accepts it; a short-lived one still has its renewal time ahead."""
    leaf = gateway_leaf(authority, lifetime_s)
    assert leaf.not_valid_before_utc == NOW - timedelta(seconds=backdate_s)
    assert leaf.not_valid_after_utc == NOW + timedelta(seconds=lifetime_s)


def test_a_certificate_never_outlives_its_root(authority: Authority) -> None:
    """Peers would refuse it anyway, with a reason that is harder to find."""
    root = x509.load_der_x509_certificate(authority.root_der)
    assert gateway_leaf(authority, 100 * 365 * 86_400.0).not_valid_after_utc == root.not_valid_after_utc


@pytest.mark.parametrize("offset", [timedelta(days=4000), timedelta(days=-1)])
def test_outside_of_the_roots_life_nothing_is_issued(authority: Authority, offset: timedelta) -> None:
    """The clock is wrong or the root has run out; either way the operator must act."""
    with pytest.raises(TrustError, match="set the clock, or rotate") as caught:
        authority.issue_gateway(make_signing_request(PrivateKey.generate()), now=NOW + offset, lifetime_s=60)
    assert caught.value.code == "authority-not-valid"


def test_what_a_request_asks_for_is_ignored(authority: Authority) -> None:
    """A worker that was taken over must not become a CA, or somebody else."""
    request = (
        x509.CertificateSigningRequestBuilder()
        .subject_name(name("admin"))
        .add_extension(x509.SubjectAlternativeName([x509.UniformResourceIdentifier("spiffe://west.test/x")]), True)
        .add_extension(x509.BasicConstraints(ca=True, path_length=None), True)
        .sign(p256(), hashes.SHA256())
    )
    chain = authority.issue_gateway(request.public_bytes(serialization.Encoding.DER), now=NOW, lifetime_s=60)
    identity = validate_gateway(chain, {EAST: [authority.root_der]}, NOW)
    assert identity.trust_domain == EAST
    assert x509.load_der_x509_certificate(chain[0]).public_key() == request.public_key()


def forged_request() -> bytes:
    """A request for a key that its sender does not have: the signature's last byte is another."""
    request = bytearray(make_signing_request(PrivateKey.generate()))
    request[-1] ^= 1
    return bytes(request)


def request_by(key: ec.EllipticCurvePrivateKey | rsa.RSAPrivateKey) -> bytes:
    request = x509.CertificateSigningRequestBuilder().subject_name(x509.Name([])).sign(key, hashes.SHA256())
    return request.public_bytes(serialization.Encoding.DER)


@pytest.mark.parametrize(
    ("csr", "why"),
    [
        pytest.param(b"", "not a PKCS #10", id="empty"),
        pytest.param(b"\x30\x03\x02\x01\x00", "not a PKCS #10", id="other DER"),
        pytest.param(forged_request(), "signature does not match", id="forged"),
        pytest.param(request_by(ec.generate_private_key(ec.SECP384R1())), "not P-256", id="P-384"),
        pytest.param(request_by(rsa.generate_private_key(65537, 2048)), "not P-256", id="RSA"),
    ],
)
def test_a_bad_request_is_refused(authority: Authority, csr: bytes, why: str) -> None:
    """The CA does not certify a key that nobody proved to have."""
    with pytest.raises(TrustError, match=why) as caught:
        authority.issue_gateway(csr, now=NOW, lifetime_s=60)
    assert caught.value.code == "bad-signing-request"


def test_the_record_key_is_good_for_as_long_as_the_root(authority: Authority) -> None:
    """Nothing renews it: a peer that joins in nine years still needs its certificate for the first bundle."""
    later = NOW + timedelta(days=9 * 365)
    assert validate_record_chain(authority.record_chain, authority.fingerprint, EAST, later)


def test_its_repr_names_it_without_its_keys(authority: Authority) -> None:
    """It ends up in tracebacks."""
    assert repr(authority) == f"<Authority {EAST} {authority.fingerprint}>"


def test_a_trust_domain_that_is_none(tmp_path: Path) -> None:
    """Refused before anything is made."""
    with pytest.raises(TrustError, match="not a trust domain"):
        Authority.load_or_create(tmp_path / "trust", "East", NOW)
    assert os.listdir(tmp_path) == []
