"""Which authorities a service's endpoints may be certified by, while their files change."""

from __future__ import annotations

import os
from pathlib import Path

import pytest
import trustme

from discovery.model import EndpointTls, LocalService, ServiceName
from gateway.endpoint.authorities import EndpointAuthorities
from gateway.snapshot import UpstreamTls
from tests.forge import NOW
from tests.tls_endpoint import roots_of
from trust.keyring import Keyring
from trust.rotation import Step

NAME = ServiceName("shop", "payments")
T = NOW.timestamp()


@pytest.fixture
def authority(tmp_path: Path) -> Keyring:
    return Keyring.load_or_create(tmp_path / "trust", "east.acme.test", NOW)


def service(tls: EndpointTls | None) -> LocalService:
    return LocalService(NAME, (), (), tls=tls)


def test_a_file_that_changes(tmp_path: Path, authority: Keyring) -> None:
    """A renewed CA reaches the workers, one that can't be read changes nothing and is named."""
    first, second = trustme.CA(), trustme.CA()
    path = tmp_path / "ca.pem"
    path.write_bytes(first.cert_pem.bytes())
    authorities = EndpointAuthorities(authority)
    local = service(EndpointTls("payments.test", str(path)))
    services = {NAME: local}
    assert authorities.of(local) == UpstreamTls("payments.test", roots_of(first))
    assert authorities.changed(services) == set()

    path.write_bytes(b"# both, while one follows the other\n" + first.cert_pem.bytes() + second.cert_pem.bytes())
    assert authorities.changed(services) == {NAME}
    assert authorities.of(local) == UpstreamTls("payments.test", roots_of(first, second))
    assert authorities.changed(services) == set()

    for broken in (b"", b"-----BEGIN CERTIFICATE-----\nAAAA\n-----END CERTIFICATE-----\n", b"x" * 2_000_000):
        path.write_bytes(broken)
        assert authorities.changed(services) == set()
        assert str(path) in authorities.problems[NAME]
        assert "stays in use" in authorities.problems[NAME]
    os.unlink(path)
    assert authorities.changed(services) == set()
    path.write_bytes(second.cert_pem.bytes())
    assert authorities.changed(services) == {NAME}
    assert authorities.problems == {}


def test_a_file_that_never_was(tmp_path: Path, authority: Keyring) -> None:
    """Nobody is believed, rather than everybody; and it is said."""
    authorities = EndpointAuthorities(authority)
    assert authorities.of(service(EndpointTls("payments.test", str(tmp_path / "none")))) == UpstreamTls(
        "payments.test", ()
    )
    assert "none of its endpoints is used" in authorities.problems[NAME]


def test_the_clusters_own_authority_rotates(authority: Keyring) -> None:
    """Endpoints under the old root are believed beside those under the new one, from before anything is signed with the
    new one until nothing of the old one is left; a root that was revoked is not believed at once."""
    old = authority.root_der
    authorities, local = EndpointAuthorities(authority), service(EndpointTls("payments.test"))
    services = {NAME: local}

    def believed() -> tuple[bytes, ...]:
        found = authorities.of(local)
        assert found is not None
        return found.roots

    assert believed() == (old,)
    authority.prepare(T, 1, forced=False)
    assert authorities.changed(services) == {NAME}
    new = authority.other_root
    assert new is not None
    assert set(believed()) == {old, new}
    authority.take_step(Step.ACTIVATE, T, 2)
    assert authority.root_der == new
    assert set(believed()) == {old, new}
    authority.take_step(Step.RETIRE, T, 3)
    assert authorities.changed(services) == {NAME}
    assert believed() == (new,)
    authority.revoke_root(authority.fingerprint, T, 4)
    assert authorities.changed(services) == {NAME}
    assert new not in believed()


def test_a_service_that_is_gone_is_forgotten(authority: Keyring) -> None:
    """Or that speaks plain text now."""
    authorities, local = EndpointAuthorities(authority), service(EndpointTls("payments.test"))
    authorities.of(local)
    assert authorities.changed({NAME: service(None)}) == set()
    assert authorities.of(service(None)) is None
    assert authorities.of(None) is None
    authorities.of(local)
    assert authorities.changed({}) == set()
