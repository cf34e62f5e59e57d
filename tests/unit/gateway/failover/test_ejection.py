"""Who gets no requests for a while, for how long, and how it comes back."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable

import pytest
from hypothesis import given
from hypothesis import strategies as st

from gateway.failover.events import Cause, EventKind
from gateway.failover.outcome import Outcome
from gateway.failover.policy import EjectionPolicy, FailoverSettings
from gateway.failover.retry import Failure
from gateway.failover.success_rate import outliers
from gateway.failover.target import Target
from tests.failover_parts import EU, LABEL, NAME, WEST, Worker, endpoint, local, service, share

EJECTED, RETURNED = EventKind.EJECTED, EventKind.RETURNED


def three(*remotes: str, settings: FailoverSettings | None = None) -> Worker:
    """Three endpoints that have all answered before."""
    worker = Worker(service((endpoint(1), endpoint(2), endpoint(3)), map(share, remotes)), settings)
    worker.plan()
    for port in (1, 2, 3):
        worker.see(local(port), 200)
    return worker


def chosen(worker: Worker, draws: int = 100) -> set[Target | None]:
    return {worker.choose() for _ in range(draws)}


def policy(**rules: object) -> FailoverSettings:
    return FailoverSettings(ejection=EjectionPolicy(**rules))  # type: ignore[arg-type]


def test_five_errors_in_a_row_eject_one_of_three_endpoints() -> None:
    """The others take its load, and nobody has set anything (Istio 19257, 33024; Consul 9811)."""
    worker = three()
    worker.see(local(1), 500, times=4)
    assert worker.decisions.services[LABEL].endpoints.ejected() == []
    worker.see(local(1), 500)
    assert chosen(worker) == {local(2), local(3)}
    assert worker.events() == [(EJECTED, "127.0.0.1:1", Cause.SERVER_ERRORS)]


def test_a_success_between_errors_starts_the_count_anew() -> None:
    worker = three()
    for _ in range(10):
        worker.see(local(1), 503, times=4)
        worker.see(local(1), 200)
    assert worker.events() == []


@pytest.mark.parametrize("outcome", [400, 404, 429, 499, 501, 505])
def test_what_the_client_is_to_blame_for_ejects_nobody(outcome: int) -> None:
    worker = three()
    worker.see(local(1), outcome, times=50)
    assert worker.events() == []


@pytest.mark.parametrize(
    ("outcome", "cause"),
    [
        (502, Cause.GATEWAY_ERRORS),
        (504, Cause.GATEWAY_ERRORS),
        (Failure.CONNECT, Cause.GATEWAY_ERRORS),
        (Failure.CONNECTION_LOST, Cause.GATEWAY_ERRORS),
        (Failure.TIMEOUT, Cause.GATEWAY_ERRORS),
        (500, Cause.SERVER_ERRORS),
        (507, Cause.SERVER_ERRORS),
    ],
)
def test_what_ejects_an_endpoint(outcome: Outcome, cause: Cause) -> None:
    worker = three()
    worker.see(local(1), outcome, times=5)
    assert worker.events() == [(EJECTED, "127.0.0.1:1", cause)]


def test_counts_are_their_own() -> None:
    """Of gateway errors alone three in a row are enough here; of all errors it takes ten. 0 counts neither."""
    worker = three(settings=policy(consecutive_gateway_errors=3, consecutive_5xx=10))
    worker.see(local(1), 503, times=2)
    worker.see(local(1), 500)
    worker.see(local(1), 503, times=2)
    assert worker.events() == []
    worker.see(local(1), 503)
    assert worker.events() == [(EJECTED, "127.0.0.1:1", Cause.GATEWAY_ERRORS)]
    worker = three(settings=policy(consecutive_gateway_errors=0, consecutive_5xx=0))
    worker.see(local(1), 503, times=100)
    assert worker.events() == []


def test_no_more_than_the_limit_are_ejected() -> None:
    """Half of three is one."""
    worker = three()
    for port in (1, 2, 3):
        worker.see(local(port), Failure.CONNECT, times=20)
    assert len(worker.plan().groups[0].ready) == 2


def test_the_last_endpoint_is_never_ejected_where_nothing_else_is() -> None:
    """A bad answer is better than none."""
    worker = Worker(service((endpoint(1),)))
    worker.plan()
    worker.see(local(1), 500, times=50)
    assert worker.choose() == local(1)
    assert worker.events() == []


def test_an_unhealthy_endpoint_is_no_other_place() -> None:
    worker = Worker(service((endpoint(1), endpoint(2, healthy=False)), (share("west", 0),)))
    worker.plan()
    worker.see(local(1), 500, times=50)
    assert (EJECTED, "127.0.0.1:1", Cause.SERVER_ERRORS) not in worker.events()


def test_the_last_endpoint_is_ejected_where_another_cluster_can() -> None:
    worker = Worker(service((endpoint(1),), (share("west"),)))
    worker.plan()
    worker.see(local(1), 500, times=5)
    assert worker.shares() == {"west": 1.0}
    assert worker.choose(from_peer=True) is None


def test_all_endpoints_failing_ejects_the_service_here() -> None:
    """No single one may be ejected beyond the limit, and all of them together are one place that failed. Peers are
    still served: they see for themselves, and may have nothing better."""
    worker = three("west")
    for _ in range(6):
        for port in (1, 2, 3):
            worker.see(local(port), 500)
    assert worker.shares() == {"west": 1.0}
    assert sum(worker.shares(from_peer=True).values()) == 1.0


def test_a_service_is_ejected_in_a_cluster_and_no_other_service_with_it() -> None:
    """Istio 52435, Kuma 8297, Admiral 205: one bad service must not eject a whole cluster."""
    worker = Worker(service(remotes=(share("west"), share("eu"))))
    worker.plan()
    worker.see(WEST, 503, times=5)
    assert worker.shares() == {"eu": 1.0}
    other = worker.decisions.services[LABEL]
    assert other.clusters.hosts["west"].ejected
    assert worker.decisions.reach.of("west").tunnels


@pytest.mark.parametrize("failure", [Failure.CONNECTION_LOST, Failure.CONNECT, Failure.REFUSED])
def test_the_end_of_a_tunnel_ejects_no_service(failure: Failure) -> None:
    """Fifty requests that were on one gateway's tunnel fail at once; its cluster has another gateway (Istio 52435)."""
    worker = Worker(service(remotes=(share("west"), share("eu"))))
    worker.plan()
    worker.see(WEST, failure, times=50)
    assert worker.shares() == {"west": 1.0}


