"""Body bytes that came together are handed on together.

A peer cuts a body into DATA frames (libnghttp2 at 16 KiB), and what a frame costs beyond its bytes is paid by everybody
whom its event passes. So what one call of a codec finds of one stream is one event, where its first part was: streams
are independent, and nothing else of a stream comes between its bytes.
"""

from __future__ import annotations

from gateway.codec.events import Data, Event


class DataRuns:
    """The bodies whose parts come in one call. `join` ends the call."""

    __slots__ = ("_begun", "_parts")

    def __init__(self) -> None:
        self._begun: dict[int, Data] = {}
        """By stream: the event that more may be added to."""
        self._parts: dict[int, list[bytes]] = {}
        """By stream: all that belongs to an event which has come in several parts."""

    def add(self, events: list[Event], stream_id: int, data: bytes, end_stream: bool) -> None:
        """Appends an event, or adds `data` to the one that there is of this stream."""
        begun = self._begun.get(stream_id)
        if begun is None:
            event = Data(stream_id, data, end_stream)
            events.append(event)
            if not end_stream:
                self._begun[stream_id] = event
            return
        begun.end_stream = end_stream
        if data:
            parts = self._parts.get(stream_id)
            if parts is None:
                self._parts[stream_id] = [begun.data, data]
            else:
                parts.append(data)

    def join(self) -> None:
        """Gives each event its bytes. Nothing is known of them afterwards."""
        if self._parts:
            for stream_id, parts in self._parts.items():
                self._begun[stream_id].data = b"".join(parts)
            self._parts.clear()
        if self._begun:
            self._begun.clear()
