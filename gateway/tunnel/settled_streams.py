"""Which streams of a tunnel are so old that they say nothing of how busy its gateway is. Pure.

A TCP stream, a WebSocket or a watch may lie idle for days. If it counted as a request in progress, a gateway that holds
a few of them would get hardly any requests while another holds none.
"""

from __future__ import annotations

from collections.abc import Iterable
from typing import Final

SETTLED_S: Final = 5.0
"""A stream of this age, or up to twice this age, is not a request that a busy gateway has not answered yet."""


class SettledStreams:
    """Those of one tunnel."""

    __slots__ = ("_mark", "_marked_at", "_older_mark")

    def __init__(self) -> None:
        self._mark = self._older_mark = 0
        """The last streams of two moments, `SETTLED_S` apart."""
        self._marked_at = float("-inf")

    def count(self, streams: Iterable[int], last_stream: int, now: float) -> int:
        """How many have settled of the `streams` that are open, in the order in which they were opened. `last_stream`
        is the last one that was opened. To be asked more often than every `SETTLED_S`. Seconds of one clock."""
        if now - self._marked_at >= SETTLED_S:
            self._older_mark, self._mark, self._marked_at = self._mark, last_stream, now
        settled = 0
        for stream in streams:
            if stream > self._older_mark:
                break
            settled += 1
        return settled
