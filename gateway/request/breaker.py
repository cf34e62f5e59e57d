"""The circuit breaker of one upstream: a service in a cluster, in one worker. Pure.

It counts the attempts in progress and refuses what is above the limits at once, so that an upstream that has become
slow fills neither itself nor this worker. Nothing waits here: what waits for a connection waits in the endpoint's pool.
"""

from __future__ import annotations

from typing import Final

from gateway.traffic import Limits

NEWS_S: Final = 1.0
"""An upstream that overflows is told of so often, not once for each request."""


class Breaker:
    """What one upstream carries now."""

    __slots__ = ("_told_at", "overflows", "requests", "retries")

    def __init__(self) -> None:
        self.requests = 0
        self.retries = 0
        self.overflows = 0
        """Attempts that a limit refused, since this worker began."""
        self._told_at = float("-inf")

    def enter(self, limits: Limits, retry: bool) -> str:
        """Counts one more attempt, or returns the name of the limit that it would exceed. `retry`: it is not its
        request's first."""
        if self.requests >= limits.requests:
            return "requests"
        if retry:
            if self.retries >= limits.retries:
                return "retries"
            self.retries += 1
        self.requests += 1
        return ""

    def leave(self, retry: bool) -> None:
        """An attempt that entered has ended."""
        self.requests -= 1
        self.retries -= retry

    def overflowed(self, now: float) -> bool:
        """Counts an attempt that a limit refused. Returns whether it shall be told."""
        self.overflows += 1
        if now - self._told_at < NEWS_S:
            return False
        self._told_at = now
        return True
