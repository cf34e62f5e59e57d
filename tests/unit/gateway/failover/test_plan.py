"""Which target an attempt goes to."""

from __future__ import annotations

from collections import Counter

from hypothesis import given
from hypothesis import strategies as st

from gateway.failover.policy import FailoverSettings
from gateway.failover.retry import Failure
from gateway.failover.target import LocalTarget
from tests.failover_parts import EU, WEST, Worker, endpoint, local, service, share, tunnels


def test_a_peers_request_goes_to_a_healthy_local_endpoint_or_nowhere() -> None:
    """No transit, so no loop; the peer has better places to go than an unhealthy one of ours."""
    worker = Worker(service((endpoint(1), endpoint(2, healthy=False)), (share("west"),)))
    assert worker.walk(from_peer=True) == [local(1)]
    assert Worker(service((endpoint(2, healthy=False),), (share("west"),))).walk(from_peer=True) == []


def test_our_own_requests_may_try_an_unhealthy_endpoint_at_last() -> None:
    """One endpoint's check may be wrong, and nothing else is left."""
    assert Worker(service((endpoint(1), endpoint(2, healthy=False)))).walk() == [local(1), local(2)]


def test_where_every_check_fails_and_no_other_cluster_is_left_requests_are_refused_at_once() -> None:
    """A fast 503, and no try of what is known to be dead, in whatever zone: health is in doubt only where a part of it
    is left."""
    dead = endpoint(1, healthy=False), endpoint(2, "b", healthy=False)
    worker = Worker(service(dead, (share("west"), share("eu"))))
    assert worker.shares() == {"west": 1.0}
    assert worker.walk() == [WEST, EU]
    worker.decisions.take_tunnels([], worker.now)
    assert worker.plan().exhausted
    assert worker.walk() == []
    worker.apply(service((dead[0], endpoint(2, "b")), (share("west"), share("eu"))))
    assert "east/b" in worker.shares()


def test_an_ejected_endpoint_is_used_when_nothing_else_is_left() -> None:
    """Its check passes, and what requests saw of it may be over."""
    worker = Worker(service((endpoint(1),), (share("west"),)))
    worker.choose()
    worker.see(local(1), 500, times=5)
    assert worker.shares() == {"west": 1.0}
    worker.decisions.take_tunnels([], worker.now)
    assert worker.shares() == {"east/a": 1.0}
    assert worker.plan().panic


def test_without_panic_an_unhealthy_endpoint_is_never_tried() -> None:
    settings = FailoverSettings(panic_threshold=0.0)
    assert Worker(service((endpoint(1, healthy=False),)), settings).walk() == []


def test_a_request_leaves_a_group_after_two_attempts() -> None:
    """Ten endpoints that all refuse would use up all attempts of a request that others could answer."""
    worker = Worker(service(tuple(endpoint(port) for port in range(1, 11)), (share("west"),)))
    first, second, third, *_ = worker.walk()
    assert isinstance(first, LocalTarget)
    assert isinstance(second, LocalTarget)
    assert third == WEST


def test_after_a_lost_connection_another_place_comes_first() -> None:
    """All tunnels to a frozen cluster end one after the other: trying the next of them would wait once more."""
    worker = Worker(service(remotes=(share("west"), share("eu"))))
    assert worker.choose(WEST, failure=Failure.CONNECTION_LOST) == EU


def test_where_there_is_no_other_place_another_tunnel_is_tried_once() -> None:
    """One of two gateways of the only cluster was killed."""
    worker = Worker(service(remotes=(share("west"),)))
    assert worker.choose(WEST, failure=Failure.CONNECTION_LOST) == WEST
    assert worker.choose(WEST, WEST, failure=Failure.CONNECTION_LOST) is None
    worker.decisions.take_tunnels(tunnels("eu"), worker.now)
    assert worker.choose(WEST, failure=Failure.CONNECTION_LOST) is None


def test_a_gateway_that_goes_away_in_order_sends_to_the_next_tunnel() -> None:
    """GOAWAY: its cluster is as well as before."""
    worker = Worker(service(remotes=(share("west"), share("eu"))))
    assert worker.choose(WEST, failure=Failure.REFUSED) == WEST
    assert worker.choose(WEST, WEST, failure=Failure.REFUSED) == EU


def test_a_place_that_failed_for_itself_is_not_tried_again() -> None:
    worker = Worker(service((endpoint(1),)))
    assert worker.choose(local(1), failure=Failure.CONNECT) is None
    assert worker.choose(local(1), failure=Failure.TIMEOUT) is None


def test_first_attempts_follow_the_shares() -> None:
    """Half of what is here is healthy: 70 % stay (Envoy's arithmetic)."""
    worker = Worker(service((endpoint(1), endpoint(2, healthy=False)), (share("west"),)))
    counts = Counter(worker.choose() for _ in range(2000))
    assert 0.66 < counts[local(1)] / 2000 < 0.74
    assert counts[WEST] == 2000 - counts[local(1)]


def test_in_panic_health_is_disregarded() -> None:
    """One of four is left, and there is nobody else: it would break under the load of all."""
    worker = Worker(service((endpoint(1), *(endpoint(port, healthy=False) for port in (2, 3, 4)))))
    assert worker.plan().groups[0].panic
    assert {worker.choose() for _ in range(200)} == {local(port) for port in (1, 2, 3, 4)}


def test_an_unhealthy_cluster_is_no_use_in_panic() -> None:
    """Its gateways refuse what they have no healthy endpoint for: it would be a way for nothing."""
    some = endpoint(1), endpoint(2, healthy=False), endpoint(3, healthy=False)
    assert Worker(service(some, (share("west", 0, 9),))).shares() == {"east/a": 1.0}


def test_our_own_cluster_is_no_use_in_panic_when_all_of_it_is_unhealthy() -> None:
    """What little is left elsewhere gets everything."""
    dead = endpoint(1, healthy=False), endpoint(2, healthy=False)
    worker = Worker(service(dead, (share("west", 1, 9),)))
    assert worker.shares() == {"west": 1.0}
    assert worker.plan().panic


def test_a_cluster_of_which_half_the_gateways_answer_takes_less() -> None:
    """Its capacity is halved; a tunnel that is just being replaced is no such case."""
    worker = Worker(service(remotes=(share("west"), share("eu"))))
    both = tunnels("west", "eu", gateways=2)
    worker.decisions.take_tunnels(both, worker.now)
    both[0].ready = 0
    worker.decisions.take_tunnels(both, worker.now)
    assert worker.shares() == {"west": 1.0}
    worker.now += 2.0
    worker.decisions.take_tunnels(both, worker.now)
    assert worker.shares() == {"west": 0.7, "eu": 0.3}


@given(st.integers(0, 6), st.integers(0, 6), st.sets(st.sampled_from(["west", "eu", "near"])), st.booleans())
def test_every_target_is_tried_once_before_there_is_none(
    healthy: int, unhealthy: int, clusters: set[str], from_peer: bool
) -> None:
    """A request is refused only when every place that it may go to was tried, and never goes to one twice."""
    endpoints = [endpoint(i) for i in range(healthy)] + [endpoint(100 + i, healthy=False) for i in range(unhealthy)]
    tried = Worker(service(endpoints, tuple(map(share, sorted(clusters))))).walk(from_peer=from_peer)
    # An unhealthy one of ours may only be tried where some are healthy, and by our own requests.
    expected = healthy if from_peer else healthy + (unhealthy if healthy else 0) + len(clusters)
    assert len(tried) == len(set(tried)) == expected
