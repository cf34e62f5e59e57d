"""How long a gateway that came back is not trusted yet, the longer the oftener it went. Pure.

A gateway that goes and comes would take its cluster's whole load each time, and lose what is under way each time. The
first return is trusted at once; each further one within `MEMORY_S` waits twice as long as the one before. While it
waits, it is used only if there is nothing better. All times are seconds of one monotonic clock.
"""

from __future__ import annotations

HOLD_FIRST_S = 2.0
HOLD_LIMIT_S = 30.0
# Who stayed for so long is not flapping any more.
MEMORY_S = 60.0
# A lag that is over sooner is none of a gateway that goes and comes.
SHORT_S = 1.0


class Flapping:
    """One gateway's comings and goings."""

    def __init__(self) -> None:
        self.returns = 0
        """In a row, each within `MEMORY_S` of the one before."""
        self.held_until = float("-inf")
        self._gone_since: float | None = None
        self._back_at = float("-inf")

    def gone(self, now: float) -> None:
        """Nothing of it answers any more."""
        if self._gone_since is None:
            self._gone_since = now

    def back(self, now: float) -> None:
        """Something of it answers."""
        gone_since, self._gone_since = self._gone_since, None
        if gone_since is None or now - gone_since < SHORT_S:
            return
        self.returns = self.returns + 1 if gone_since - self._back_at < MEMORY_S else 1
        self._back_at = now
        if self.returns > 1:
            self.held_until = now + min(HOLD_FIRST_S * 2 ** (self.returns - 2), HOLD_LIMIT_S)

    def held(self, now: float) -> bool:
        return now < self.held_until
