"""What is told of failover, and how much of it."""

from __future__ import annotations

from collections.abc import Callable

import msgspec
import pytest

from gateway.failover.event_log import EVENTS_PER_S, EventLog
from gateway.failover.events import Cause, EventKind
from gateway.failover.explain import explain
from gateway.failover.explanation import EjectionExplanation, Explanation
from gateway.failover.policy import Affinity, FailoverSettings
from tests.failover_parts import LABEL, WEST, Worker, endpoint, local, service, share, tunnels


def told(worker: Worker) -> list[EventKind]:
    worker.plan()
    kinds = [kind for kind, _, _ in worker.events()]
    worker.now += 2.0
    return kinds


def test_a_service_that_is_well_is_no_news() -> None:
    worker = Worker(service((endpoint(1),), (share("west"),)))
    assert told(worker) == []


def test_spill_failover_and_recovery_are_told_once_each() -> None:
    """With where it goes, why, and the shares; steps of a share in between are no news."""
    worker = Worker(service((endpoint(1), endpoint(2)), (share("west"),)))
    told(worker)
    worker.apply(service((endpoint(1), endpoint(2, healthy=False)), (share("west"),)))
    worker.plan()
    (event,) = worker.decisions.events.take(worker.now, 1e9)
    assert (event.service, event.kind, event.where) == (LABEL, EventKind.SPILLED, "west")
    assert event.cause is Cause.PUBLISHED_HEALTH
    assert event.numbers == {"availability": 0.5, "share.east/a": 0.7, "share.west": 0.3}
    assert event.at == 1e9
    worker.apply(service((endpoint(1), endpoint(2, healthy=False), endpoint(3, healthy=False)), (share("west"),)))
    assert told(worker) == []
    worker.apply(service((endpoint(1, healthy=False),), (share("west"),)))
    assert told(worker) == [EventKind.FAILED_OVER]
    worker.apply(service((endpoint(1),), (share("west"),)))
    assert told(worker) == [EventKind.RECOVERED]


def test_each_step_names_the_place_that_was_lost_and_why_it_was() -> None:
    """The cause is that of the place which had the requests: the preferred one may be down since long, of another."""
    worker = Worker(service((endpoint(1),), (share("west"), share("eu"))))
    told(worker)
    steps = []
    happens: tuple[Callable[[], object], ...] = (
        lambda: worker.apply(service((endpoint(1, healthy=False),), (share("west"), share("eu")))),
        lambda: worker.decisions.take_tunnels(tunnels("eu"), worker.now),
        lambda: worker.decisions.take_tunnels([], worker.now),
    )
    for change in happens:
        change()
        worker.plan()
        [event] = worker.decisions.events.take(worker.now, 1e9)
        steps.append((event.kind, event.lost, event.where, event.cause))
        worker.now += 2.0
    assert steps == [
        (EventKind.FAILED_OVER, "east/a", "west", Cause.PUBLISHED_HEALTH),
        (EventKind.FAILED_OVER, "west", "eu", Cause.TUNNELS),
        (EventKind.EXHAUSTED, "eu", "east/a", Cause.TUNNELS),
    ]


def test_a_recovery_is_told_though_nobody_asks() -> None:
    """Plans are made for requests; status would call a service diverted for ever that nobody uses any more."""
    worker = Worker(service(remotes=(share("west"), share("eu"))))
    worker.decisions.take_tunnels(tunnels("eu"), worker.now)
    assert told(worker) == [EventKind.FAILED_OVER]
    worker.decisions.take_tunnels(tunnels("west", "eu"), worker.now)
    kinds = []
    for _ in range(40):
        worker.now += 0.25
        worker.decisions.tick(worker.now)
        kinds += [kind for kind, _, _ in worker.events()]
    assert kinds == [EventKind.SPILLED, EventKind.RECOVERED]


@pytest.mark.parametrize("by", ["the service", "the tunnels"])
def test_whoever_ticks_is_told_that_a_diverted_service_changed(by: str) -> None:
    """Nobody ticks while nothing is restless: what changed otherwise than by time must ask for it."""
    sick = service((endpoint(1, healthy=False),), (share("west"), share("eu")))
    worker = Worker(sick)
    assert told(worker) == [EventKind.FAILED_OVER]
    assert not worker.decisions.restless
    asked: list[bool] = []
    worker.decisions.restless_now = lambda: asked.append(worker.decisions.restless)
    if by == "the service":
        worker.apply(service((endpoint(1),), (share("west"), share("eu"))))
    else:
        worker.decisions.take_tunnels(tunnels("eu"), worker.now)
    assert asked[-1:] == [True]
    worker.decisions.tick(worker.now)
    assert not worker.decisions.restless
    kinds = [kind for kind, _, _ in worker.events()]
    assert kinds == [EventKind.RECOVERED if by == "the service" else EventKind.FAILED_OVER]


