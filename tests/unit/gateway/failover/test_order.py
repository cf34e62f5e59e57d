"""Which places stand before which."""

from __future__ import annotations

import pytest

from discovery.model import Locality
from gateway.failover.policy import Affinity, FailoverSettings, ServicePolicy
from gateway.failover.target import RemoteTarget
from gateway.snapshot import GatewayAddress, LocalEndpoint, PeerResource, RemoteShare
from tests.failover_parts import EU, NEAR, WEST, Worker, endpoint, local, service, share, tunnels

EVERYWHERE = service(
    (endpoint(2, "b"), endpoint(1, "a"), endpoint(3, "a", healthy=False)),
    (share("asia"), share("eu"), share("near"), share("west")),
)


def names(worker: Worker) -> list[str]:
    return [state.group.name for state in worker.plan().groups]


def test_own_zone_then_own_cluster_then_region_then_order_then_the_rest() -> None:
    """DESIGN section 8; what is unhealthy is the last resort, as a health check may be wrong."""
    worker = Worker(EVERYWHERE)
    assert worker.walk() == [local(1), local(2), NEAR, WEST, EU, RemoteTarget("asia"), local(3)]
    whys = [state.group.why for state in worker.plan().groups]
    assert whys == [
        "own zone",
        "own cluster",
        "same region",
        "failover.order 1",
        "failover.order 2",
        "round-trip time",
    ]


def test_what_is_unhealthy_or_stale_comes_last() -> None:
    """A preferred cluster without a healthy endpoint must not be asked first."""
    worker = Worker(service(remotes=(share("near", 0), share("west", stale=True), share("eu"))))
    assert worker.walk() == [EU, WEST, NEAR]


def test_a_cluster_without_a_tunnel_is_never_chosen() -> None:
    worker = Worker(service(remotes=(share("west"), share("eu"))))
    worker.decisions.take_tunnels(tunnels("eu"), worker.now)
    assert worker.walk() == [EU]


def test_a_cluster_that_says_nothing_of_its_health_is_taken_to_be_well() -> None:
    assert Worker(service(remotes=(RemoteShare("west", ("http",)),))).walk() == [WEST]


def test_clusters_that_no_rule_orders_go_by_round_trip_time() -> None:
    """moon is nearer than asia by far, although its name comes later; 20 % are no difference."""
    worker = Worker(service(remotes=(share("asia"), share("moon"))), FailoverSettings())
    assert names(worker) == ["asia", "moon"]
    worker.decisions.take_tunnels([*tunnels("asia", rtt_s=0.012), *tunnels("moon", rtt_s=0.01)], worker.now)
    assert names(worker) == ["asia", "moon"]
    for _ in range(30):
        worker.decisions.take_tunnels([*tunnels("asia", rtt_s=0.08), *tunnels("moon", rtt_s=0.002)], worker.now)
    assert names(worker) == ["moon", "asia"]


def test_an_order_can_name_a_cluster() -> None:
    worker = Worker(service(remotes=(share("asia"), share("west"))), FailoverSettings(("asia", "us-west")))
    assert worker.walk() == [RemoteTarget("asia"), WEST]


def test_an_unknown_region_is_not_near() -> None:
    """Two clusters that both do not say where they are are not neighbours for that."""
    worker = Worker(service(remotes=(share("west"), share("near"))))
    worker.apply(PeerResource("near", "near.test", (), (GatewayAddress("g0", ("h:1",), Locality()),)))
    assert names(worker) == ["west", "near"]


def test_an_endpoint_of_unknown_zone_is_near() -> None:
    worker = Worker(service((endpoint(1, ""), endpoint(2, "b"))))
    assert worker.walk() == [local(1), local(2)]


def test_a_port_that_a_cluster_does_not_have_is_not_sought_there() -> None:
    worker = Worker(service(remotes=(RemoteShare("west", ("other",)), share("eu"))))
    assert worker.walk() == [EU]


