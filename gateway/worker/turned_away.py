"""Local connections over the limit: each is told so in its own protocol, and ends.

To be told costs a connection as well, for a moment, so there is a bound on that: what is beyond it is closed at once.
"""

from __future__ import annotations

import socket
from collections.abc import Callable

from gateway.codec.events import RequestHead
from gateway.codec.headers import find
from gateway.codec.interface import Codec
from gateway.request.refusal import refusal
from gateway.transport.reactor import Reactor
from gateway.transport.server_connection import ServerConnection

CONNECTION_LIMIT = "connection-limit"
AT_ONCE = 64
HEARING_S = 1.0
"""In which a client sends its first request and reads the answer."""


class TurnedAway:
    """Those that are being told. `where` names this gateway, for people."""

    def __init__(self, reactor: Reactor, where: Callable[[], str]) -> None:
        self.connections: set[ServerConnection] = set()
        self._reactor = reactor
        self._where = where

    def add(self, sock: socket.SocketType, codec: Codec, detail: str) -> None:
        """Owns `sock` from now on. The caller flushes the reactor, unless the reactor called it."""
        if len(self.connections) >= AT_ONCE:
            sock.close()
            return

        def begin(conn: ServerConnection, stream_id: int, head: RequestHead, end_stream: bool) -> None:
            self._refuse(conn, stream_id, head, detail)

        conn = ServerConnection(self._reactor, sock, codec, begin)
        self.connections.add(conn)
        conn.on_end = lambda: self.connections.discard(conn)
        conn.start()
        self._reactor.call_at(self._reactor.now + HEARING_S, conn.abort)

    def _refuse(self, conn: ServerConnection, stream_id: int, head: RequestHead, detail: str) -> None:
        codec = conn.codec
        grpc = find(head.headers, b"content-type").startswith(b"application/grpc")
        answer, body = refusal(head, status=503, reason=CONNECTION_LIMIT, detail=detail, where=self._where(), grpc=grpc)
        # Before the answer, so that an HTTP/1.1 one says that the connection ends.
        codec.drain()
        codec.send_response(stream_id, answer, not body)
        if body:
            codec.send_data(stream_id, body, True)
        codec.drained()
        conn.touch()
