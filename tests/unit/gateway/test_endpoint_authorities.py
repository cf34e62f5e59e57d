"""Which authorities a service's endpoints may be certified by, while their files change."""

from __future__ import annotations

import os
from pathlib import Path

import trustme

from discovery.model import EndpointTls, LocalService, ServiceName
from gateway.endpoint_authorities import EndpointAuthorities
from gateway.snapshot import UpstreamTls
from tests.tls_endpoint import roots_of

NAME = ServiceName("shop", "payments")


def service(tls: EndpointTls | None) -> LocalService:
    return LocalService(NAME, (), (), tls=tls)


def test_a_file_that_changes(tmp_path: Path) -> None:
    """A renewed CA reaches the workers, one that can't be read changes nothing and is named."""
    first, second = trustme.CA(), trustme.CA()
    path = tmp_path / "ca.pem"
    path.write_bytes(first.cert_pem.bytes())
    authorities = EndpointAuthorities(lambda: ())
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


def test_a_file_that_never_was(tmp_path: Path) -> None:
    """Nobody is believed, rather than everybody; and it is said."""
    authorities = EndpointAuthorities(lambda: ())
    assert authorities.of(service(EndpointTls("payments.test", str(tmp_path / "none")))) == UpstreamTls(
        "payments.test", ()
    )
    assert "none of its endpoints is used" in authorities.problems[NAME]


def test_the_clusters_own_authority_rotates() -> None:
    """The service follows; one that is gone, or speaks plain text now, is forgotten."""
    roots: tuple[bytes, ...] = (b"one",)
    authorities = EndpointAuthorities(lambda: roots)
    local = service(EndpointTls("payments.test"))
    assert authorities.of(local) == UpstreamTls("payments.test", (b"one",))
    roots = (b"one", b"two")
    assert authorities.changed({NAME: local}) == {NAME}
    assert authorities.changed({NAME: service(None)}) == set()
    assert authorities.of(service(None)) is None
    assert authorities.of(None) is None
    authorities.of(local)
    assert authorities.changed({}) == set()