def test_no_healthy_upstream_ejects_the_service_there() -> None:
    worker = Worker(service(remotes=(share("west"), share("eu"))))
    worker.plan()
    worker.see(WEST, Failure.NO_HEALTHY_UPSTREAM, times=5)
    assert worker.shares() == {"eu": 1.0}


def test_a_pinned_service_is_never_ejected() -> None:
    worker = Worker(service((endpoint(1),), (share("west"), share("eu"))), pin="west")
    worker.plan()
    worker.see(WEST, 503, times=50)
    assert worker.shares() == {"west": 1.0}


def test_of_two_clusters_one_stays() -> None:
    """Half of two is one, and whoever is left is the last."""
    worker = Worker(service(remotes=(share("west"), share("eu"))))
    worker.plan()
    worker.see(WEST, 503, times=5)
    worker.see(EU, 503, times=50)
    assert worker.shares() == {"eu": 1.0}


def test_the_return_is_slow_and_doubles() -> None:
    """A second, two, four: and on each return one failure is enough, until a request has succeeded."""
    worker = three()
    worker.see(local(1), 500, times=5)
    for time_s in (1.0, 2.0, 4.0, 8.0):
        worker.wait(time_s - 0.01)
        assert local(1) not in chosen(worker)
        worker.wait(0.1 * time_s + 0.3)
        assert local(1) in chosen(worker, 300)
        worker.see(local(1), 500)
    kinds = [kind for kind, _, _ in worker.events()]
    assert kinds.count(EJECTED) == 1
    assert worker.decisions.services[LABEL].endpoints.hosts["127.0.0.1:1"].times == 5


