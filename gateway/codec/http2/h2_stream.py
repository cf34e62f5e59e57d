"""What the h2 codec knows of one open stream, and the body bytes that wait in it for a window."""

from __future__ import annotations

from collections import deque

from gateway.codec.events import Header
from gateway.codec.http2.frames import BULK_BYTES


class H2Stream:
    """One open stream. `queued` bytes of body, then the end or the trailers, are still to be sent."""

    def __init__(self, method: bytes, *, upgrade: bool = False) -> None:
        self.method = method
        self.tunnel = method == b"CONNECT"
        self.upgrade = upgrade
        """Whether it is asked for one."""
        self.missing: int | None = None
        """What is still to come of the `content-length` that the peer announced."""
        self.bodiless = False
        """The response can have no body: DATA with bytes is malformed."""
        self.remote_ended = False
        self.local_ended = False
        self.end_sent = False
        self.refused = False
        """Answered by the codec itself: nobody was told of it."""
        self.unwanted = False
        """Our response is whole: what is still to come of the request goes nowhere."""
        self.bulk = False
        self.turn = 0
        """Of bulk: the number of its last frame among those of all bulk."""
        self.queued = 0
        self.trailers: list[Header] | None = None
        self.credit = 0
        """Bytes that were consumed and not yet given back to the peer."""
        self._chunks: deque[bytes] = deque()

    @property
    def has_output(self) -> bool:
        return bool(self.queued) or (self.local_ended and not self.end_sent)

    def put(self, data: bytes) -> None:
        self._chunks.append(data)
        self.queued += len(data)
        self.bulk = self.bulk or self.queued >= BULK_BYTES

    def take(self, size: int) -> bytes:
        """The first `size` bytes of the queue, which has as many."""
        parts: list[bytes] = []
        self.queued -= size
        while size:
            chunk = self._chunks.popleft()
            if len(chunk) > size:
                self._chunks.appendleft(chunk[size:])
                chunk = chunk[:size]
            parts.append(chunk)
            size -= len(chunk)
        return b"".join(parts)
