"""What records tell of their writer's clock."""

from __future__ import annotations

from federation.clock_skew import TOLERATED_S, ClockSkew


def test_a_new_record_tells_both_ways_and_the_last_one_counts() -> None:
    """A clock that was set right is right from the next record on."""
    clock = ClockSkew()
    assert (clock.ahead_s, clock.is_bad) == (None, False)
    clock.observe(1_300.0, 1_000.0, live=True)
    assert (clock.ahead_s, clock.is_bad) == (300.0, True)
    clock.observe(700.0, 1_000.0, live=True)
    assert (clock.ahead_s, clock.is_bad) == (-300.0, True)
    clock.observe(1_000.0 - TOLERATED_S, 1_000.0, live=True)
    assert not clock.is_bad


def test_a_record_of_unknown_age_tells_only_of_the_future() -> None:
    """In a listing, the one that is furthest ahead says most: it was written last, or soonest before."""
    clock = ClockSkew()
    clock.observe(0.0, 1_000.0, live=False)
    assert clock.ahead_s is None
    clock.observe(1_200.0, 1_000.0, live=False)
    clock.observe(1_100.0, 1_000.0, live=False)
    clock.observe(0.0, 1_000.0, live=False)
    assert clock.ahead_s == 200.0
