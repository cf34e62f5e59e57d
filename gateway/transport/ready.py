"""Which of a worker's sockets are handled next, when more are ready than one turn should handle. Pure.

A socket that brings bulk has more each time it is looked at. A thousand of them make a round of tens of megabytes, and
a small answer that comes meanwhile would wait for all of it, on every hop. So a socket that was left before it was
empty stands in a queue of its own: what has just become ready goes before it, and it never waits for ever.
"""

from __future__ import annotations

from itertools import islice
from typing import Final

SLICE: Final = 32
"""So many sockets are handled before the others are looked at again."""
LEAST_BULK: Final = 8
"""Of a slice, this many are for bulk if there is any, however much else is ready."""


class Ready:
    """Descriptors, each with what it is ready for, in the order in which their turn comes."""

    def __init__(self) -> None:
        self.unfinished: set[int] = set()
        """Those that were left before they were empty."""
        self._prompt: dict[int, int] = {}
        self._bulk: dict[int, int] = {}

    def __len__(self) -> int:
        return len(self._prompt) + len(self._bulk)

    def take(self, ready: list[tuple[int, int]], shared: set[int]) -> list[tuple[int, int]]:
        """Adds what is `ready` now to what waits, where each has its place. Returns the next slice: all of `shared`,
        which wait for nobody, and of the others those whose turn it is."""
        taken: list[tuple[int, int]] = []
        for descriptor, flags in ready:
            if descriptor in shared:
                taken.append((descriptor, flags))
            elif descriptor in self.unfinished:
                self._bulk[descriptor] = flags
            else:
                self._prompt[descriptor] = flags
        most_bulk = max(LEAST_BULK, SLICE - len(self._prompt))
        for queue, limit in ((self._prompt, SLICE), (self._bulk, most_bulk)):
            for descriptor in list(islice(queue, limit)):
                taken.append((descriptor, queue.pop(descriptor)))
                self.unfinished.discard(descriptor)
        return taken

    def all_handled(self, ready: list[tuple[int, int]]) -> None:
        """All that are `ready` have their turn at once."""
        self.unfinished.difference_update(descriptor for descriptor, _ in ready)

    def drop(self, descriptor: int) -> None:
        """It is not waited for the same any more."""
        self._prompt.pop(descriptor, None)
        self._bulk.pop(descriptor, None)

    def forget(self, descriptor: int) -> None:
        """It is gone from here: whoever has its number next is another one."""
        self.drop(descriptor)
        self.unfinished.discard(descriptor)
