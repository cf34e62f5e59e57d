"""The driver of one connection: a non-blocking socket on one side, a codec on the other.

One trio task reads a connection. What it read becomes events, events become commands on this or another connection's
codec, and when the chunk is done every connection that has something to say is flushed once (`Flusher`). There is no
task, lock or channel for a request. A second task exists only while a socket is full.

Backpressure: a `Relay` counts what one stream's body gave to another connection. The source's window is given back
only when the sink's codec has handed those bytes to its socket, so a slow reader stops the far sender and at most
one window of each stream is held here.
"""

from __future__ import annotations

import logging
import socket
import ssl
from collections.abc import Callable
from typing import Protocol

import trio

from gateway.codec.events import (
    Data,
    ErrorCode,
    Event,
    GoAway,
    Header,
    Informational,
    PingAck,
    Request,
    RequestHead,
    Reset,
    Response,
    ResponseHead,
    Trailers,
    Writable,
)
from gateway.codec.interface import Codec

log = logging.getLogger("isthmus.connection")

READ_BYTES = 65_536
# After so many chunks in a row a connection lets the others have a turn.
CHUNKS_PER_TURN = 16
# A stream whose sink holds more than this unsent is not given more window yet.
LOW_WATER_BYTES = 32_768
# How long the rest of a failed request is read and thrown away, so that the refusal arrives before the reset does
# (RFC 9112 section 9.6).
LINGER_S = 1.0

WOULD_BLOCK = (BlockingIOError, ssl.SSLWantReadError, ssl.SSLWantWriteError)


class Flusher:
    """The connections that have something to send, each flushed once when the present chunk has been handled."""

    def __init__(self) -> None:
        self.dirty: list[Connection] = []

    def flush(self) -> None:
        # Flushing one connection may give another one's window back, which makes that one dirty again.
        while self.dirty:
            dirty, self.dirty = self.dirty, []
            for connection in dirty:
                connection.flush()


class Relay:
    """One direction of one exchange's body, from the source's stream to a sink."""

    __slots__ = ("owed", "queued", "source", "source_stream")

    def __init__(self, source: Connection, source_stream: int) -> None:
        self.source = source
        self.source_stream = source_stream
        self.owed = 0
        self.queued = False

    def settle(self) -> None:
        """What was owed has been handed on, or is no longer wanted: the source may send as much again."""
        self.queued = False
        if self.owed:
            owed, self.owed = self.owed, 0
            self.source.codec.consumed(self.source_stream, owed)
            self.source.touch()


