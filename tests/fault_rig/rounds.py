"""A fault that is done more than once, since a machine that others use as well may stand still in one of them."""

from __future__ import annotations

from collections.abc import Callable

ROUNDS = 3


def within(limit_s: float, fault: Callable[[], float], *, rounds: int = ROUNDS) -> float:
    """Does a fault until clients had to wait no longer than `limit_s` for it, at most `rounds` times.

    `fault` does it, mends it, and gives the seconds; what must hold each time (no failed GET, say) it asserts itself.
    What makes each time slower than the limit cannot pass; what delays one of them can. Returns the seconds that were
    within. Raises AssertionError.
    """
    seen: list[float] = []
    while not seen or seen[-1] > limit_s:
        assert len(seen) < rounds, f"wanted are {limit_s:g} s once, it took {', '.join(f'{s:.3f} s' for s in seen)}"
        seen.append(fault())
    return seen[-1]
