"""How many body bytes of a connection are handed on and not consumed yet, by stream and in all."""

from __future__ import annotations


class HeldBytes:
    """Counts what consumers of a connection's streams still hold. A stream's end is not the end of its bytes."""

    def __init__(self) -> None:
        self.total = 0
        self._by_stream: dict[int, int] = {}

    def hold(self, stream_id: int, size: int) -> None:
        if size:
            self.total += size
            self._by_stream[stream_id] = self._by_stream.get(stream_id, 0) + size

    def consume(self, stream_id: int, size: int) -> int:
        """Takes off what was consumed; returns how much of `size` was really held."""
        held = self._by_stream.get(stream_id)
        if held is None:
            return 0
        size = min(size, held)
        self.total -= size
        if size == held:
            del self._by_stream[stream_id]
        else:
            self._by_stream[stream_id] = held - size
        return size

    def let_go(self, stream_id: int) -> int:
        """The stream was given up: what is still held of it goes nowhere. Returns how much that is."""
        size = self._by_stream.pop(stream_id, 0)
        self.total -= size
        return size

    def clear(self) -> None:
        self.total = 0
        self._by_stream.clear()