class Connection:
    """What client and server connections have in common: reading, flushing, settling, closing."""

    def __init__(self, flusher: Flusher, nursery: trio.Nursery, sock: socket.socket, codec: Codec) -> None:
        self.codec = codec
        self.sock = sock
        self.closed = False
        self.received_eof = False
        self.last_active = 0.0
        self._flusher = flusher
        self._nursery = nursery
        self._out = b""
        self._dirty = False
        self._writing = False
        self._half_closed = False
        self._parked: trio.lowlevel.Task | None = None
        self._unsettled: list[tuple[int, Relay]] = []
        self._blocked: dict[int, Relay] = {}

    # What a kind of connection adds.

    def _dispatch(self, event: Event) -> None:
        raise NotImplementedError

    def _end_streams(self) -> None:
        """The connection is gone: whatever it still carried is told."""
        raise NotImplementedError

    # Sending.

    def touch(self) -> None:
        """Something was given to the codec: flush when the present chunk has been handled."""
        if not self._dirty and not self.closed:
            self._dirty = True
            self._flusher.dirty.append(self)

    def relay(self, stream_id: int, data: bytes, end_stream: bool, relay: Relay) -> None:
        """Sends body bytes that came from `relay`'s source."""
        self.codec.send_data(stream_id, data, end_stream)
        relay.owed += len(data)
        if not relay.queued:
            relay.queued = True
            self._unsettled.append((stream_id, relay))
        self.touch()

    def flush(self) -> None:
        self._dirty = False
        if self.closed or self._writing:
            return
        if not self._send():
            return
        if self._unsettled:
            self._settle()
        if not self._out:
            if self.codec.closing:
                self._close_politely()
            elif self.codec.half_closed and not self._half_closed:
                self._half_closed = True
                self._shutdown_sending()
        self._unpark()

    def _send(self) -> bool:
        """Gives the socket what it takes. False if the connection is lost."""
        while True:
            out = self._out or self.codec.data_to_send()
            if not out:
                return True
            try:
                sent = self.sock.send(out)
            except WOULD_BLOCK:
                sent = 0
            except OSError:
                self.abort()
                return False
            if sent == len(out):
                self._out = b""
                continue
            # After SSLWantWrite the very same bytes must be offered again, so they stay in `_out`.
            self._out = out[sent:]
            if not self._writing:
                self._writing = True
                self._nursery.start_soon(self._write_when_possible)
            return True

    async def _write_when_possible(self) -> None:
        try:
            while self._out and not self.closed:
                await trio.lowlevel.wait_writable(self.sock)
                if not self._send():
                    return
        except (trio.ClosedResourceError, OSError):
            return
        finally:
            self._writing = False
        self.flush()
        self._flusher.flush()

    def _settle(self) -> None:
        if self._out:
            return
        unsettled, self._unsettled = self._unsettled, []
        for stream_id, relay in unsettled:
            if self.codec.queued(stream_id) > LOW_WATER_BYTES:
                self._blocked[stream_id] = relay
            else:
                relay.settle()

    def forget(self, stream_id: int) -> None:
        """The stream has ended: nothing of it is waited for any more."""
        if relay := self._blocked.pop(stream_id, None):
            relay.settle()

    def _reconsider(self, stream_id: int) -> None:
        """The peer opened a window: what waited for it is looked at again after the next flush."""
        if stream_id:
            if relay := self._blocked.pop(stream_id, None):
                self._unsettled.append((stream_id, relay))
                self.touch()
        elif self._blocked:
            self._unsettled.extend(self._blocked.items())
            self._blocked.clear()
            self.touch()

    # Reading.

    async def run(self) -> None:
        """Reads until the connection ends. Never raises for anything that the peer did."""
        try:
            await self._read()
        except (trio.ClosedResourceError, OSError):
            pass
        except Exception:
            log.exception("a connection failed in a way that nobody foresaw; it is closed")
        finally:
            self.abort()
            self._end_streams()
            self._flusher.flush()

    async def _read(self) -> None:
        self._handle(self.codec.resume())
        chunks = 0
        while not self.closed:
            if self.codec.paused:
                await self._park()
                self._handle(self.codec.resume())
                continue
            try:
                data = self.sock.recv(READ_BYTES)
            except ssl.SSLWantWriteError:
                await trio.lowlevel.wait_writable(self.sock)
                continue
            except WOULD_BLOCK:
                await trio.lowlevel.wait_readable(self.sock)
                continue
            if not data:
                self.received_eof = True
                self._handle(self.codec.receive_eof())
                break
            self._handle(self.codec.receive(data))
            if self.codec.failure is not None:
                await self._linger()
                return
            chunks += 1
            if chunks % CHUNKS_PER_TURN == 0:
                await trio.lowlevel.checkpoint()
        # The peer said all that it will say; what we still have for it goes out.
        while not self.closed:
            await self._park()

    def _handle(self, events: list[Event]) -> None:
        self.last_active = trio.current_time()
        for event in events:
            self._dispatch(event)
        self.touch()
        self._flusher.flush()

    async def _park(self) -> None:
        """Sleeps until the codec takes bytes again, or the connection ends."""
        self._parked = trio.lowlevel.current_task()

        def abort(_: Callable[[], None]) -> trio.lowlevel.Abort:
            self._parked = None
            return trio.lowlevel.Abort.SUCCEEDED

        await trio.lowlevel.wait_task_rescheduled(abort)

    def _unpark(self) -> None:
        if self._parked is not None and (self.closed or not self.codec.paused):
            parked, self._parked = self._parked, None
            trio.lowlevel.reschedule(parked)

    # Ending.

    async def _linger(self) -> None:
        with trio.move_on_after(LINGER_S):
            while not self.closed:
                try:
                    if not self.sock.recv(READ_BYTES):
                        return
                except WOULD_BLOCK:
                    await trio.lowlevel.wait_readable(self.sock)

    def _close_politely(self) -> None:
        if self.codec.failure is not None:
            self._shutdown_sending()
        else:
            self.abort()

    def _shutdown_sending(self) -> None:
        try:
            self.sock.shutdown(socket.SHUT_WR)
        except OSError:
            self.abort()

    def abort(self) -> None:
        """Closes the socket at once. The reading task tells the streams."""
        if self.closed:
            return
        self.closed = True
        trio.lowlevel.notify_closing(self.sock)
        self.sock.close()
        self._unpark()
        for relay in [relay for _, relay in self._unsettled] + [*self._blocked.values()]:
            relay.settle()
        self._unsettled.clear()
        self._blocked.clear()


class RequestHandler(Protocol):
    """What a server's connection tells about one of its streams."""

    def on_request_data(self, data: bytes, end_stream: bool) -> None: ...
    def on_request_trailers(self, headers: list[Header]) -> None: ...
    def on_request_reset(self) -> None: ...


