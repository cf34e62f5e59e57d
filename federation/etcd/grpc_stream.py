"""One RPC on a connection: what came, what waits to be sent, how it ended."""

from __future__ import annotations

from collections import deque
from typing import Protocol

import trio

from federation.etcd.errors import RpcError
from federation.etcd.framing import MessageReader, encode_message

STREAM_WINDOW_BYTES = 4 * 1024 * 1024
"""How much of one answer may be on its way. A message may be larger: its bytes are given back as they come."""
BACKLOG_BYTES = 8 * 1024 * 1024
"""Whole messages that nobody took yet; beyond it the server is held back, on this stream only."""


class StreamOwner(Protocol):
    """What a stream asks of its connection. None of it waits."""

    def pump(self, stream: GrpcStream) -> None:
        """Sends of `stream.unsent` what the peer's windows let through."""

    def return_window(self, stream: GrpcStream, size_bytes: int) -> None:
        """Lets the peer send as many bytes more on that stream."""


class GrpcStream:
    """An RPC in progress. One task reads it; `send` may be called by any."""

    def __init__(self, owner: StreamOwner, stream_id: int) -> None:
        self.stream_id = stream_id
        self.unsent = bytearray()
        self.end_after_unsent = False
        self.sent_end = False
        self.peer_ended = False
        """Whether the server ended it; `ended` is also set when we refuse what it sent."""
        self.ended = False
        self._owner = owner
        self._error: RpcError | None = None
        self._reader = MessageReader()
        self._messages: deque[bytes] = deque()
        self._backlog_bytes = 0
        self._withheld_bytes = 0
        self._wake = trio.Event()

    def send(self, payload: bytes, *, end: bool) -> None:
        """Queues a message; `end` closes our side after it."""
        self.unsent += encode_message(payload)
        self.end_after_unsent = end
        self._owner.pump(self)

    async def receive(self) -> bytes | None:
        """The next message, or None when the RPC ended with status OK. Raises RpcError when it ended otherwise."""
        if self._messages or self.ended:
            # A flood of messages must not keep the reader from letting others run.
            await trio.lowlevel.checkpoint()
        while not self._messages and not self.ended:
            self._wake = trio.Event()
            await self._wake.wait()
        if self._messages:
            message = self._messages.popleft()
            self._backlog_bytes -= len(message)
            self._give_back()
            return message
        if self._error is not None:
            raise self._error
        return None

    def feed(self, data: bytes, counted_bytes: int) -> None:
        """DATA came; `counted_bytes` is what it took of the stream's window, padding included."""
        if self.ended:
            return
        try:
            messages = self._reader.feed(data)
        except RpcError as error:
            self.finish(error)
            return
        self._messages.extend(messages)
        self._backlog_bytes += sum(map(len, messages))
        self._withheld_bytes += counted_bytes
        self._give_back()
        if messages:
            self._wake.set()

    def finish(self, error: RpcError | None) -> None:
        """The RPC is over: `error` is None for status OK. What came before can still be received."""
        if not self.ended:
            self.ended = True
            self._error = error
            self._wake.set()

    def _give_back(self) -> None:
        if self._withheld_bytes >= STREAM_WINDOW_BYTES // 2 and self._backlog_bytes < BACKLOG_BYTES and not self.ended:
            size_bytes, self._withheld_bytes = self._withheld_bytes, 0
            self._owner.return_window(self, size_bytes)
