"""Bytes on their way out of a codec that frames them itself."""

from __future__ import annotations

from collections import deque
from typing import Final

OUTPUT_BYTES: Final = 262_144
"""What `data_to_send` gives at most at one call."""


class Output:
    """A queue of bytes. `body_bytes` says how many of them are a body's."""

    __slots__ = ("_chunks", "_size", "body_bytes")

    def __init__(self) -> None:
        self._chunks: deque[bytes] = deque()
        self._size = 0
        self.body_bytes = 0

    def __len__(self) -> int:
        return self._size

    def add(self, data: bytes) -> None:
        self._chunks.append(data)
        self._size += len(data)

    def add_body(self, data: bytes) -> None:
        self.add(data)
        self.body_bytes += len(data)

    def take(self) -> bytes:
        """All of it, or the first `OUTPUT_BYTES`."""
        if self._size <= OUTPUT_BYTES:
            out = self._chunks.popleft() if len(self._chunks) == 1 else b"".join(self._chunks)
            self._chunks.clear()
            self._size = self.body_bytes = 0
            return out
        parts: list[bytes] = []
        room = OUTPUT_BYTES
        while room:
            chunk = self._chunks.popleft()
            if len(chunk) > room:
                self._chunks.appendleft(chunk[room:])
                chunk = chunk[:room]
            parts.append(chunk)
            room -= len(chunk)
        self._size -= OUTPUT_BYTES
        # Framing is counted as if it went last, so that this never says less than is still here.
        self.body_bytes = min(self.body_bytes, self._size)
        return b"".join(parts)
