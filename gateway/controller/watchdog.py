"""Notices a worker that has stopped without ending: suspended, or in a loop that never gives way. Pure.

A worker says something every second. One that says nothing for `PATIENCE_S` serves nobody, while it still holds
connections and its share of what waits to be accepted. A machine that has no time for its workers has none for the
controller either: by what the controller itself was late, everybody is excused.
"""

from __future__ import annotations

PATIENCE_S = 15.0
"""Far above what a snapshot of a hundred thousand services, or a busy machine, costs a worker that is well."""
START_PATIENCE_S = 120.0
"""A worker that starts has said nothing yet, and loads its program on a machine that may be very busy: to kill it for
that would make the machine busier still."""
TICK_S = 1.0


class Watchdog:
    def __init__(self) -> None:
        self._silent_since: dict[str, tuple[float, float]] = {}
        """By worker: since when it is silent, and for how long it may be."""
        self._excused_s = 0.0
        self._ticked_at: float | None = None

    def heard(self, worker: str, now: float) -> None:
        """It said something."""
        self._silent_since[worker] = now - self._excused_s, PATIENCE_S

    def started(self, worker: str, now: float) -> None:
        self._silent_since[worker] = now - self._excused_s, START_PATIENCE_S

    def forget(self, worker: str) -> None:
        self._silent_since.pop(worker, None)

    def tick(self, now: float) -> list[str]:
        """To be called every `TICK_S`: the workers that are given up. Each is named once."""
        if self._ticked_at is not None:
            self._excused_s += max(0.0, now - self._ticked_at - TICK_S)
        self._ticked_at = now
        given_up = [
            worker
            for worker, (since, patience_s) in self._silent_since.items()
            if now - self._excused_s - since > patience_s
        ]
        for worker in given_up:
            del self._silent_since[worker]
        return given_up
