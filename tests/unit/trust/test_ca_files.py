"""A CA of the operator's: what is taken, and that each thing that is wrong with it has a name."""

from __future__ import annotations

import contextlib
import os
from collections.abc import Callable
from datetime import timedelta
from pathlib import Path

import pytest
from cryptography import x509
from cryptography.hazmat.primitives import serialization
from cryptography.hazmat.primitives.asymmetric import rsa
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from tests.ca_directory import p384, pem, rsa2048, sub_ca, write_ca
from tests.forge import NOW, Forge, p256, pem_of
from trust.authority import Authority
from trust.ca_files import CA_FILES, load_ca
from trust.errors import TrustError

EAST = "east.acme.test"
_DAY = timedelta(days=1)


@pytest.fixture(scope="module")
def root() -> Forge:
    return Forge.root("acme root")


@pytest.mark.parametrize("make_key", [p256, p384, rsa2048])
@pytest.mark.parametrize("make_root_key", [p256, p384, rsa2048])
def test_intermediates_of_every_usual_key_are_taken(
    tmp_path: Path, make_key: Callable[[], object], make_root_key: Callable[[], object]
) -> None:
    """cert-manager, step-ca and openssl users have ECDSA or RSA, and mix them."""
    root = Forge.root("acme root", key=make_root_key())  # type: ignore[arg-type]
    issuer = sub_ca(root, make_key())  # type: ignore[arg-type]
    ca = load_ca(write_ca(tmp_path / "ca", issuer, [root]), EAST, NOW)
    assert (ca.intermediates, ca.root_der, ca.roots) == ((issuer.der,), root.der, (root.der,))
    assert "PRIVATE" not in repr(ca)


def test_a_chain_of_two_and_a_root_at_its_end(tmp_path: Path, root: Forge) -> None:
    """Some tools put the root at the end of tls.crt: it is not sent."""
    policy = sub_ca(root, p256(), common_name="policy CA", path_length=1)
    issuer = sub_ca(policy, p256())
    ca = load_ca(write_ca(tmp_path / "ca", issuer, [root], above=[policy, root]), EAST, NOW)
    assert (ca.intermediates, ca.root_der) == ((issuer.der, policy.der), root.der)


def test_a_self_signed_ca_signs_as_a_root(tmp_path: Path) -> None:
    """cert-manager's self-signed issuer: tls.crt and ca.crt are the same certificate."""
    root = Forge.root("acme root")
    ca = load_ca(write_ca(tmp_path / "ca", root, [root]), EAST, NOW)
    assert (ca.intermediates, ca.root_der) == ((), root.der)


def test_the_right_one_of_several_roots_is_found(tmp_path: Path, root: Forge) -> None:
    """While a root replaces another, ca.crt holds both."""
    other = Forge.root("next root")
    ca = load_ca(write_ca(tmp_path / "ca", sub_ca(root, p256()), [other, root]), EAST, NOW)
    assert (ca.root_der, ca.roots) == (root.der, (other.der, root.der))


def test_a_mounted_secret_is_read_through_its_link(tmp_path: Path, root: Forge) -> None:
    """Kubernetes swaps the link `..data`; the names beside it are links through it."""
    issuer = sub_ca(root, p256())
    write_ca(tmp_path / "..2026", issuer, [root])
    mount = tmp_path
    (mount / "..data").symlink_to("..2026")
    for file in CA_FILES:
        (mount / file).symlink_to(Path("..data") / file)
    assert load_ca(mount, EAST, NOW).intermediates == (issuer.der,)


@pytest.mark.parametrize("make_key", [p256, p384, rsa2048])
@pytest.mark.parametrize("form", [serialization.PrivateFormat.TraditionalOpenSSL, serialization.PrivateFormat.PKCS8])
def test_keys_in_both_of_cert_managers_encodings_are_read(
    tmp_path: Path, root: Forge, make_key: Callable[[], object], form: serialization.PrivateFormat
) -> None:
    """`privateKey.encoding: PKCS1`, its default (for ECDSA that is SEC 1), and `PKCS8`."""
    issuer = sub_ca(root, make_key())  # type: ignore[arg-type]
    directory = write_ca(tmp_path / "ca", issuer, [root])
    (directory / "tls.key").write_bytes(
        issuer.key.private_bytes(serialization.Encoding.PEM, form, serialization.NoEncryption())
    )
    assert load_ca(directory, EAST, NOW).intermediates == (issuer.der,)