def test_what_is_gone_is_not_followed() -> None:
    """A service that was taken back while it was diverted is planned no more."""
    worker = Worker(service(remotes=(share("west"), share("eu"))))
    worker.decisions.take_tunnels(tunnels("eu"), worker.now)
    assert told(worker) == [EventKind.FAILED_OVER]
    worker.apply(removals=(service().key,))
    worker.decisions.take_tunnels(tunnels("west", "eu"), worker.now)
    worker.decisions.tick(worker.now)
    assert worker.events() == []


def test_panic_and_its_end_are_told() -> None:
    worker = Worker(service((endpoint(1), endpoint(2), endpoint(3))))
    told(worker)
    worker.apply(service((endpoint(1), endpoint(2, healthy=False), endpoint(3, healthy=False))))
    assert told(worker) == [EventKind.PANIC]
    worker.apply(service((endpoint(1), endpoint(2), endpoint(3, healthy=False))))
    assert told(worker) == [EventKind.PANIC_ENDED, EventKind.RECOVERED]


def test_panic_is_no_recovery() -> None:
    """West dies while one of ten is left here: everything comes home, which is nothing to be glad of."""
    own = endpoint(1), *(endpoint(port, healthy=False) for port in range(2, 11))
    worker = Worker(service(own, (share("west"),)))
    assert told(worker) == [EventKind.SPILLED]
    worker.decisions.take_tunnels([], worker.now)
    assert told(worker) == [EventKind.PANIC]
    worker.decisions.take_tunnels(tunnels("west"), worker.now)
    assert told(worker) == [EventKind.PANIC_ENDED, EventKind.SPILLED]


def test_panic_that_ends_with_nothing_left_is_told_as_that() -> None:
    """Not as the end of a panic: that sounds as if enough were healthy again."""
    worker = Worker(service((endpoint(1), endpoint(2, healthy=False), endpoint(3, healthy=False))))
    assert told(worker) == [EventKind.PANIC]
    worker.apply(service((endpoint(1, healthy=False),)))
    assert told(worker) == [EventKind.EXHAUSTED]
    worker.apply(service((endpoint(1),)))
    assert told(worker) == [EventKind.RECOVERED]


def test_nowhere_to_go_is_told() -> None:
    worker = Worker(service(remotes=(share("west"),)))
    told(worker)
    worker.decisions.take_tunnels([], worker.now)
    assert told(worker) == [EventKind.EXHAUSTED]
    worker.decisions.take_tunnels(tunnels("west"), worker.now)
    assert told(worker) == [EventKind.RECOVERED]


def test_a_cluster_that_fell_silent_is_told() -> None:
    """Its place in the order changes; that is a failover all the same."""
    worker = Worker(service(remotes=(share("west"), share("eu"))))
    told(worker)
    worker.apply(service(remotes=(share("west", stale=True), share("eu"))))
    worker.plan()
    assert worker.events() == [(EventKind.FAILED_OVER, "eu", Cause.STALE)]
    worker.now += 2.0
    worker.apply(service(remotes=(share("west"), share("eu"))))
    worker.plan()
    assert worker.events() == [(EventKind.RECOVERED, "west", Cause.TIME_OVER)]


def test_every_event_is_counted() -> None:
    """Metrics miss nothing, also of what is not told."""
    worker = Worker(service(remotes=(share("west"), share("eu"))))
    worker.plan()
    worker.see(WEST, 503, times=5)
    worker.plan()
    worker.wait(2.0)
    assert (LABEL, EventKind.EJECTED, Cause.GATEWAY_ERRORS) in worker.counted
    assert (LABEL, EventKind.FAILED_OVER, Cause.EJECTION) in worker.counted
    assert (LABEL, EventKind.RETURNED, Cause.TIME_OVER) in worker.counted


def log() -> EventLog:
    return EventLog(lambda *labels: None)


def add(events: EventLog, service_name: str, now: float) -> None:
    events.add(service_name, EventKind.SPILLED, "west", Cause.TUNNELS, {}, now)


def test_what_repeats_is_told_once_a_second() -> None:
    events = log()
    add(events, "a/b", 10.0)
    assert len(events.take(10.0, 0.0)) == 1
    for _ in range(5):
        add(events, "a/b", 10.1)
    assert events.take(10.2, 0.0) == []
    (event,) = events.take(11.1, 0.0)
    assert event.numbers == {"repeated": 4.0}


def test_a_flood_is_cut_and_says_how_much_is_missing() -> None:
    """A cluster with thousands of services goes away."""
    events = log()
    for i in range(5000):
        add(events, f"a/{i}", 10.0)
    assert len(events.take(10.0, 0.0)) == EVENTS_PER_S
    add(events, "a/later", 10.0)
    assert events.take(10.0, 0.0) == []
    (event,) = events.take(11.0, 0.0)
    assert (event.service, event.numbers) == ("a/later", {})
    # The first that was told carries it.
    events = log()
    for i in range(100):
        add(events, f"a/{i}", 10.0)
    assert events.take(10.0, 0.0)[0].numbers == {"left_out": 80.0}


