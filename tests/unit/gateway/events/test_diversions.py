"""What holds of what workers told."""

from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st

from gateway.events.diversions import MAX_PER_WORKER, OVERFLOW_S, RETURN_GRACE_S, Diversions
from gateway.failover.events import Cause, EventKind, FailoverEvent


def event(
    kind: EventKind, where: str = "east", at: float = 100.0, service: str = "shop/payments", **numbers: float
) -> FailoverEvent:
    return FailoverEvent(at, service, kind, where, Cause.TUNNELS, numbers)


def kinds(diversions: Diversions, now: float = 100.0) -> list[tuple[str, str]]:
    return [(diversion.event.kind, diversion.event.where) for diversion in diversions.current(now)]


def test_a_spill_becomes_a_failover_and_ends() -> None:
    """A service is in one of these states at a time, in each worker."""
    diversions = Diversions()
    diversions.take("w1", [event(EventKind.SPILLED, "west"), event(EventKind.FAILED_OVER, "west")])
    assert kinds(diversions) == [("failed-over", "west")]
    diversions.take("w1", [event(EventKind.EXHAUSTED)])
    assert kinds(diversions) == [("exhausted", "east")]
    diversions.take("w1", [event(EventKind.RECOVERED)])
    assert kinds(diversions) == []
    diversions.take("w1", [event(EventKind.SPILLED, "west"), event(EventKind.PANIC)])
    assert kinds(diversions) == [("panic", "east")]
    diversions.take("w1", [event(EventKind.EXHAUSTED)])
    assert kinds(diversions) == [("exhausted", "east")]


def test_an_ejection_ends_for_its_place_only_or_with_its_time() -> None:
    """Also when its end was among the events that were too many to tell."""
    diversions = Diversions()
    for where, time_s in (("a:1", 30.0), ("b:1", 60.0), ("c:1", 10.0)):
        diversions.take("w1", [event(EventKind.EJECTED, where, time_s=time_s)])
    diversions.take("w1", [event(EventKind.RETURNED, "a:1")])
    assert kinds(diversions) == [("ejected", "b:1"), ("ejected", "c:1")]
    assert kinds(diversions, 110.0 + RETURN_GRACE_S) == [("ejected", "b:1")]
    assert [diversion.until for diversion in diversions.current(110.0 + RETURN_GRACE_S)] == [160.0]


def test_a_limit_that_refuses_requests_is_shown_while_it_does() -> None:
    """It is told of every second; nothing tells that it is over."""
    diversions = Diversions()
    diversions.take("w1", [event(EventKind.OVERFLOWED, "west", at=99.0)])
    diversions.take("w1", [event(EventKind.OVERFLOWED, "west", at=100.0, limit=8.0)])
    [one] = diversions.current(101.0)
    assert (one.event.kind, one.event.where, one.until) == (EventKind.OVERFLOWED, "west", None)
    assert one.event.numbers == {"limit": 8.0}
    assert diversions.current(100.0 + OVERFLOW_S) == []


def test_workers_are_counted_and_forgotten() -> None:
    """One that ended is nobody's word any more."""
    diversions = Diversions()
    diversions.take("w1", [event(EventKind.PANIC, at=101.0)])
    diversions.take("w2", [event(EventKind.PANIC, at=99.0)])
    [one] = diversions.current(100.0)
    assert (one.workers, one.event.at) == (2, 99.0)
    diversions.retire("w2")
    diversions.take("w1", [event(EventKind.PANIC_ENDED)])
    assert kinds(diversions) == []


def test_zones_of_a_cluster_share_its_share() -> None:
    """Metrics are by cluster."""
    diversions = Diversions()
    shares = {"share.east/a": 0.25, "share.east/b": 0.25, "share.west": 0.5, "availability": 0.3}
    diversions.take("w1", [FailoverEvent(100.0, "shop/payments", EventKind.SPILLED, "west", Cause.TUNNELS, shares)])
    assert [diversion.shares for diversion in diversions.current(100.0)] == [{"east": 0.5, "west": 0.5}]


@given(
    st.lists(
        st.tuples(
            st.sampled_from(["w1", "w2"]), st.sampled_from(EventKind), st.sampled_from("abc"), st.sampled_from("xy")
        ),
        max_size=60,
    )
)
def test_what_ends_is_gone_whatever_came_before(told: list[tuple[str, EventKind, str, str]]) -> None:
    """After all ends were told nothing is left."""
    diversions = Diversions()
    for worker, kind, where, service in told:
        diversions.take(worker, [event(kind, where, service=service, time_s=1_000.0)])
    for worker, service in ((w, s) for w in ("w1", "w2") for s in "xy"):
        ends = [event(EventKind.RECOVERED, service=service), event(EventKind.PANIC_ENDED, service=service)]
        returns = [event(EventKind.RETURNED, where, service=service) for where in "abc"]
        diversions.take(worker, [*ends, *returns])
    assert diversions.current(100.0 + OVERFLOW_S) == []


def test_memory_is_bounded() -> None:
    diversions = Diversions()
    diversions.take("w1", [event(EventKind.PANIC, service=f"shop/s{n}") for n in range(MAX_PER_WORKER + 50)])
    assert len(diversions.current(100.0)) == MAX_PER_WORKER
