"""Everything that a worker will do at some time unless it is cancelled, in one heap. Pure.

Nearly every deadline is cancelled: a request makes one and ends long before it. So cancelling only empties the entry,
which keeps nothing alive that it would have called, and when most entries are empty the heap is made anew without them.
Over time that costs each deadline a constant, and the heap is never more than about twice as long as it needs to be.
"""

from __future__ import annotations

import heapq
from abc import ABC, abstractmethod
from collections.abc import Callable, Iterator
from typing import Final

from mypy_extensions import mypyc_attr

# A heap as short as this is not worth making anew.
FEW: Final = 64


class Deadline:
    """Something that will happen unless it is cancelled."""

    __slots__ = ("_owner", "action")

    def __init__(self, owner: Deadlines, action: Callable[[], None]) -> None:
        self.action: Callable[[], None] | None = action
        self._owner = owner

    def cancel(self) -> None:
        """Also when it has happened, or was cancelled before: then nothing changes."""
        if self.action is not None:
            self.action = None
            self._owner.emptied()


class Deadlines:
    """All deadlines of a worker. Times are seconds of one monotonic clock."""

    def __init__(self) -> None:
        # The number keeps those of one time in order, so that two entries are never compared by their deadlines.
        self._heap: list[tuple[float, int, Deadline]] = []
        self._number = 0
        self._empty = 0

    def __len__(self) -> int:
        """Entries that the heap holds, empty ones among them."""
        return len(self._heap)

    def add(self, when: float, action: Callable[[], None]) -> Deadline:
        deadline = Deadline(self, action)
        self._number += 1
        heapq.heappush(self._heap, (when, self._number, deadline))
        return deadline

    def next(self) -> float:
        """When there is something to do; infinity if there is nothing. May be the time of one that was cancelled."""
        return self._heap[0][0] if self._heap else float("inf")

    def due(self, now: float) -> Iterator[Callable[[], None]]:
        """Takes out what is due by `now`, in the order of its times. What is added meanwhile counts as well."""
        heap = self._heap
        while heap and (heap[0][0] <= now or heap[0][2].action is None):
            deadline = heapq.heappop(heap)[2]
            action, deadline.action = deadline.action, None
            if action is None:
                self._empty -= 1
            else:
                yield action
                heap = self._heap

    def emptied(self) -> None:
        """One more entry does nothing any more."""
        self._empty += 1
        if self._empty > FEW and self._empty * 2 > len(self._heap):
            self._heap = [entry for entry in self._heap if entry[2].action is not None]
            heapq.heapify(self._heap)
            self._empty = 0


@mypyc_attr(allow_interpreted_subclasses=True)
class Clock(ABC):
    """Seconds of the event loop's clock, and what is to be done at some time."""

    now: float

    @abstractmethod
    def call_at(self, when: float, action: Callable[[], None]) -> Deadline: ...