class ServerConnection(Connection):
    """A connection that asks us: a local workload's, or a peer gateway's."""

    def __init__(
        self,
        flusher: Flusher,
        nursery: trio.Nursery,
        sock: socket.socket,
        codec: Codec,
        begin: Callable[[ServerConnection, int, RequestHead, bool], RequestHandler | None],
    ) -> None:
        super().__init__(flusher, nursery, sock, codec)
        self.handlers: dict[int, RequestHandler] = {}
        self._begin = begin

    def _dispatch(self, event: Event) -> None:
        if type(event) is Request:
            self._begin(self, event.stream_id, event.head, event.end_stream)
        elif type(event) is Data:
            handler = self.handlers.get(event.stream_id)
            if handler is None:
                self.codec.consumed(event.stream_id, len(event.data))
            else:
                handler.on_request_data(event.data, event.end_stream)
        elif type(event) is Trailers:
            if handler := self.handlers.get(event.stream_id):
                handler.on_request_trailers(event.headers)
        elif type(event) is Reset:
            if handler := self.handlers.pop(event.stream_id, None):
                handler.on_request_reset()
        elif type(event) is Writable:
            self._reconsider(event.stream_id)

    def _end_streams(self) -> None:
        for handler in [*self.handlers.values()]:
            handler.on_request_reset()


class ResponseHandler(Protocol):
    """What a client's connection tells about one of its streams."""

    def on_informational(self, head: ResponseHead) -> None: ...
    def on_response(self, head: ResponseHead, end_stream: bool) -> None: ...
    def on_response_data(self, data: bytes, end_stream: bool) -> None: ...
    def on_response_trailers(self, headers: list[Header]) -> None: ...
    def on_response_reset(self, code: int, *, unprocessed: bool, lost: bool) -> None: ...


class ClientConnection(Connection):
    """A connection that we ask: a tunnel to a peer gateway, or one to a local endpoint."""

    def __init__(
        self,
        flusher: Flusher,
        nursery: trio.Nursery,
        sock: socket.socket,
        codec: Codec,
        *,
        released: Callable[[ClientConnection], None] = lambda connection: None,
        ended: Callable[[ClientConnection], None] = lambda connection: None,
        ping_ack: Callable[[bytes], None] = lambda payload: None,
    ) -> None:
        """`released`: a stream has ended, the connection may be used again. `ended`: it is gone."""
        super().__init__(flusher, nursery, sock, codec)
        self.handlers: dict[int, ResponseHandler] = {}
        self._released = released
        self._ended = ended
        self._ping_ack = ping_ack

    @property
    def usable(self) -> bool:
        return not self.closed and self.codec.can_open

    def open(self, head: RequestHead, end_stream: bool, handler: ResponseHandler) -> int:
        """Begins a request; only when `usable`."""
        stream_id = self.codec.send_request(head, end_stream)
        self.handlers[stream_id] = handler
        self.touch()
        return stream_id

    def release(self, stream_id: int) -> None:
        """The caller needs nothing more of this stream, which has ended on both sides."""
        if self.handlers.pop(stream_id, None) is not None:
            self.forget(stream_id)
            self._released(self)

    def give_up(self, stream_id: int, code: int) -> None:
        """Resets a stream that has not ended. On HTTP/1.1 and TCP that ends the connection."""
        if self.handlers.pop(stream_id, None) is not None:
            self.forget(stream_id)
            self.codec.reset(stream_id, code)
            self.touch()

    def _dispatch(self, event: Event) -> None:
        if type(event) is Writable:
            self._reconsider(event.stream_id)
        elif type(event) is PingAck:
            self._ping_ack(event.payload)
        elif type(event) is not GoAway:
            self._dispatch_to_stream(event)

    def _dispatch_to_stream(self, event: Event) -> None:
        if isinstance(event, Reset):
            if handler := self.handlers.pop(event.stream_id, None):
                self.forget(event.stream_id)
                lost = self.closed or self.received_eof
                handler.on_response_reset(event.code, unprocessed=event.unprocessed, lost=lost)
            return
        assert isinstance(event, Response | Data | Trailers | Informational)
        handler = self.handlers.get(event.stream_id)
        if handler is None:
            if isinstance(event, Data):
                self.codec.consumed(event.stream_id, len(event.data))
        elif isinstance(event, Data):
            handler.on_response_data(event.data, event.end_stream)
        elif isinstance(event, Response):
            handler.on_response(event.head, event.end_stream)
        elif isinstance(event, Trailers):
            handler.on_response_trailers(event.headers)
        else:
            handler.on_informational(event.head)

    def _end_streams(self) -> None:
        for stream_id in [*self.handlers]:
            self._dispatch_to_stream(Reset(stream_id, ErrorCode.CANCEL))
        self._ended(self)
