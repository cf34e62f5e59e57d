"""How many retries are affordable. Pure."""

from __future__ import annotations

from typing import Final

SHARE: Final = 0.2
"""Of the active requests, those that may be retries."""
MINIMUM_PER_S: Final = 3.0
"""So many are always allowed, for a worker with little traffic."""


class RetryBudget:
    """Bounds retries to a share of the requests that are active, so that a failing upstream is not buried. One is
    shared by all services of a worker. It is asked only for failures that cost it (`Failure.costs_budget`)."""

    __slots__ = ("_refilled_at", "_tokens", "active", "retrying")

    def __init__(self, active: int = 0, retrying: int = 0) -> None:
        self.active = active
        """Requests in progress."""
        self.retrying = retrying
        """Requests in progress that were tried more than once."""
        self._tokens = MINIMUM_PER_S
        self._refilled_at = 0.0

    def take(self, now: float) -> bool:
        """Whether one more retry is affordable at `now` (seconds, monotonic); takes it if so."""
        if self.retrying < SHARE * self.active:
            return True
        self._tokens = min(MINIMUM_PER_S, self._tokens + (now - self._refilled_at) * MINIMUM_PER_S)
        self._refilled_at = now
        if self._tokens < 1.0:
            return False
        self._tokens -= 1.0
        return True
