"""How long a tunnel's slot waits before it dials again. Pure.

A gateway that goes takes the tunnels of all workers of all peers with it in the same moment. Each waits longer from
time to time, and a random part of that, so that they do not all knock in the moment in which it is back.
"""

from __future__ import annotations

import random
from typing import Final

# A wait is this part of its time at least.
_LEAST: Final = 0.5


class Backoff:
    """The waits of one slot.

    Args:
        first_s: the wait's time after a tunnel that lived long enough; it doubles with each that did not.
        limit_s: what it grows to.
        stable_s: a tunnel that lived for longer did not end for what it was opened with: it begins anew.
    """

    __slots__ = ("_delay_s", "_first_s", "_limit_s", "_stable_s")

    def __init__(self, first_s: float, limit_s: float, stable_s: float) -> None:
        self._first_s, self._limit_s, self._stable_s = first_s, limit_s, stable_s
        self._delay_s = first_s

    def next_s(self, lived_s: float, rng: random.Random) -> float:
        """Seconds to wait after a tunnel that lived so long; 0 if it could not be opened."""
        self._delay_s = self._first_s if lived_s > self._stable_s else min(self._delay_s * 2, self._limit_s)
        return self._delay_s * rng.uniform(_LEAST, 1.0)