def test_a_cluster_that_is_no_peer_any_more_is_not_sought() -> None:
    worker = Worker(service(remotes=(share("west"), share("eu"))))
    worker.apply(removals=("peer/west",))
    assert worker.walk() == [EU]


def test_a_services_own_order_goes_before_the_order_for_all() -> None:
    worker = Worker(service(remotes=(share("west"), share("eu"))), order=("eu",))
    assert worker.walk() == [EU, WEST]


def test_affinity_remote_asks_here_last() -> None:
    """Cilium's word for it. What is stale stands behind even that."""
    remotes = (share("west"), share("eu"), share("near", stale=True))
    worker = Worker(service((endpoint(1),), remotes), affinity=Affinity.REMOTE)
    assert names(worker) == ["west", "eu", "east/a", "near"]


def test_affinity_none_is_by_number_of_endpoints() -> None:
    worker = Worker(service((endpoint(1), endpoint(2, "b")), (share("west", 6, 6),)), affinity=Affinity.NONE)
    assert worker.shares() == {"east/a": 0.125, "east/b": 0.125, "west": 0.75}


def test_a_pin_leaves_nowhere_else() -> None:
    """Data that may not leave a place: no failover, also not to our own endpoints."""
    worker = Worker(service((endpoint(1),), (share("west"), share("eu"))), pin="west")
    assert worker.walk() == [WEST]
    worker.decisions.take_tunnels(tunnels("eu"), worker.now)
    assert worker.walk() == []


def test_weights_share_the_load_and_the_rest_stands_behind() -> None:
    """Admiral 134: weights must not disable failover. Weight 0 means: only when the others can not."""
    resource = service((endpoint(1), endpoint(2, "b")), (share("west"), share("eu"), share("near")))
    worker = Worker(resource, weights={"east": 3, "west": 1, "eu": 0})
    assert worker.shares() == {"east/a": 0.75, "west": 0.25}
    worker.decisions.take_tunnels(tunnels("eu", "near"), worker.now)
    assert worker.shares() == {"east/a": 1.0}
    assert names(worker) == ["east/a", "east/b", "west", "near", "eu"]


def test_a_weight_does_not_help_who_is_stale() -> None:
    worker = Worker(service((endpoint(1),), (share("west", stale=True),)), weights={"east": 1, "west": 9})
    assert worker.shares() == {"east/a": 1.0}


def test_a_cap_sends_the_rest_further() -> None:
    """Both for all services and for one; our own cluster has none."""
    remotes = (share("west"), share("eu"))
    assert Worker(service(remotes=remotes), FailoverSettings(max_share=0.6)).shares() == {"eu": 0.6, "west": 0.4}
    assert Worker(service(remotes=remotes), max_share=0.75).shares() == {"west": 0.75, "eu": 0.25}
    assert Worker(service((endpoint(1),), remotes), max_share=0.1).shares() == {"east/a": 1.0}


@pytest.mark.parametrize(
    ("patterns", "expected"),
    [
        ((("n/s", "one"),), "one"),
        ((("n/*", "first"), ("*/s", "second")), "first"),
        ((("n/*", "pattern"), ("n/s", "exact")), "exact"),
        ((("m/*", "other"),), ""),
    ],
)
def test_which_rule_holds_for_a_service(patterns: tuple[tuple[str, str], ...], expected: str) -> None:
    settings = FailoverSettings(services=tuple((pattern, ServicePolicy(pin=pin)) for pattern, pin in patterns))
    assert settings.policy_of(service().name).pin == expected


def test_zones_of_equal_rank_share_by_health() -> None:
    """A zone with more that is healthy gets more."""

    def zone(name: str, first_port: int, healthy: int) -> list[LocalEndpoint]:
        return [endpoint(first_port + i, name, healthy=i < healthy) for i in range(4)]

    worker = Worker(service((*zone("b", 10, 4), *zone("c", 20, 1))))
    shares = worker.shares()
    assert shares["east/b"] == pytest.approx(1 / 1.35, abs=0.001)
    assert shares["east/c"] == pytest.approx(0.35 / 1.35, abs=0.001)
