"""Which services do not go where they would if all were well, as far as workers have told. Pure.

Workers tell what changes, so this is what follows from their events. What a worker told is forgotten with it; what it
knew before this controller began is not known here (`isthmus explain` asks the workers themselves).
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from typing import TypeAlias

import msgspec

from gateway.failover.events import EventKind, FailoverEvent

MAX_PER_WORKER = 1_000
RETURN_GRACE_S = 5.0
"""An ejection whose end was not told ends so long after its time: workers tell a bounded number of events a second."""
OVERFLOW_S = 5.0
"""A limit that refuses requests is told of every second, and its end is not."""
_STANDINGS = (EventKind.SPILLED, EventKind.FAILED_OVER, EventKind.EXHAUSTED, EventKind.PANIC)
_ENDS = {
    EventKind.RETURNED: (EventKind.EJECTED,),
    EventKind.RECOVERED: _STANDINGS,
    EventKind.PANIC_ENDED: (EventKind.PANIC,),
    **dict.fromkeys(_STANDINGS, _STANDINGS),
}
"""What an event puts an end to, for its service; RETURNED for its place only."""
_SHARE = "share."

_Key: TypeAlias = tuple[str, EventKind, str]


class Diversion(msgspec.Struct, frozen=True):
    """One of them, as all workers told it. Times are Unix seconds."""

    event: FailoverEvent
    """The first that told of it."""
    until: float | None
    """When an ejection ends: the latest of the workers."""
    workers: int

    @property
    def shares(self) -> dict[str, float]:
        """0 to 1 by cluster, where it was told."""
        shares: dict[str, float] = {}
        for name, value in self.event.numbers.items():
            if name.startswith(_SHARE):
                cluster = name.removeprefix(_SHARE).partition("/")[0]
                shares[cluster] = shares.get(cluster, 0.0) + value
        return shares


class Diversions:
    """By worker, what holds of what it told."""

    def __init__(self) -> None:
        self._told: dict[str, dict[_Key, FailoverEvent]] = {}

    def take(self, worker: str, events: Iterable[FailoverEvent]) -> None:
        for event in events:
            self._take(self._told.setdefault(worker, {}), event)

    def retire(self, worker: str) -> None:
        """The worker is gone."""
        self._told.pop(worker, None)

    def current(self, now: float) -> list[Diversion]:
        """What holds, by service."""
        found: dict[_Key, list[FailoverEvent]] = {}
        for told in self._told.values():
            for key, event in told.items():
                if not _is_over(event, now):
                    found.setdefault(key, []).append(event)
        return [_merge(events) for _, events in sorted(found.items())]

    def _take(self, told: dict[_Key, FailoverEvent], event: FailoverEvent) -> None:
        for key in [*_ended_by(event, told)]:
            del told[key]
        if event.kind in (EventKind.EJECTED, EventKind.OVERFLOWED, *_STANDINGS):
            told[event.service, event.kind, event.where] = event
            if len(told) > MAX_PER_WORKER:
                del told[next(iter(told))]


def _ended_by(event: FailoverEvent, told: Iterable[_Key]) -> Iterator[_Key]:
    kinds = _ENDS.get(event.kind, ())
    for service, kind, where in told:
        if service == event.service and kind in kinds and (kind is not EventKind.EJECTED or where == event.where):
            yield service, kind, where


def _until(event: FailoverEvent) -> float | None:
    if event.kind is not EventKind.EJECTED:
        return None
    return event.at + event.numbers.get("time_s", 0.0)


def _is_over(event: FailoverEvent, now: float) -> bool:
    if event.kind is EventKind.OVERFLOWED:
        return event.at + OVERFLOW_S <= now
    until = _until(event)
    return until is not None and until + RETURN_GRACE_S <= now


def _merge(events: list[FailoverEvent]) -> Diversion:
    untils = [until for event in events if (until := _until(event)) is not None]
    return Diversion(min(events, key=_at), max(untils, default=None), len(events))


def _at(event: FailoverEvent) -> float:
    return event.at