def test_the_top_of_a_chain_without_its_root_is_the_root(tmp_path: Path, root: Forge) -> None:
    """An issuer whose own secret lacks the root: cert-manager puts the highest certificate that it knows into ca.crt,
    and leaves it in tls.crt."""
    policy = sub_ca(root, p256(), common_name="policy CA", path_length=1)
    issuer = sub_ca(policy, p256())
    ca = load_ca(write_ca(tmp_path / "ca", issuer, [policy], above=[policy]), EAST, NOW)
    assert (ca.intermediates, ca.root_der) == ((issuer.der,), policy.der)


_WRONG: dict[str, tuple[str, Callable[[Path, Forge], object]]] = {
    "another key": ("key-mismatch", lambda d, root: write_ca(d, sub_ca(root, p256()), [root], key=p256())),
    "not a CA": (
        "ca-certificate",
        lambda d, root: write_ca(d, sub_ca(root, p256(), ca=False, usage=("digital_signature",)), [root]),
    ),
    "may not sign certificates": (
        "wrong-key-usage",
        lambda d, root: write_ca(d, sub_ca(root, p256(), usage=("digital_signature",)), [root]),
    ),
    "expired": ("expired", lambda d, root: write_ca(d, sub_ca(root, p256(), life=-timedelta(hours=1)), [root])),
    "not yet valid": (
        "not-yet-valid",
        lambda d, root: write_ca(d, sub_ca(root, p256(), not_before_ago=-timedelta(hours=1)), [root]),
    ),
    "another root": ("unknown-authority", lambda d, root: write_ca(d, sub_ca(root, p256()), [Forge.root("other")])),
    "a root of the same name": (
        "unknown-authority",
        lambda d, root: write_ca(d, sub_ca(root, p256()), [Forge.root("acme root")]),
    ),
    "no room below its issuer": (
        "path-length",
        lambda d, root: (
            (policy := sub_ca(root, p256(), common_name="policy"))
            and write_ca(d, sub_ca(policy, p256()), [root], above=[policy])
        ),
    ),
    "a chain in the wrong order": (
        "malformed-chain",
        lambda d, root: (
            (policy := sub_ca(root, p256(), common_name="policy", path_length=2))
            and write_ca(d, sub_ca(policy, p256()), [root], above=[Forge.root("stranger"), policy])
        ),
    ),
    "another trust domain's": (
        "foreign-authority",
        lambda d, root: write_ca(d, sub_ca(root, p256(), uri="spiffe://west.acme.test"), [root]),
    ),
    "names of another domain only": (
        "foreign-authority",
        lambda d, root: write_ca(d, sub_ca(root, p256(), constraints=_uris("west.acme.test")), [root]),
    ),
    "constraints that nobody can check": (
        "name-constraints",
        lambda d, root: write_ca(d, sub_ca(root, p256(), constraints=_uris(".acme.test")), [root]),
    ),
    "a weak key": (
        "weak-key",
        lambda d, root: write_ca(d, sub_ca(root, _weak()), [root]),
    ),
    "an open key file": (
        "unsafe-permissions",
        lambda d, root: os.chmod(write_ca(d, sub_ca(root, p256()), [root]) / "tls.key", 0o644),
    ),
    "a missing file": (
        "incomplete-authority",
        lambda d, root: os.unlink(write_ca(d, sub_ca(root, p256()), [root]) / "ca.crt"),
    ),
    "no directory": ("incomplete-authority", lambda d, root: None),
    "a damaged certificate": (
        "malformed-chain",
        lambda d, root: (write_ca(d, sub_ca(root, p256()), [root]) / "tls.crt").write_bytes(b"-----BEGIN CERT"),
    ),
    "a damaged key": (
        "malformed-key",
        lambda d, root: (write_ca(d, sub_ca(root, p256()), [root]) / "tls.key").write_bytes(b"secret?"),
    ),
    "too many roots": (
        "malformed-chain",
        lambda d, root: (write_ca(d, sub_ca(root, p256()), [root]) / "ca.crt").write_bytes(pem(root.certificate) * 9),
    ),
}