def test_an_ejection_ends_within_its_limit() -> None:
    worker = three(settings=policy(base_ejection_time_s=1.0, max_ejection_time_s=3.0, interval_s=1000.0))
    worker.see(local(1), 500, times=5)
    for _ in range(20):
        worker.wait(3.3)
        worker.see(local(1), 500)
    worker.wait(3.3)
    assert local(1) in chosen(worker, 300)


def test_after_a_success_it_takes_as_many_errors_as_ever() -> None:
    worker = three()
    worker.see(local(1), 500, times=5)
    worker.wait(2.0)
    worker.see(local(1), 200)
    worker.see(local(1), 500, times=4)
    assert worker.decisions.services[LABEL].endpoints.ejected() == []


def test_staying_is_forgiven() -> None:
    """Each interval without an ejection takes one doubling back."""
    worker = three(settings=policy(interval_s=10.0))
    for _ in range(3):
        worker.see(local(1), 500, times=5)
        worker.wait(9.0)
    host = worker.decisions.services[LABEL].endpoints.hosts["127.0.0.1:1"]
    assert host.times >= 2
    worker.wait(60.0)
    worker.see(local(1), 500, times=5)
    assert host.times == 1


def test_a_returned_place_warms_up() -> None:
    """From a tenth to its full share; what is not in its share goes to the others."""
    worker = three(settings=policy(slow_start_s=4.0))
    worker.see(local(1), 500, times=5)
    worker.wait(1.25)

    def part() -> float:
        return sum(worker.choose() == local(1) for _ in range(2000)) / 2000

    cold = part()
    worker.see(local(1), 200)
    worker.wait(2.0)
    warm = part()
    worker.wait(3.0)
    assert 0.0 < cold < 0.1 < warm < 0.28 < part()
    assert not worker.decisions.services[LABEL].unsettled


def test_a_returned_cluster_gets_its_share_little_by_little() -> None:
    worker = Worker(service(remotes=(share("west"), share("eu"))), policy(slow_start_s=4.0), order=("us-west",))
    worker.plan()
    worker.see(WEST, 503, times=5)
    worker.wait(1.25)
    first = worker.shares()["west"]
    worker.wait(2.0)
    assert 0.1 < first < 0.3 < worker.shares()["west"] < 0.9
    worker.wait(3.0)
    assert worker.shares() == {"west": 1.0}


def test_success_rates_are_compared_by_mean_and_deviation() -> None:
    """Envoy's page "Outlier detection": the threshold is mean - 1.9 x stdev, among hosts with requests enough."""
    rates = {"a": 1.0, "b": 1.0, "c": 1.0, "d": 1.0, "e": 0.5}
    assert outliers(rates, 1.9) == ["e"]
    assert outliers(rates, 2.1) == []
    assert outliers(dict.fromkeys(rates, 1.0) | {"e": 0.99}, 1.9) == []


def test_a_place_that_fails_more_often_than_its_peers_is_ejected() -> None:
    """Every other request fails: never five in a row."""
    worker = Worker(service(tuple(endpoint(port) for port in range(1, 7))))
    worker.plan()
    worker.see(local(1), 200)
    for _ in range(60):
        for port in range(2, 7):
            worker.see(local(port), 200, times=2)
        worker.see(local(1), 500)
        worker.see(local(1), 200)
    assert worker.events() == []
    worker.now += 10.0
    worker.see(local(2), 200)
    assert worker.events() == [(EJECTED, "127.0.0.1:1", Cause.SUCCESS_RATE)]


