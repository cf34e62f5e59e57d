"""Counts of services that follow the catalog's changes: always those of a walk over all of it."""

from __future__ import annotations

import random

import pytest

from discovery.model import Port, Protocol, ServiceName, ZoneHealth
from federation.freshness import Freshness
from federation.service_view import Conflict, ConflictReason, ExportView, ServiceView
from federation.status.peer_values import PeerServicesDocument
from federation.status.service_values import ServiceDocument
from gateway.controller.service_counts import ServiceCounts
from gateway.status.services import describe_service

NAME = ServiceName("shop", "payments")
HTTP = Port("http", 80, Protocol.HTTP)
HEALTHY = (ZoneHealth("a", 1, 2), ZoneHealth("b", 2, 2))
UNHEALTHY = (ZoneHealth("a", 0, 2),)
CONFLICT = Conflict("eu", ConflictReason.PORT_CONFLICT, "port 80/tcp (http) conflicts")


def export(cluster: str, zones: tuple[ZoneHealth, ...] = HEALTHY, freshness: Freshness = Freshness.FRESH) -> ExportView:
    return ExportView(cluster, (HTTP,), zones, 1.0, freshness)


def describe(view: ServiceView, *linked: str) -> ServiceDocument:
    return describe_service(view, own_cluster="east", vip="", local=None, endpoints=(), linked={*linked})


def test_the_numbers_of_a_peer_and_of_all_are_of_the_same_services() -> None:
    """A service that two clusters offer is one service, and one of each cluster's."""
    counts = ServiceCounts("east")
    counts.change(None, ServiceView(NAME, (HTTP,), (export("east"), export("west"))))
    counts.change(None, ServiceView(ServiceName("shop", "a"), (HTTP,), (export("west", UNHEALTHY), export("eu"))))
    counts.change(None, ServiceView(ServiceName("shop", "b"), (HTTP,), (export("east", UNHEALTHY),)))
    total = counts.in_all({"west"}, 1)
    assert (total.total, total.reachable, total.imported, total.exported) == (3, 1, 2, 1)
    by_peer = counts.by_cluster({"west"})
    assert by_peer["west"] == PeerServicesDocument(offered=2, reachable=1)
    assert by_peer["eu"] == PeerServicesDocument(offered=1, reachable=0)


@pytest.mark.parametrize("seed", range(5))
def test_counts_agree_with_a_walk_after_any_changes(seed: int) -> None:
    """Services come, change and go in any order; what is counted is what is there."""
    rng = random.Random(seed)
    counts, views = ServiceCounts("east"), dict[ServiceName, ServiceView]()
    for _ in range(300):
        name = ServiceName("shop", f"s{rng.randrange(20)}")
        clusters = rng.sample(["east", "west", "eu", "asia"], rng.randrange(4))
        shares = tuple(export(c, rng.choice([(), HEALTHY, UNHEALTHY]), rng.choice([*Freshness])) for c in clusters)
        conflicts = (CONFLICT,) if rng.random() < 0.2 else ()
        after = ServiceView(name, (HTTP,), shares, conflicts) if shares else None
        counts.change(views.pop(name, None), after)
        if after is not None:
            views[name] = after
    linked = ("west", "asia")
    shown = [describe(view, *linked) for view in views.values()]
    total = counts.in_all({*linked}, 0)
    assert total.total == len(shown)
    assert total.reachable == sum(service.reachable for service in shown)
    assert total.imported == sum(service.imported for service in shown)
    for cluster, found in counts.by_cluster({*linked}).items():
        shares_of = [share for service in shown for share in service.clusters if share.cluster == cluster]
        assert found == PeerServicesDocument(len(shares_of), sum(share.reachable for share in shares_of))
    assert {view.name for view in counts.disputed} == {view.name for view in views.values() if view.conflicts}
