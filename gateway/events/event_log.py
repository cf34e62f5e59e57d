"""What happened lately, for people: a bounded list that numbers its events and merges what several workers saw. Pure.

Times are Unix seconds. An event's id is greater than that of every event before it, also of an earlier controller's,
if the clock was not turned back in between: ids begin at the time of the start, in milliseconds.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Iterable, Iterator
from typing import TypeAlias

import msgspec

CAPACITY = 2_000
MERGE_S = 10.0
"""Workers see the same fault each by its own requests: what they tell within this time is one event."""
SETTLE_S = 1.5
"""Workers report every second, so a little later all that saw an event have told of it."""
KIND_BURST = 200
KIND_EVERY_S = 1.0
"""Of one kind, so many in a row are listed, then one in this time: a thousand endpoints that die together must not push
everything else out."""

_Key: TypeAlias = tuple[str, str, str, str]


class Happening(msgspec.Struct, frozen=True):
    """Something that happened, as whoever saw it tells it."""

    at: float
    kind: str
    service: str
    """`<namespace>/<name>`; empty if it is about no service, or about many."""
    where: str
    cause: str
    message: str
    """For a person: one sentence with the numbers that matter."""
    numbers: dict[str, float] = {}


class Event(msgspec.Struct):
    """A happening with its number, and the workers that told it."""

    id: int
    happening: Happening
    workers: frozenset[str] = frozenset()
    """Empty: the controller saw it itself."""
    heard_at: float = 0.0
    unlisted: int = 0
    """How many of its kind came before it and were too many to list."""


class _Budget(msgspec.Struct):
    whole_at: float = 0.0
    unlisted: int = 0


class EventLog:
    """The last events. `now` is Unix seconds."""

    def __init__(self, now: float, capacity: int = CAPACITY) -> None:
        self._events: deque[Event] = deque(maxlen=capacity)
        self._recent: dict[_Key, Event] = {}
        self._budgets: dict[str, _Budget] = {}
        self._next_id = int(now * 1000)

    @property
    def last_id(self) -> int:
        """Of the last event; of none, something less than any later event's."""
        return self._next_id - 1

    @property
    def oldest_id(self) -> int:
        """Events before this one are no longer known."""
        return self._events[0].id if self._events else self._next_id

    def add(self, happening: Happening, now: float) -> Event | None:
        """Notes what the controller saw. None: there were too many of its kind to list it."""
        return self._append(happening, frozenset(), now)

    def add_from_worker(self, worker: str, happening: Happening, now: float, workers: int) -> Event | None:
        """Notes what a worker saw; None if it is what another told already, or too much. `workers` is how many there
        are."""
        key = _key(happening)
        known = self._recent.get(key)
        if known and worker not in known.workers and abs(known.happening.at - happening.at) <= MERGE_S:
            known.workers |= {worker}
            if len(known.workers) >= workers:
                del self._recent[key]
            return None
        event = self._append(happening, frozenset((worker,)), now)
        if event is not None and workers > 1:
            self._forget_old(now)
            self._recent[key] = event
        return event

    def select(
        self, *, since: int = 0, service: str = "", kind: str = "", before: int | None = None
    ) -> Iterator[Event]:
        """The events after `since` (an id) and before `before`, the oldest first, of a service and kind if given."""
        for event in self._events:
            if event.id <= since or (before is not None and event.id >= before):
                continue
            happening = event.happening
            if service in ("", happening.service) and kind in ("", happening.kind):
                yield event

    def unsettled_from(self, now: float) -> int | None:
        """The id of the first event that more workers may still tell of; None if there is none."""
        waiting = (e.id for e in self._recent.values() if now - e.heard_at < SETTLE_S)
        return min(waiting, default=None)

    def _append(self, happening: Happening, workers: frozenset[str], now: float) -> Event | None:
        budget = self._budgets.setdefault(happening.kind, _Budget())
        if budget.whole_at - now > (KIND_BURST - 1) * KIND_EVERY_S:
            budget.unlisted += 1
            return None
        budget.whole_at = max(budget.whole_at, now) + KIND_EVERY_S
        event = Event(self._next_id, happening, workers, now, budget.unlisted)
        budget.unlisted = 0
        self._next_id += 1
        self._events.append(event)
        return event

    def _forget_old(self, now: float) -> None:
        for key in _older_than(self._recent.items(), now - MERGE_S):
            del self._recent[key]


def _key(happening: Happening) -> _Key:
    return happening.service, happening.kind, happening.where, happening.cause


def _older_than(events: Iterable[tuple[_Key, Event]], moment: float) -> list[_Key]:
    return [key for key, event in events if event.heard_at < moment]
