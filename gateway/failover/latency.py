"""How slow a place is: the peak exponentially weighted moving average of Finagle and Linkerd.

It follows a slower answer at once and forgets it slowly, so one stall is enough to send requests elsewhere.
Source: Finagle's `PeakEwma` load metric ("cost", "decay time").
"""

from __future__ import annotations

from math import exp
from typing import Final

# In so long an old value loses two thirds of its weight (Finagle's and Linkerd's default).
DECAY_S: Final = 10.0
# What a failure is taken to have lasted at least, and at most by its doubling.
FAILURE_LEAST_S: Final = 0.001
FAILURE_MOST_S: Final = 10.0


class PeakEwma:
    """The latency of one place, in seconds. 0 until the first answer."""

    __slots__ = ("_at", "cost_s")

    def __init__(self) -> None:
        self.cost_s = 0.0
        self._at = 0.0

    def __repr__(self) -> str:
        return f"<PeakEwma {self.cost_s * 1000:.3f} ms>"

    def observe(self, latency_s: float, now: float) -> None:
        """An answer took `latency_s`."""
        if latency_s >= self.cost_s:
            self.cost_s = latency_s
        else:
            kept = exp((self._at - now) / DECAY_S)
            self.cost_s = self.cost_s * kept + latency_s * (1.0 - kept)
        self._at = now

    def observe_failure(self, latency_s: float, now: float) -> None:
        """No answer, or an error, after `latency_s`. However quick that was, the place does not look quicker for it."""
        self.observe(max(latency_s, self.cost_s, FAILURE_LEAST_S), now)

    def penalize(self, now: float, worst_s: float = 0.0) -> None:
        """It is taken for twice as slow as it was, and as the `worst_s` of others: it gets few requests for a while."""
        doubled = 2.0 * max(self.cost_s, worst_s)
        self.observe(min(FAILURE_MOST_S, max(doubled, FAILURE_LEAST_S)), now)

    def forget(self) -> None:
        """What was seen of the place counts no more: it is as if it were new."""
        self.cost_s = 0.0

    def cost_at(self, now: float) -> float:
        """What is left of the latency by now, in seconds: without requests a place is forgiven its slowness."""
        return self.cost_s * exp((self._at - now) / DECAY_S)


def load(cost_s: float, in_progress: int) -> float:
    """What another request would find there, in seconds: the less, the better.

    A place that has never answered gets one request at a time until it has.
    """
    if not cost_s:
        return float("inf") if in_progress else 0.0
    return cost_s * (in_progress + 1)
