"""What waits to be sent of the bodies on one HTTP/2 connection, and whose turn it is. Pure; both engines send by it.

Neither engine says in both roles what shall go first: libnghttp2 as a client sends the body of its lowest stream until
that stream's window is shut, which on a thin link never happens. So an engine is given only what goes out next:

- A stream that has much waiting carries bulk. All else is prompt and goes first.
- Bulk takes turns, and where prompt bodies alone would fill the link, a share of it is left for bulk.
- A stream that had its bulk sent keeps its place behind the others until its turn comes again; if it has nothing then,
  it is prompt again. (The rule of the flow queues of RFC 8290, section 4.2: who is emptied may not jump the queue.)
"""

from __future__ import annotations

from collections import deque
from collections.abc import Sequence
from typing import Final, Protocol

from gateway.codec.events import Header

BULK_BYTES: Final = 8_192
"""A stream that has so much waiting carries bulk. A small answer would otherwise wait for a frame of each of a thousand
downloads, 16 MB."""
TURN_BYTES: Final = 16_384
"""What a stream sends in its turn at least: a frame of libnghttp2's."""
TURNS: Final = 4
"""How many share one call's output at least, if so many wait. Each piece costs some CPU."""


def prompt_share(output_bytes: int) -> int:
    """Of one call's output, so much is for prompt bodies while bulk waits."""
    return output_bytes - output_bytes // 4


class BodySink(Protocol):
    """The engine that frames what has its turn."""

    def body_window(self, stream_id: int) -> int:
        """How much the peer lets this stream send, apart from its connection's window. Below zero: not known yet."""
        ...

    def send_body(self, stream_id: int, data: bytes, end_stream: bool) -> None: ...

    def send_last(self, stream_id: int, trailers: Sequence[Header]) -> None:
        """Trailer fields, which end the stream."""
        ...


class Body:
    """What waits of one stream: bytes, and behind them perhaps its end."""

    __slots__ = ("_begun", "_chunks", "bulk", "ended", "shut", "size", "trailers", "window")

    def __init__(self) -> None:
        self._chunks: deque[bytes] = deque()
        self._begun = 0
        """So much of the first chunk is gone."""
        self.size = 0
        self.window = 0
        """So much of it may be sent at least, the engine need not be asked."""
        self.bulk = False
        self.shut = False
        """It waits for its window, in no queue."""
        self.ended = False
        self.trailers: Sequence[Header] | None = None

    def put(self, data: bytes) -> None:
        self._chunks.append(data)
        self.size += len(data)

    def take(self, limit: int) -> bytes:
        """The first bytes, of which there are some: the rest of a chunk, or as much of it as `limit` lets through."""
        chunk, begun = self._chunks[0], self._begun
        end = begun + limit
        if end < len(chunk):
            self._begun = end
            chunk = chunk[begun:end]
        else:
            self._chunks.popleft()
            if begun:
                chunk, self._begun = chunk[begun:], 0
        self.size -= len(chunk)
        return chunk


