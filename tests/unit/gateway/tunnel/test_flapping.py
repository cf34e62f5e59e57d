"""A gateway that goes and comes: how long it is held back."""

from __future__ import annotations

from gateway.tunnel.flapping import HOLD_FIRST_S, HOLD_LIMIT_S, MEMORY_S, Flapping


def returned(flapping: Flapping, *, gone_at: float, back_at: float) -> float:
    """For how long it is held back after it was away."""
    flapping.gone(gone_at)
    flapping.back(back_at)
    return max(flapping.held_until - back_at, 0.0)


def test_who_comes_for_the_first_time_is_not_held_back() -> None:
    """A gateway that starts has never gone."""
    flapping = Flapping()
    flapping.back(10)
    assert not flapping.held(10)


def test_one_restart_is_not_flapping() -> None:
    """An upgrade gets its load back at once."""
    assert returned(Flapping(), gone_at=100, back_at=105) == 0


def test_each_further_return_waits_twice_as_long() -> None:
    """Up to a limit: it may be mended one day."""
    flapping = Flapping()
    holds = [returned(flapping, gone_at=at, back_at=at + 2) for at in range(100, 140, 4)]
    assert holds[:4] == [0, HOLD_FIRST_S, 2 * HOLD_FIRST_S, 4 * HOLD_FIRST_S]
    assert holds[-1] == HOLD_LIMIT_S
    assert flapping.held(136 + 2 + HOLD_LIMIT_S - 0.1)
    assert not flapping.held(136 + 2 + HOLD_LIMIT_S)


def test_who_stays_is_forgiven() -> None:
    """What happened an hour ago says nothing."""
    flapping = Flapping()
    for at in (100, 104, 108):
        returned(flapping, gone_at=at, back_at=at + 2)
    assert returned(flapping, gone_at=110 + MEMORY_S, back_at=112 + MEMORY_S) == 0


def test_a_short_lag_is_not_going() -> None:
    """A busy event loop answers late; its gateway would be held back for what is no fault."""
    flapping = Flapping()
    holds = [returned(flapping, gone_at=at, back_at=at + 0.5) for at in range(100, 140, 4)]
    assert holds == [0] * 10
