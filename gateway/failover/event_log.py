"""Events on their way to the controller: few, whatever happens how often. Pure."""

from __future__ import annotations

from collections.abc import Callable

import msgspec

from gateway.failover.events import Cause, EventKind, FailoverEvent

# The same thing at the same place is told once in so long; what came meanwhile is counted in `repeated`.
REPEAT_S = 1.0
# So many events may leave in a second, and so many wait. A cluster with thousands of services that goes away is one
# story, which its first lines tell.
EVENTS_PER_S = 20


class _Pending(msgspec.Struct):
    at: float
    cause: Cause
    numbers: dict[str, float]
    lost: str = ""
    repeated: int = 0


class EventLog:
    """The events of one worker since its last report. `now` is monotonic; events carry the wall clock's time."""

    def __init__(self, count: Callable[[str, EventKind, Cause], None]) -> None:
        """`count` is told of every event, also of those that are left out."""
        self._count = count
        self._pending: dict[tuple[str, EventKind, str], _Pending] = {}
        self._told: dict[tuple[str, EventKind, str], float] = {}
        self._allowed = float(EVENTS_PER_S)
        self._refilled_at = 0.0
        self._left_out = 0

    def add(
        self,
        service: str,
        kind: EventKind,
        where: str,
        cause: Cause,
        numbers: dict[str, float],
        now: float,
        *,
        lost: str = "",
    ) -> None:
        """Something happened. `lost`: who got the requests before, if the cause is one of it."""
        self._count(service, kind, cause)
        key = (service, kind, where)
        pending = self._pending.get(key)
        if pending is not None:
            pending.cause, pending.numbers, pending.lost = cause, numbers, lost
            pending.repeated += 1
        elif len(self._pending) < EVENTS_PER_S:
            self._pending[key] = _Pending(now, cause, numbers, lost)
        else:
            self._left_out += 1

    def take(self, now: float, wall_now: float) -> list[FailoverEvent]:
        """What may be told now, the oldest first."""
        self._allowed = min(float(EVENTS_PER_S), self._allowed + (now - self._refilled_at) * EVENTS_PER_S)
        self._refilled_at = now
        self._told = {key: at for key, at in self._told.items() if now - at < REPEAT_S}
        told: list[FailoverEvent] = []
        for key in [key for key in self._pending if key not in self._told]:
            if self._allowed < 1.0:
                break
            self._allowed -= 1.0
            self._told[key] = now
            told.append(self._event(key, self._pending.pop(key), wall_now - now))
        return told

    def _event(self, key: tuple[str, EventKind, str], pending: _Pending, epoch: float) -> FailoverEvent:
        service, kind, where = key
        numbers = dict(pending.numbers)
        if pending.repeated:
            numbers["repeated"] = float(pending.repeated)
        if self._left_out:
            numbers["left_out"], self._left_out = float(self._left_out), 0
        return FailoverEvent(round(pending.at + epoch, 3), service, kind, where, pending.cause, numbers, pending.lost)
