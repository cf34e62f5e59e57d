"""The list of events: numbered, bounded, merged over workers."""

from __future__ import annotations

import itertools

from hypothesis import given
from hypothesis import strategies as st

from gateway.events.event_log import KIND_BURST, KIND_EVERY_S, MERGE_S, SETTLE_S, EventLog, Happening

NOW = 1_750_000_000.0


def happening(
    at: float = NOW, kind: str = "ejected", service: str = "shop/payments", where: str = "west", cause: str = "5xx"
) -> Happening:
    return Happening(at, kind, service, where, cause, "it happened")


def test_the_same_event_of_several_workers_is_one() -> None:
    """Each worker ejects by its own requests, a moment apart; a person sees one event and how many saw it."""
    log = EventLog(NOW)
    assert log.add_from_worker("w1", happening(), NOW, 3) is not None
    assert log.add_from_worker("w2", happening(NOW + 3), NOW + 3, 3) is None
    assert log.add_from_worker("w2", happening(NOW + 3, where="eu"), NOW + 3, 3) is not None
    assert log.add_from_worker("w3", happening(NOW + 4), NOW + 4, 3) is None
    assert [(event.happening.where, len(event.workers)) for event in log.select()] == [("west", 3), ("eu", 1)]


def test_what_one_worker_tells_twice_happened_twice() -> None:
    """And so did what another tells much later."""
    log = EventLog(NOW)
    for worker, after_s in (("w1", 0), ("w1", 1), ("w2", 2), ("w2", 2 + MERGE_S + 1)):
        log.add_from_worker(worker, happening(NOW + after_s), NOW + after_s, 2)
    assert [sorted(event.workers) for event in log.select()] == [["w1"], ["w1", "w2"], ["w2"]]


def test_a_follower_waits_until_all_workers_had_time_to_tell() -> None:
    """Not for longer, and not for what the controller saw."""
    log = EventLog(NOW)
    log.add(happening(kind="link-down"), NOW)
    assert log.unsettled_from(NOW) is None
    event = log.add_from_worker("w1", happening(), NOW, 2)
    assert event is not None
    assert log.unsettled_from(NOW + 0.1) == event.id
    assert [e.id for e in log.select(before=event.id)] == [event.id - 1]
    assert log.unsettled_from(NOW + SETTLE_S) is None
    log.add_from_worker("w1", happening(where="eu"), NOW, 2)
    log.add_from_worker("w2", happening(where="eu"), NOW, 2)
    assert log.unsettled_from(NOW + SETTLE_S) is None, "both have told"


def test_a_lonely_worker_is_not_waited_for() -> None:
    """There is nobody else who could tell of it."""
    log = EventLog(NOW)
    log.add_from_worker("w1", happening(), NOW, 1)
    assert log.unsettled_from(NOW) is None


def test_events_are_found_by_service_kind_and_id() -> None:
    """What `isthmus events` asks for."""
    log = EventLog(NOW)
    for service, kind in itertools.product(("shop/a", "shop/b"), ("ejected", "returned")):
        log.add(happening(service=service, kind=kind), NOW)
    assert [e.happening.kind for e in log.select(service="shop/b")] == ["ejected", "returned"]
    assert [e.happening.service for e in log.select(kind="returned")] == ["shop/a", "shop/b"]
    assert [e.id for e in log.select(since=log.last_id - 1)] == [log.last_id]


def test_ids_grow_over_a_restart() -> None:
    """A client that comes back after the controller restarted must not be shown old ids."""
    before = EventLog(NOW)
    for _ in range(100):
        before.add(happening(), NOW)
    assert EventLog(NOW + 1).last_id > before.last_id


def test_many_of_a_kind_are_counted_and_push_nothing_out() -> None:
    """A thousand endpoints die together; the one ejection among them stays to be seen."""
    log = EventLog(NOW)
    log.add(happening(), NOW)
    for number in range(5_000):
        log.add(happening(kind="endpoint-unhealthy", where=str(number)), NOW)
    assert len([*log.select(kind="endpoint-unhealthy")]) == KIND_BURST
    assert len([*log.select(kind="ejected")]) == 1
    later = log.add(happening(kind="endpoint-unhealthy"), NOW + 2 * KIND_EVERY_S)
    assert later is not None
    assert later.unlisted == 5_000 - KIND_BURST


@given(st.lists(st.tuples(st.sampled_from(["w1", "w2", "w3"]), st.integers(0, 3), st.floats(0, 3)), max_size=80))
def test_nothing_is_lost_and_nothing_unbounded(told: list[tuple[str, int, float]]) -> None:
    """Every telling is in one event, no worker twice in it, and ids only grow."""
    log, now = EventLog(NOW, capacity=1_000), NOW
    for worker, where, after_s in told:
        now += after_s
        log.add_from_worker(worker, happening(now, where=str(where)), now, 3)
    events = [*log.select()]
    assert sum(len(event.workers) for event in events) == len(told)
    assert [event.id for event in events] == sorted({event.id for event in events})
    assert log.unsettled_from(now + SETTLE_S) is None


def test_the_oldest_are_forgotten() -> None:
    """Memory is bounded, and whoever asks can see that something is missing."""
    log = EventLog(NOW, capacity=10)
    for number in range(30):
        log.add(happening(kind=f"kind-{number}"), NOW)
    assert len([*log.select()]) == 10
    assert log.oldest_id == log.last_id - 9
