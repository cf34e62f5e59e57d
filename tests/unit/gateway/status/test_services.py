"""A service's status: who serves it, and whether a request would get there."""

from __future__ import annotations

from datetime import UTC, datetime

import pytest

from discovery.health import EndpointState, EndpointStatus
from discovery.model import Endpoint, LocalService, Port, Protocol, ServiceName, ZoneHealth
from federation.freshness import Freshness
from federation.service_view import Conflict, ConflictReason, ExportView, ServiceView
from federation.status.service_values import ServiceDocument, ShareDocument
from gateway.status.services import describe_service

NAME = ServiceName("shop", "payments")
HTTP = Port("http", 80, Protocol.HTTP)
HEALTHY = (ZoneHealth("a", 1, 2), ZoneHealth("b", 2, 2))
UNHEALTHY = (ZoneHealth("a", 0, 2),)


def export(
    cluster: str, zones: tuple[ZoneHealth, ...] = HEALTHY, freshness: Freshness = Freshness.FRESH, created: float = 1.0
) -> ExportView:
    return ExportView(cluster, (HTTP,), zones, created, freshness)


def describe(view: ServiceView, *linked: str, local: LocalService | None = None) -> ServiceDocument:
    return describe_service(view, own_cluster="east", vip="127.80.0.9", local=local, endpoints=(), linked={*linked})


def test_a_service_names_its_clusters_and_their_health() -> None:
    """Zones are kept and added up, and the oldest export comes first as in the catalog."""
    document = describe(ServiceView(NAME, (HTTP,), (export("west"), export("eu", ()))), "west", "eu")
    west, eu = document.clusters
    assert (document.dns_name, document.vip) == ("payments.shop.svc.clusterset.local", "127.80.0.9")
    assert (west.healthy, west.total, [zone.zone for zone in west.zones]) == (3, 4, ["a", "b"])
    assert (eu.healthy, eu.total) == (None, None)
    assert west.exported_at == datetime(1970, 1, 1, 0, 0, 1, tzinfo=UTC)


@pytest.mark.parametrize(
    ("share", "linked", "reachable"),
    [
        (export("west"), True, True),
        (export("west"), False, False),
        (export("west", UNHEALTHY), True, False),
        (export("west", ()), True, True),
        (export("west", freshness=Freshness.STALE), True, True),
        (export("west", freshness=Freshness.WITHDRAWN), True, False),
        (export("east"), False, True),
        (export("east", UNHEALTHY), False, False),
        (export("east", ()), False, False),
    ],
)
def test_reachable_is_what_a_request_would_find(share: ExportView, linked: bool, reachable: bool) -> None:
    """A peer's share needs a tunnel and health (or no word about it), ours a healthy endpoint."""
    document = describe(ServiceView(NAME, (HTTP,), (share,)), *(["west"] if linked else []))
    assert document.clusters[0].reachable is reachable
    assert document.reachable is reachable


def test_ours_is_told_from_theirs() -> None:
    """Local, imported and exported are three different things."""
    local = LocalService(NAME, (HTTP,), (), export_to=("west",))
    ours = describe(ServiceView(NAME, (HTTP,), (export("east", created=0.0),)), local=local)
    assert (ours.imported, ours.exported_to, ours.clusters[0].local) == (False, ("west",), True)
    assert ours.clusters[0].exported_at is None
    both = describe(ServiceView(NAME, (HTTP,), (export("east"), export("west"))), local=local)
    assert both.imported


def test_conflicts_carry_the_reason_of_mcs() -> None:
    """KEP-1645's word, so that it can be looked up."""
    conflict = Conflict("eu", ConflictReason.PORT_CONFLICT, "port 80/tcp (http) conflicts")
    document = describe(ServiceView(NAME, (HTTP,), (export("west"),), (conflict,)))
    assert [(c.cluster, c.reason) for c in document.conflicts] == [("eu", "PortConflict")]


def test_local_endpoints_show_their_last_check() -> None:
    """Where a person looks when their own service is not used."""
    status = EndpointStatus(Endpoint("127.0.0.1", {"http": 9001}, "a"), EndpointState.UNHEALTHY, False, "refused")
    view = ServiceView(NAME, (HTTP,), (export("east", UNHEALTHY),))
    document = describe_service(view, own_cluster="east", vip="", local=None, endpoints=(status,), linked=set())
    endpoint = document.endpoints[0]
    assert (endpoint.ports, endpoint.state, endpoint.reason) == ({"http": 9001}, "unhealthy", "refused")


def test_shares_keep_the_ports_that_they_serve() -> None:
    """A port that lost a conflict is not among them."""
    share: ShareDocument = describe(
        ServiceView(NAME, (HTTP, Port("admin", 81, Protocol.TCP)), (export("west"),))
    ).clusters[0]
    assert share.ports == ("http",)
