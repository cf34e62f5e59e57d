"""Which service an authority means, and who may ask for it."""

from __future__ import annotations

from discovery.model import Locality, Port, Protocol, ServiceName
from gateway.route import LOCAL_ORIGIN, Origin
from gateway.routing import RouteTable
from gateway.snapshot import LocalResource, PeerResource, ServiceResource, Update

PAYMENTS = ServiceResource(
    ServiceName("shop", "payments"),
    vip="127.80.0.2",
    ports=(Port("http", 8080, Protocol.HTTP), Port("wire", 7000, Protocol.TCP)),
    consumers=("west",),
)
LEDGER = ServiceResource(ServiceName("shop", "ledger"), vip="127.80.0.3", ports=(Port("tcp", 7000, Protocol.TCP),))
FQDN = b"payments.shop.svc.clusterset.local"


def table(*resources: ServiceResource) -> RouteTable:
    routes = RouteTable()
    local = LocalResource("acme", "east", Locality(), "east.test")
    list(routes.apply(Update([local, *resources], reset=True)))
    return routes


def found(routes: RouteTable, authority: bytes, origin: Origin = LOCAL_ORIGIN) -> tuple[str, str, bytes] | None:
    route = routes.find(authority, origin)
    return None if route is None else (str(route.service.name), route.port.name, route.authority)


def test_an_authority_with_a_port_means_that_port() -> None:
    """The usual form, and its canonical spelling crosses to peers."""
    assert found(table(PAYMENTS), FQDN + b":8080") == ("shop/payments", "http", FQDN + b":8080")
    assert found(table(PAYMENTS), FQDN + b":7000") == ("shop/payments", "wire", FQDN + b":7000")
    assert found(table(PAYMENTS), FQDN + b":9") is None


def test_without_a_port_the_only_http_port_is_meant() -> None:
    """People leave the port out; raw TCP ports are never guessed."""
    assert found(table(PAYMENTS), FQDN) == ("shop/payments", "http", FQDN + b":8080")
    assert found(table(LEDGER), b"ledger.shop.svc.clusterset.local") is None


def test_without_a_port_and_with_several_http_ports_port_80_is_meant() -> None:
    ports = (Port("a", 81, Protocol.HTTP), Port("b", 80, Protocol.HTTP))
    both = ServiceResource(ServiceName("shop", "payments"), "", ports)
    assert found(table(both), FQDN) == ("shop/payments", "b", FQDN + b":80")
    neither = ServiceResource(ServiceName("shop", "payments"), "", (ports[0], Port("c", 82, Protocol.GRPC)))
    assert found(table(neither), FQDN) is None


def test_host_names_are_case_insensitive_and_may_end_with_a_dot() -> None:
    """RFC 3986 section 3.2.2 and RFC 1034 section 3.1."""
    assert found(table(PAYMENTS), FQDN.upper() + b".:8080") == ("shop/payments", "http", FQDN + b":8080")


def test_a_peer_sees_only_what_is_exported_to_it() -> None:
    """What is not exported to a cluster does not exist for it."""
    routes = table(PAYMENTS, LEDGER)
    assert found(routes, FQDN, Origin(peer="west")) is not None
    assert found(routes, FQDN, Origin(peer="eu")) is None
    assert found(routes, b"ledger.shop.svc.clusterset.local:7000", Origin(peer="west")) is None
    everyone = ServiceResource(PAYMENTS.name, "", PAYMENTS.ports, consumers=("*",))
    assert found(table(everyone), FQDN, Origin(peer="eu")) is not None


def test_a_virtual_ip_leads_to_its_service_whatever_the_authority() -> None:
    origin = Origin(fixed=("service/shop/payments", "wire"))
    assert found(table(PAYMENTS), b"10.0.0.1", origin) == ("shop/payments", "wire", FQDN + b":7000")
    assert found(table(LEDGER), b"", origin) is None
    assert found(table(PAYMENTS), b"", Origin(fixed=("service/shop/payments", "gone"))) is None


def test_updates_say_what_changed_and_forget_what_went() -> None:
    """Whoever follows the table does work for what changed only."""
    routes = table(PAYMENTS)
    moved = ServiceResource(PAYMENTS.name, "", (Port("http", 9090, Protocol.HTTP),))
    assert list(routes.apply(Update([moved]))) == [(PAYMENTS, moved)]
    assert found(routes, FQDN + b":8080") is None
    assert list(routes.apply(Update([moved]))) == []
    peer = PeerResource("west", "west.test", ())
    assert list(routes.apply(Update([peer]))) == [(None, peer)]
    assert list(routes.apply(Update(removals=[moved.key, peer.key, "service/not/there"]))) == [
        (moved, None),
        (peer, None),
    ]
    assert found(routes, FQDN + b":9090") is None


def test_a_reset_drops_what_it_does_not_name() -> None:
    routes = table(PAYMENTS, LEDGER)
    local = routes.local
    assert local is not None
    assert list(routes.apply(Update([local, LEDGER], reset=True))) == [(PAYMENTS, None)]


def test_a_whole_snapshot_in_parts() -> None:
    """What no part names goes with the last one, and not before: requests find what they found meanwhile."""
    routes = table(PAYMENTS, LEDGER)
    local = LocalResource("acme", "east", Locality(), "east.test")
    assert list(routes.apply(Update([local], reset=True, more=True))) == []
    assert bool(routes.is_whole) is False
    assert found(routes, FQDN) is not None
    assert list(routes.apply(Update([LEDGER], more=True))) == []
    assert list(routes.apply(Update())) == [(PAYMENTS, None)]
    assert (found(routes, FQDN), list(routes.services), len(routes)) == (None, [LEDGER], 1)
    assert bool(routes.is_whole)


def test_what_is_remembered_of_a_service_goes_with_it() -> None:
    """Routes in use are kept unpacked, under every authority that was asked for; a change must reach them all."""
    routes = table(PAYMENTS)
    assert found(routes, FQDN) == found(routes, FQDN + b":8080") is not None
    moved = ServiceResource(PAYMENTS.name, "", (Port("http", 9090, Protocol.HTTP),))
    assert list(routes.apply(Update([moved]))) == [(PAYMENTS, moved)]
    assert list(routes.apply(Update([moved]))) == [], "the same again is no change"
    assert found(routes, FQDN) == ("shop/payments", "http", FQDN + b":9090")
    assert found(routes, FQDN + b":8080") is None
    list(routes.apply(Update(removals=[moved.key])))
    assert found(routes, FQDN) is None
    for nobody in (b"", b".svc.clusterset.local", b"a.svc.clusterset.local", b"\xff.\xfe.svc.clusterset.local:80"):
        assert found(routes, nobody) is None