class Bodies:
    """The streams of one connection that have something waiting. Whose body is empty is in here only as long as its
    place among bulk is kept."""

    def __init__(self) -> None:
        self.size = 0
        """Bytes of all streams that wait."""
        self._ready = 0
        """How many have bytes, and wait for their turn and not for their window."""
        self._bodies: dict[int, Body] = {}
        self._prompt: deque[int] = deque()
        self._bulk: deque[int] = deque()

    @property
    def waiting(self) -> bool:
        """Whether anybody waits for a turn, and not for its window."""
        return self._ready > 0

    def holds(self, stream_id: int) -> bool:
        """Whether more of this stream comes behind something: its own bytes, or others' turns."""
        return stream_id in self._bodies

    def queued(self, stream_id: int) -> int:
        body = self._bodies.get(stream_id)
        return 0 if body is None else body.size

    def put(self, stream_id: int, data: bytes) -> None:
        """More of a stream that has not ended. `data` is not empty."""
        body = self._bodies.get(stream_id)
        if body is None:
            body = self._bodies[stream_id] = Body()
            body.bulk = len(data) >= BULK_BYTES
            (self._bulk if body.bulk else self._prompt).append(stream_id)
        if not body.size and not body.shut:
            self._ready += 1
        body.put(data)
        self.size += len(data)
        if not body.bulk and body.size >= BULK_BYTES:
            body.bulk = True
            if not body.shut:
                # Its place among the prompt is void: see `_serve`.
                self._bulk.append(stream_id)

    def end(self, stream_id: int, trailers: Sequence[Header] | None) -> bool:
        """The stream ends behind what waits of it. False if nothing does: the end can go at once."""
        body = self._bodies.get(stream_id)
        if body is None or not body.size:
            return False
        body.ended, body.trailers = True, trailers
        return True

    def forget(self, stream_id: int) -> None:
        """The stream is gone, and what waits of it goes nowhere."""
        body = self._bodies.pop(stream_id, None)
        if body is not None and body.size:
            self.size -= body.size
            self._ready -= not body.shut

    def clear(self) -> None:
        self._bodies.clear()
        self._prompt.clear()
        self._bulk.clear()
        self.size = self._ready = 0

    def opened(self, stream_id: int) -> None:
        """The peer has opened this stream's window (0: maybe all of them)."""
        if stream_id:
            body = self._bodies.get(stream_id)
            if body is not None and body.shut:
                self._queue_again(stream_id, body)
        else:
            for waiting_id, body in self._bodies.items():
                # It may also have become smaller.
                body.window = 0
                if body.shut:
                    self._queue_again(waiting_id, body)

    def _queue_again(self, stream_id: int, body: Body) -> None:
        body.shut = False
        self._ready += 1
        (self._bulk if body.bulk else self._prompt).append(stream_id)

    def send(self, room: int, prompt_room: int, sink: BodySink) -> int:
        """Gives those whose turn it is to `sink`, up to `room` bytes; of these `prompt_room` to prompt bodies, or more
        if bulk does not need the rest. Returns how many bytes that were."""
        left = room
        if self._prompt:
            left -= self._serve(self._prompt, min(room, prompt_room) if self._bulk else room, sink)
        if self._bulk and left > 0:
            left -= self._serve(self._bulk, left, sink)
        if self._prompt and left > 0:
            left -= self._serve(self._prompt, left, sink)
        return room - left

    def _serve(self, queue: deque[int], room: int, sink: BodySink) -> int:
        """One queue's streams in turn, until the room is used or all have been asked in vain."""
        bulk = queue is self._bulk
        left, in_vain = room, 0
        turn_bytes = max(TURN_BYTES, room // min(TURNS, len(queue)))
        while left > 0 and self._ready and in_vain < len(queue):
            stream_id = queue.popleft()
            body = self._bodies.get(stream_id)
            if body is None or body.bulk != bulk:
                continue
            if not body.size:
                # Its turn has come again, and it had nothing in between.
                del self._bodies[stream_id]
                continue
            size = min(left, turn_bytes, body.size)
            if body.window < size:
                body.window = sink.body_window(stream_id)
                size = min(size, body.window)
            if size > 0:
                in_vain = 0
                left -= size
                self._send_turn(stream_id, body, size, sink)
            elif size == 0:
                body.shut = True
                self._ready -= 1
                continue
            else:
                in_vain += 1
            if body.size or body.bulk:
                queue.append(stream_id)
        return room - left

    def _send_turn(self, stream_id: int, body: Body, size: int, sink: BodySink) -> None:
        """A stream's turn, with its end if that comes with it."""
        body.window -= size
        self.size -= size
        last = body.ended and body.size == size
        while size:
            data = body.take(size)
            size -= len(data)
            sink.send_body(stream_id, data, last and not size and body.trailers is None)
        if not body.size:
            self._ready -= 1
            if last or not body.bulk:
                self._bodies.pop(stream_id, None)
            if last and body.trailers is not None:
                sink.send_last(stream_id, body.trailers)