def ask(worker: Worker, *, port: str = "", asker: str = "", name: str = LABEL) -> Explanation | None:
    return explain(worker.decisions, worker.routes, name, port, asker=asker, now=worker.now, wall_now=worker.now + 1e6)


def test_an_explanation_says_where_and_why() -> None:
    worker = Worker(service((endpoint(1), endpoint(2)), (share("west", 3, 4), share("eu"))), max_share=0.5)
    worker.plan()
    worker.see(local(1), 500, times=5)
    found = ask(worker)
    assert found is not None
    assert (found.service, found.port, found.from_cluster) == (LABEL, "http", "east")
    assert (found.panic, found.policy) == (False, "max_share 50%")
    own, west, eu = found.groups
    assert (own.cluster, own.zone, own.why, own.healthy, own.total, own.ejected) == ("east", "a", "own zone", 2, 2, 1)
    assert (own.availability, own.share) == (0.5, 0.7)
    assert (west.cluster, west.rank, west.why, west.healthy, west.total) == ("west", 1, "failover.order 1", 3, 4)
    assert (west.tunnels, west.rtt_ms, west.share) == (2, 10.0, 0.3)
    assert eu.share == 0.0
    assert [group.next_share for group in found.groups] == [0.0, 0.5, 0.5]
    (ejection,) = found.ejections
    assert ejection == EjectionExplanation("127.0.0.1:1", ejection.until, 1, Cause.SERVER_ERRORS, 1.0)
    assert 1.0 <= ejection.until - (worker.now + 1e6) <= 1.1


@pytest.mark.parametrize(
    ("policy", "after"),
    [
        ({}, {"east/a": 0.0, "west": 1.0, "eu": 0.0, "near": 0.0}),
        ({"max_share": 0.6}, {"east/a": 0.0, "west": 0.6, "eu": 0.4, "near": 0.0}),
        ({"pin": "east"}, {"east/a": 0.0}),
        ({"weights": {"east": 3, "west": 1, "eu": 1}}, {"east/a": 0.0, "west": 0.5, "eu": 0.5, "near": 0.0}),
        ({"affinity": Affinity.REMOTE}, {"west": 0.0, "eu": 1.0, "near": 0.0, "east/a": 0.0}),
    ],
)
def test_what_comes_next_obeys_the_services_own_rules(policy: dict[str, object], after: dict[str, float]) -> None:
    """It is what the gateway would do if the first place died, not what spill alone would."""
    settings = FailoverSettings(("us-west", "eu-central", "us-east"))
    remotes = share("west"), share("eu"), msgspec.structs.replace(share("near"), stale=True)
    worker = Worker(service((endpoint(1), endpoint(2)), remotes), settings, **policy)
    found = ask(worker)
    assert found is not None
    assert {f"{g.cluster}/{g.zone}" if g.zone else g.cluster: g.next_share for g in found.groups} == after


def test_a_cluster_that_is_held_back_says_for_how_long() -> None:
    """It answers, is healthy, is preferred, and gets nothing: somebody will ask why."""
    worker = Worker(service(remotes=(share("west"), share("eu"))))
    for _ in range(3):
        worker.decisions.take_tunnels(tunnels("eu"), worker.now)
        worker.decisions.take_tunnels(tunnels("west", "eu"), worker.now)
    found = ask(worker)
    assert found is not None
    west, eu = found.groups
    assert (west.tunnels, west.availability, west.held_s, eu.held_s) == (2, 1.0, 2.0, 0.0)
    assert west.damping < 0.01


def test_a_cluster_whose_gateways_are_missing_says_so() -> None:
    worker = Worker(service(remotes=(share("west"), share("eu"))))
    both = tunnels("west", "eu", gateways=2)
    both[0].ready = 0
    worker.decisions.take_tunnels(both, worker.now)
    worker.now += 3.0
    worker.decisions.take_tunnels(both, worker.now)
    found = ask(worker)
    assert found is not None
    assert [group.reachable for group in found.groups] == [0.5, 1.0]


def test_an_explanation_for_a_peer_has_only_what_is_here() -> None:
    worker = Worker(service((endpoint(1),), (share("west"),)), FailoverSettings())
    found = ask(worker, asker="west")
    assert found is not None
    assert ([group.cluster for group in found.groups], found.from_cluster) == (["east"], "west")


def test_what_is_not_there_is_not_explained() -> None:
    worker = Worker(service((endpoint(1),)))
    assert ask(worker, name="n/other") is None
    assert ask(worker, name="nonsense") is None
    assert ask(worker, port="grpc") is None
    assert ask(worker, port="http") is not None
