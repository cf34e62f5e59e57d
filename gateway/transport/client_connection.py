"""A connection that we ask: a tunnel to a peer's gateway, or one to a local endpoint."""

from __future__ import annotations

import socket
from abc import ABC, abstractmethod
from collections.abc import Callable
from typing import Final

from mypy_extensions import mypyc_attr

from gateway.codec.events import (
    Data,
    ErrorCode,
    Event,
    GoAway,
    Header,
    Informational,
    PingAck,
    RequestHead,
    Reset,
    Response,
    ResponseHead,
    Trailers,
    Writable,
)
from gateway.codec.interface import Codec
from gateway.transport.connection import Connection
from gateway.transport.reactor import Reactor
from gateway.transport.tls_socket import TlsSocket

GOAWAY_DEBUG_BYTES: Final = 64


@mypyc_attr(allow_interpreted_subclasses=True)
class ResponseHandler(ABC):
    """What a client's connection tells about one of its streams."""

    @abstractmethod
    def on_informational(self, head: ResponseHead) -> None: ...

    @abstractmethod
    def on_response(self, head: ResponseHead, end_stream: bool) -> None: ...

    @abstractmethod
    def on_response_data(self, data: bytes, end_stream: bool) -> None: ...

    @abstractmethod
    def on_response_trailers(self, headers: list[Header]) -> None: ...

    @abstractmethod
    def on_response_reset(self, code: int, *, unprocessed: bool, lost: bool) -> None: ...

    @abstractmethod
    def on_stall(self, *, mute: bool) -> None:
        """The connection is silent. What may be done elsewhere shall be; the rest stays, it may still be answered. When
        it is `mute`, for seconds that is, the rest ends as well if it could begin again elsewhere."""


class ClientConnection(Connection):
    """A connection that we ask: a tunnel to a peer gateway, or one to a local endpoint."""

    def __init__(
        self,
        reactor: Reactor,
        sock: socket.SocketType | TlsSocket,
        codec: Codec,
        *,
        released: Callable[[ClientConnection], None] = lambda connection: None,
        ping_ack: Callable[[bytes], None] = lambda payload: None,
        going_away: Callable[[], None] = lambda: None,
    ) -> None:
        """`released`: a stream has ended, the connection may be used again. `going_away`: it takes no new ones."""
        super().__init__(reactor, sock, codec)
        self.handlers: dict[int, ResponseHandler] = {}
        self.last_stream = 0
        """The last request's stream; 0 before there was one."""
        self.settled = 0
        """Of its streams, those so old that they say nothing of how busy it is: TCP streams, WebSockets, watches."""
        self.goaway_code: int | None = None
        """Why the far end takes no new streams, if it has said so."""
        self.goaway_debug = b""
        """The beginning of what it said beside."""
        self._sent_until = 0
        """The last stream of which anything may have left: of those after it the far end knows nothing."""
        self._released = released
        self._ping_ack = ping_ack
        self._going_away = going_away

    @property
    def gone(self) -> bool:
        """Whether it has ended, or the peer has ended it."""
        return self.closed or self.received_eof

    @property
    def usable(self) -> bool:
        return not self.closed and self.codec.can_open

    @property
    def load(self) -> int:
        """Requests in progress that have not settled."""
        load = len(self.handlers) - self.settled
        # Those that have ended since they were counted.
        return load if load > 0 else 0

    def open(self, head: RequestHead, end_stream: bool, handler: ResponseHandler) -> int:
        """Begins a request; only when `usable`."""
        stream_id = self.last_stream = self.codec.send_request(head, end_stream)
        self.handlers[stream_id] = handler
        self.touch()
        return stream_id

    def release(self, stream_id: int) -> None:
        """The caller needs nothing more of this stream, which has ended on both sides."""
        if self.handlers.pop(stream_id, None) is not None:
            self.forget(stream_id)
            self._released(self)

    def stall(self, *, mute: bool) -> None:
        """The far end does not answer. The caller flushes the reactor."""
        for handler in [*self.handlers.values()]:
            handler.on_stall(mute=mute)

    def give_up(self, stream_id: int, code: int) -> None:
        """Resets a stream that has not ended. On HTTP/1.1 and TCP that ends the connection."""
        if self.handlers.pop(stream_id, None) is not None:
            self.forget(stream_id)
            self.codec.reset(stream_id, code)
            self.touch()

    def _dispatch(self, event: Event) -> None:
        """The frequent kinds come first."""
        if type(event) is Data:
            handler = self.handlers.get(event.stream_id)
            if handler is None:
                self.codec.consumed(event.stream_id, len(event.data))
            else:
                handler.on_response_data(event.data, event.end_stream)
        elif type(event) is Response:
            if handler := self.handlers.get(event.stream_id):
                handler.on_response(event.head, event.end_stream)
        elif type(event) is Writable:
            self._relays.reconsider(event.stream_id)
        elif type(event) is Trailers:
            if handler := self.handlers.get(event.stream_id):
                handler.on_response_trailers(event.headers)
        elif type(event) is Reset:
            if handler := self.handlers.pop(event.stream_id, None):
                self.forget(event.stream_id)
                lost = self.closed or self.received_eof
                unprocessed = event.unprocessed or (lost and event.stream_id > self._sent_until)
                handler.on_response_reset(event.code, unprocessed=unprocessed, lost=lost)
        elif type(event) is Informational:
            if handler := self.handlers.get(event.stream_id):
                handler.on_informational(event.head)
        elif type(event) is PingAck:
            self._ping_ack(event.payload)
        elif type(event) is GoAway:
            self.goaway_code, self.goaway_debug = event.code, event.debug[:GOAWAY_DEBUG_BYTES]
            self._going_away()

    def _send(self) -> bool:
        begun = self.last_stream
        if self._tls is not None:
            # Of what TLS could not send whole, a part may have left.
            self._sent_until = begun
        if not super()._send():
            return False
        self._sent_until = begun
        return True

    def _end_seen(self) -> None:
        # At once: neither what begins in this turn nor what begins again elsewhere may be sent here.
        self._going_away()

    def _end_streams(self) -> None:
        for stream_id in [*self.handlers]:
            self._dispatch(Reset(stream_id, ErrorCode.CANCEL))
