"""Who is believed to call, and who is let in."""

from __future__ import annotations

import pytest

from discovery.model import Locality, ServiceName, Workload
from gateway.callers import AllowedWorkloads, Caller, NotAllowed, SourceNotBelieved, WorkloadIdentities
from gateway.codec.events import Header
from gateway.codec.headers import source_value
from gateway.snapshot import ServiceResource
from trust.spiffe_id import SpiffeId, gateway_id, workload_id

WEST = gateway_id("west.test")
FRONTEND = workload_id("west.test", "web", "frontend")
WEB = "spiffe://west.test/ns/web/sa/*"


def ask(caller: Caller, headers: list[Header]) -> SpiffeId:
    return caller.source(headers, dict(headers))


def source(identity: str, cluster: str = "west") -> list[tuple[bytes, bytes]]:
    return [(b"isthmus-source", source_value(cluster, Locality("us", "us-1"), identity))]


def service(*allow: str) -> ServiceResource:
    return ServiceResource(ServiceName("shop", "payments"), "", (), consumers=("west",), allow=allow)


def test_a_gateway_speaks_for_its_workloads() -> None:
    """Within its trust domain; for itself where it says nothing. Twice the same, as what is remembered counts too."""
    caller = Caller("west", WEST)
    for _ in range(2):
        assert ask(caller, source(str(FRONTEND))) == FRONTEND
        assert ask(caller, [(b"x", b"y")]) == WEST


@pytest.mark.parametrize(
    "headers",
    [
        source("spiffe://east.test/ns/web/sa/frontend"),
        source("spiffe://west.test.evil/ns/web/sa/frontend"),
        source("spiffe://west.test"),
        source("spiffe://west.test/ns/../sa/x"),
        source("nobody"),
        source(str(FRONTEND), cluster="east"),
        source(str(FRONTEND)) + source(str(FRONTEND)),
        [(b"isthmus-source", b"")],
        [(b"isthmus-source", b'identity="spiffe://west.test/ns/web/sa/frontend"')],
        [(b"isthmus-source", source(str(FRONTEND))[0][1] + b', identity="spiffe://west.test/ns/web/sa/admin"')],
        [(b"isthmus-source", b"\xff" * 40)],
    ],
)
def test_what_a_peer_may_not_say(headers: list[tuple[bytes, bytes]]) -> None:
    """Another trust domain or cluster, two values, another form: refused each time, not only the first."""
    caller = Caller("west", WEST)
    for _ in range(2):
        with pytest.raises(SourceNotBelieved):
            ask(caller, headers)


def test_a_workload_speaks_for_nobody() -> None:
    """One that connects by itself is who its certificate says, whatever it adds."""
    caller = Caller("west", FRONTEND)
    assert ask(caller, []) == FRONTEND
    with pytest.raises(SourceNotBelieved, match="no gateway"):
        ask(caller, source(str(FRONTEND)))


def test_who_is_let_in() -> None:
    """Without `allow` whoever a peer's gateway lets through; with it, only those that it names."""
    gateway = Caller("west", WEST)
    gateway.check(service(), FRONTEND, connect=False)
    for _ in range(2):
        gateway.check(service(WEB), FRONTEND, connect=False)
        with pytest.raises(NotAllowed):
            gateway.check(service("spiffe://west.test/ns/web/sa/admin"), FRONTEND, connect=False)
        with pytest.raises(NotAllowed):
            gateway.check(service(WEB), WEST, connect=False)


def test_a_workload_comes_by_connect_and_by_name() -> None:
    """A service that names nobody is open to peers' gateways, not to whoever has a certificate there."""
    workload = Caller("west", FRONTEND)
    workload.check(service(WEB), FRONTEND, connect=True)
    for open_to, connect in ((service(WEB), False), (service(), True), (service("spiffe://eu.test/ns/*/sa/*"), True)):
        with pytest.raises(NotAllowed):
            workload.check(open_to, FRONTEND, connect=connect)


def test_memory_is_bounded() -> None:
    """A peer may send a new identity with each request."""
    caller = Caller("west", WEST)
    for i in range(3000):
        identity = ask(caller, source(f"spiffe://west.test/ns/web/sa/a{i}"))
        caller.check(service(WEB), identity, connect=False)
    assert len(caller._believed) <= 1024
    assert len(caller._allowed) <= 1024


def test_whose_certificates_are_let_in() -> None:
    """The union over all services, which follows them; a change that takes somebody away says so."""
    allowed = AllowedWorkloads()
    assert FRONTEND not in allowed
    assert not allowed.changed(None, service(WEB))
    assert not allowed.changed(None, service(WEB))
    assert FRONTEND in allowed
    assert WEST not in allowed
    assert not allowed.changed(service(WEB), None)
    assert FRONTEND in allowed
    assert not allowed.changed(service(WEB), service(WEB, "spiffe://eu.test/a"))
    assert allowed.changed(service(WEB, "spiffe://eu.test/a"), service("spiffe://eu.test/a"))
    assert FRONTEND not in allowed


def test_identities_of_local_workloads() -> None:
    """The narrowest network counts, IPv4 inside IPv6 is IPv4, and everybody else is the gateway."""
    identities = WorkloadIdentities(
        "east.test",
        [Workload(("127.0.0.0/8", "fd00::/8"), "web", "any"), Workload(("127.0.0.5/32",), "web", "frontend")],
    )
    assert identities.of("127.0.0.5") == SpiffeId("east.test", "/ns/web/sa/frontend")
    assert identities.of("::ffff:127.0.0.5") == SpiffeId("east.test", "/ns/web/sa/frontend")
    assert identities.of("127.9.9.9") == SpiffeId("east.test", "/ns/web/sa/any")
    assert identities.of("fd00::1") == SpiffeId("east.test", "/ns/web/sa/any")
    for other in ("10.0.0.1", "", "not an address"):
        assert identities.of(other) == gateway_id("east.test")
