"""Requests that wait for a cluster whose last tunnel was lost a moment ago, and that have nowhere else to go. Pure.

A gateway whose worker was killed has another within a second, and its peers knock at once. What comes meanwhile would
otherwise be refused, although a moment later it could be carried.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Final

RETURN_S: Final = 2.0
"""For so long a cluster is expected back: the start of a worker and a handshake, on a busy machine."""


class Returning:
    """By cluster: until when it is expected, and who waits for it. Times are seconds of one monotonic clock.

    Args:
        call_at: calls something at a time, later than the present call.
    """

    def __init__(self, call_at: Callable[[float, Callable[[], None]], object]) -> None:
        self._call_at = call_at
        self._until: dict[str, float] = {}
        self._waiting: dict[str, list[Callable[[], None]]] = {}

    def expects(self, cluster: str, now: float) -> bool:
        return self._until.get(cluster, now) > now

    def wait(self, cluster: str, wake: Callable[[], None]) -> None:
        """Calls `wake` once: when the cluster is back, or is not expected any more. Only while it is expected."""
        self._waiting.setdefault(cluster, []).append(wake)

    def lost(self, cluster: str, now: float) -> None:
        """Its last tunnel ended."""
        until = self._until[cluster] = now + RETURN_S

        def look() -> None:
            # It may have come back and been lost again since.
            if self._until.get(cluster) == until:
                self.settle(cluster, until)

        self._call_at(until, look)

    def settle(self, cluster: str, now: float) -> None:
        """It is back, or gone for good: nobody shall wait for it any longer."""
        self._until.pop(cluster, None)
        for wake in self._waiting.pop(cluster, ()):
            self._call_at(now, wake)
