"""A connection that asks us: a local workload's, or a peer gateway's."""

from __future__ import annotations

import socket
from abc import ABC, abstractmethod
from collections.abc import Callable

from mypy_extensions import mypyc_attr

from gateway.codec.events import Data, Event, Header, Refused, Request, RequestHead, Reset, Trailers, Writable
from gateway.codec.interface import Codec
from gateway.codec.sniff import SniffingServerCodec
from gateway.transport.connection import Connection
from gateway.transport.reactor import READ, Reactor
from gateway.transport.tls_socket import TlsSocket


@mypyc_attr(allow_interpreted_subclasses=True)
class RequestHandler(ABC):
    """What a server's connection tells about one of its streams."""

    @abstractmethod
    def on_request_data(self, data: bytes, end_stream: bool) -> None: ...

    @abstractmethod
    def on_request_trailers(self, headers: list[Header]) -> None: ...

    @abstractmethod
    def on_request_reset(self) -> None: ...


class ServerConnection(Connection):
    """A connection that asks us: a local workload's, or a peer gateway's."""

    def __init__(
        self,
        reactor: Reactor,
        sock: socket.SocketType | TlsSocket,
        codec: Codec,
        begin: Callable[[ServerConnection, int, RequestHead, bool], RequestHandler | None],
    ) -> None:
        super().__init__(reactor, sock, codec)
        self.handlers: dict[int, RequestHandler] = {}
        self.requests = 0
        self.on_refused: Callable[[str, str], None] | None = None
        """Called with a code and a detail when a stream was turned away before it was anybody's request, and with those
        of its failure when the connection is gone."""
        self._begin = begin

    def start(self) -> None:
        super().start()
        # A local client has mostly spoken before it was accepted.
        if self._plain is not None and not self.closed and not self._paused:
            self._ready(READ)

    def _dispatch(self, event: Event) -> None:
        if type(event) is Request:
            if self._hung_up:
                # Nobody is there for the answer.
                return
            self.requests += 1
            if type(self.codec) is SniffingServerCodec:
                # It has made up its mind: from here on without a man in the middle.
                self.codec = self.codec.chosen
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
            self.forget(event.stream_id)
            if handler := self.handlers.pop(event.stream_id, None):
                handler.on_request_reset()
        elif type(event) is Writable:
            self._relays.reconsider(event.stream_id)
        elif type(event) is Refused and self.on_refused is not None:
            self.on_refused(event.code, event.detail)

    def _end_streams(self) -> None:
        failure = self.codec.failure
        # Nothing comes after this; see `Connection._end`.
        on_refused, self.on_refused = self.on_refused, None
        if failure is not None and on_refused is not None:
            on_refused(failure.code, failure.detail)
        for handler in [*self.handlers.values()]:
            handler.on_request_reset()