def _uris(host: str) -> x509.NameConstraints:
    return x509.NameConstraints([x509.UniformResourceIdentifier(host)], None)


def _weak() -> rsa.RSAPrivateKey:
    return rsa.generate_private_key(public_exponent=65537, key_size=1024)


@pytest.mark.parametrize("wrong", _WRONG)
def test_each_wrong_thing_is_refused_by_its_name(tmp_path: Path, root: Forge, wrong: str) -> None:
    """Whoever mounts the wrong secret reads what is wrong with it, and no key is ever shown."""
    code, make = _WRONG[wrong]
    make(tmp_path / "ca", root)
    with pytest.raises(TrustError) as refused:
        load_ca(tmp_path / "ca", EAST, NOW)
    assert refused.value.code == code, str(refused.value)
    assert str(tmp_path / "ca") in str(refused.value)
    assert "PRIVATE KEY" not in str(refused.value)


def test_its_own_trust_domain_may_be_named(tmp_path: Path, root: Forge) -> None:
    """The X509-SVID standard, section 3.2: a CA's SPIFFE ID is its trust domain."""
    load_ca(write_ca(tmp_path / "ca", sub_ca(root, p256(), uri=f"spiffe://{EAST}"), [root]), EAST, NOW)


def test_a_key_that_the_group_may_read_is_taken(tmp_path: Path, root: Forge) -> None:
    """That is how a mounted secret reaches a process that is not root."""
    directory = write_ca(tmp_path / "ca", sub_ca(root, p256()), [root])
    os.chmod(directory / "tls.key", 0o640)
    load_ca(directory, EAST, NOW)


def test_our_own_root_can_be_given_as_files(tmp_path: Path) -> None:
    """What we make ourselves fulfils what we ask of others."""
    own = Authority.load_or_create(tmp_path / "trust", EAST, NOW)
    directory = tmp_path / "ca"
    directory.mkdir()
    for source, target in (("ca.pem", "tls.crt"), ("ca.key", "tls.key"), ("ca.pem", "ca.crt")):
        (directory / target).write_bytes((tmp_path / "trust" / source).read_bytes())
    os.chmod(directory / "tls.key", 0o600)
    assert load_ca(directory, EAST, NOW).root_der == own.root_der


@settings(max_examples=60, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(file=st.sampled_from(CA_FILES), data=st.data())
def test_damage_is_refused_and_never_raises_anything_else(tmp_path: Path, file: str, data: st.DataObject) -> None:
    """A half-written or garbled file must cost a renewal, never the process."""
    whole = {"tls.crt": _GOOD[0], "tls.key": _GOOD[1], "ca.crt": _GOOD[2]}
    content = bytearray(whole[file])
    cut = data.draw(st.integers(0, len(content)))
    content = content[:cut] + data.draw(st.binary(max_size=40)) + content[cut + data.draw(st.integers(0, 80)) :]
    directory = tmp_path / "ca"
    directory.mkdir(exist_ok=True)
    for each in CA_FILES:
        (directory / each).touch(0o600)
        (directory / each).write_bytes(bytes(content) if each == file else whole[each])
    with contextlib.suppress(TrustError):
        load_ca(directory, EAST, NOW)


def _good() -> tuple[bytes, bytes, bytes]:
    root = Forge.root("acme root")
    issuer = sub_ca(root, p256())
    return pem(issuer.certificate), pem_of(issuer.key), pem(root.certificate)


_GOOD = _good()