def test_what_is_known_of_an_endpoint_survives_a_change_of_others() -> None:
    """A scale-up must not bring an ejected endpoint back."""
    worker = three()
    worker.see(local(1), 500, times=5)
    worker.apply(service((endpoint(1), endpoint(2), endpoint(3), endpoint(4))))
    assert chosen(worker) == {local(2), local(3), local(4)}
    worker.apply(service((endpoint(2),)))
    worker.plan()
    worker.see(local(1), 500, times=5)
    worker.apply(service((endpoint(1), endpoint(2))))
    assert local(1) in chosen(worker)


def test_a_service_that_goes_takes_what_was_known_with_it() -> None:
    worker = three()
    worker.see(local(1), 500, times=5)
    worker.apply(removals=(f"service/{NAME}",))
    worker.see(local(1), 500)
    worker.wait(5.0)
    assert worker.decisions.services == {}


_SEEN = st.tuples(st.sampled_from([local(1), local(2), local(3), WEST, EU]), st.sampled_from([200, 500, 503]))


@given(st.lists(st.tuples(_SEEN, st.integers(1, 8), st.floats(0, 3)), max_size=40))
def test_whatever_is_seen_there_is_somewhere_to_go(seen: list[tuple[tuple[Target, int], int, float]]) -> None:
    """Never more than the limit are ejected, shares sum to one, and an ejected place gets nothing outside panic."""
    worker = three("west", "eu")
    for (target, status), times, pause_s in seen:
        worker.see(target, status, times)
        worker.wait(pause_s)
        health = worker.decisions.services[LABEL]
        assert len(health.endpoints.ejected()) <= 1
        assert len(health.clusters.ejected()) <= 1
        assert sum(worker.shares().values()) == pytest.approx(1.0, abs=0.01)
        for state in worker.plan().groups:
            if state.group.share is not None and health.clusters.hosts[state.group.cluster].ejected:
                assert state.share == 0.0
        assert worker.choose() is not None


def test_a_place_is_doubted_until_it_was_well_after_its_return() -> None:
    """What it answers then may be asked elsewhere."""
    worker = three()

    def doubted() -> bool:
        return worker.decisions.is_doubted(LABEL, local(1))

    assert not doubted()
    worker.see(local(1), 500, times=5)
    assert doubted()
    worker.wait(1.5)
    assert doubted()
    worker.see(local(1), 200)
    assert not doubted()
    assert not worker.decisions.is_doubted("n/other", WEST)


def serve(worker: Worker, requests: int, fails: Callable[[int, Target], bool]) -> Counter[Target]:
    """One request after the other, each answered in 10 ms, or failed in 1. Returns who got how many."""
    got: Counter[Target] = Counter()
    for number in range(requests):
        target = worker.choose()
        assert target is not None
        got[target] += 1
        failed = fails(number, target)
        worker.see(target, 500 if failed else 200, latency_s=0.001 if failed else 0.010)
        worker.wait(0.01)
    return got


def test_an_endpoint_that_fails_each_time_is_ejected_within_a_few_requests() -> None:
    """If it were kept away from after the first failure, it would be tried every few seconds for a minute before it had
    failed often enough, and each try is somebody's error."""
    worker = Worker(service((endpoint(1), endpoint(2), endpoint(3))))
    serve(worker, 100, lambda number, target: target == local(1))
    ejected = [event for event in worker.events() if event[0] is EventKind.EJECTED]
    assert ejected == [(EventKind.EJECTED, "127.0.0.1:1", Cause.SERVER_ERRORS)]


def test_an_endpoint_that_fails_at_times_gets_less() -> None:
    """Every other answer is an error: never five in a row, and too few endpoints to compare success rates."""
    worker = Worker(service((endpoint(1), endpoint(2), endpoint(3))))
    got = serve(worker, 1000, lambda number, target: target == local(1) and number % 2 == 0)
    assert got[local(1)] < 100


def test_an_endpoint_that_may_not_be_ejected_is_kept_away_from() -> None:
    """Two of three fail, quicker than the third answers: only one may be ejected, and the other must not get all."""
    worker = Worker(service((endpoint(1), endpoint(2), endpoint(3))))
    got = serve(worker, 500, lambda number, target: target != local(3))
    assert got[local(3)] > 350
