"""Body bytes that came together are handed on together.

A peer cuts a body into DATA frames (libnghttp2 at 16 KiB), and what a frame costs beyond its bytes is paid by everybody
whom its event passes. So what one call of a codec finds of one stream is one event, where its first part was: streams
are independent, and nothing else of a stream comes between its bytes.
"""

from __future__ import annotations

from gateway.codec.events import Data, Event


class DataRuns:
    """The bodies whose parts come in one call. `join` ends the call."""

    __slots__ = ("_runs",)

    def __init__(self) -> None:
        self._runs: dict[int, tuple[Data, list[bytes]]] = {}

    def add(self, events: list[Event], stream_id: int, data: bytes, end_stream: bool) -> None:
        """Appends an event, or adds `data` to the one that there is of this stream."""
        run = self._runs.get(stream_id)
        if run is not None:
            event, parts = run
            event.end_stream = end_stream
            if data:
                parts.append(data)
            return
        event = Data(stream_id, data, end_stream)
        events.append(event)
        if not end_stream:
            self._runs[stream_id] = (event, [data])

    def join(self) -> None:
        """Gives each event its bytes. Nothing is known of them afterwards."""
        if self._runs:
            for event, parts in self._runs.values():
                if len(parts) > 1:
                    event.data = b"".join(parts)
            self._runs.clear()
