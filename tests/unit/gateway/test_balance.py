"""Which cluster and which endpoint come next."""

from __future__ import annotations

import random

from hypothesis import given
from hypothesis import strategies as st

from discovery.model import Endpoint, Locality, Port, Protocol, ServiceName, ZoneHealth
from gateway.balance import Candidates
from gateway.failover.target import LocalTarget, RemoteTarget, Target
from gateway.snapshot import (
    GatewayAddress,
    LocalEndpoint,
    LocalResource,
    PeerResource,
    RemoteShare,
    ServiceResource,
)

LOCAL = LocalResource("acme", "east", Locality("us-east", "a"), "east.test", failover_order=("us-west", "eu"))
PEERS = {
    name: PeerResource(name, f"{name}.test", (), (GatewayAddress("g", ("h:1",), Locality(region)),))
    for name, region in [("west", "us-west"), ("eu", "eu-central"), ("near", "us-east"), ("asia", "asia")]
}


def endpoint(port: int, zone: str = "a", *, healthy: bool = True) -> LocalEndpoint:
    return LocalEndpoint(Endpoint("127.0.0.1", {"http": port}, zone), healthy)


def candidates(endpoints: tuple[LocalEndpoint, ...] = (), remotes: tuple[RemoteShare, ...] = ()) -> Candidates:
    ports = (Port("http", 80, Protocol.HTTP),)
    service = ServiceResource(ServiceName("n", "s"), "", ports, endpoints, (), remotes)
    return Candidates(service, "http", LOCAL, PEERS)


def share(cluster: str, *, healthy: int = 1, stale: bool = False) -> RemoteShare:
    return RemoteShare(cluster, ("http",), (ZoneHealth("z", healthy, 1),), stale)


def walk(made: Candidates, *, from_peer: bool = False, unreachable: frozenset[str] = frozenset()) -> list[Target]:
    """Every target in the order in which failing attempts would try them."""
    tried: list[Target] = []
    while target := made.choose(
        tried,
        from_peer=from_peer,
        load=lambda target: 0,
        reachable=lambda remote: remote.cluster not in unreachable,
        rng=random.Random(1),
    ):
        tried.append(target)
    return tried


def local(port: int) -> LocalTarget:
    return LocalTarget(f"127.0.0.1:{port}")


def test_own_zone_then_own_cluster_then_region_then_order_then_name() -> None:
    """DESIGN section 8."""
    made = candidates(
        (endpoint(2, "b"), endpoint(1, "a"), endpoint(3, "a", healthy=False)),
        (share("asia"), share("eu"), share("near"), share("west")),
    )
    remotes = [RemoteTarget(name) for name in ("near", "west", "eu", "asia")]
    assert walk(made) == [local(1), local(2), *remotes, local(3)]


def test_what_is_unhealthy_or_stale_comes_last() -> None:
    """A preferred cluster without a healthy endpoint must not be asked first."""
    made = candidates(remotes=(share("near", healthy=0), share("west", stale=True), share("eu")))
    assert walk(made) == [RemoteTarget("eu"), RemoteTarget("west"), RemoteTarget("near")]


def test_a_cluster_without_a_ready_tunnel_is_passed_over() -> None:
    made = candidates(remotes=(share("west"), share("eu")))
    assert walk(made, unreachable=frozenset({"west"})) == [RemoteTarget("eu")]


def test_a_request_from_a_peer_never_leaves_again() -> None:
    """No transit, so no loop; and an unhealthy endpoint is not worth a peer's request."""
    made = candidates((endpoint(1), endpoint(2, healthy=False)), (share("west"),))
    assert walk(made, from_peer=True) == [local(1)]


def test_an_unknown_peer_and_a_port_that_is_not_served_are_left_out() -> None:
    made = candidates(remotes=(share("nobody"), RemoteShare("eu", ("other",))))
    assert walk(made) == []


def test_power_of_two_choices_prefers_the_less_loaded() -> None:
    """With two members both are always compared, so the busy one is never chosen."""
    made = candidates((endpoint(1), endpoint(2)))
    for seed in range(20):
        chosen = made.choose(
            [],
            from_peer=False,
            load=lambda target: 5 if target == local(1) else 4,
            reachable=lambda remote: True,
            rng=random.Random(seed),
        )
        assert chosen == local(2)


@given(
    st.lists(st.tuples(st.integers(1, 9), st.sampled_from("ab"), st.booleans()), max_size=6, unique_by=lambda e: e[0]),
    st.lists(st.tuples(st.sampled_from(sorted(PEERS)), st.integers(0, 1)), max_size=4, unique_by=lambda e: e[0]),
    st.randoms(use_true_random=False),
)
def test_every_target_is_tried_once_and_the_healthy_come_first(
    endpoints: list[tuple[int, str, bool]], remotes: list[tuple[str, int]], rng: random.Random
) -> None:
    """Whatever exists, failing attempts reach all of it, each once, and nothing unhealthy before something healthy."""
    made = candidates(
        tuple(endpoint(port, zone, healthy=healthy) for port, zone, healthy in endpoints),
        tuple(share(name, healthy=healthy) for name, healthy in remotes),
    )
    order = walk(made)
    assert len(order) == len(set(map(str, order))) == len(endpoints) + len(remotes)
    bad_local = {f"127.0.0.1:{port}" for port, _, healthy in endpoints if not healthy}
    bad_remote = {name for name, healthy in remotes if not healthy}
    bad = [t.address in bad_local if isinstance(t, LocalTarget) else t.cluster in bad_remote for t in order]
    assert bad == sorted(bad)
