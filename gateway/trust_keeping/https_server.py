"""One document over HTTPS: one GET a connection, for readers that come every few minutes from anywhere.

Everything is bounded: connections at once, the time of each, the size of a request's head. What a client sends ends at
most its own connection.
"""

from __future__ import annotations

import http
import logging
import socket
import ssl
from collections.abc import Callable

import h11
import trio

log = logging.getLogger("isthmus.bundle_endpoint")

CONNECTIONS_LIMIT = 64
EXCHANGE_S = 10.0
_HEAD_BYTES = 8_192
_READ_BYTES = 8_192


class DocumentServer:
    """Serves what `document` gives (JSON) at `/`. `context` is asked for each connection, since certificates change; it
    raises OSError or TrustError when there is none now."""

    def __init__(self, document: Callable[[], bytes], context: Callable[[], ssl.SSLContext]) -> None:
        self._document = document
        self._context = context
        self._open = 0

    async def serve(self, sock: socket.socket) -> None:
        """Serves a listening socket until cancelled, and closes it."""
        listener = trio.SocketListener(trio.socket.from_stdlib_socket(sock))
        await trio.serve_listeners(self._accept, [listener])

    async def _accept(self, stream: trio.SocketStream) -> None:
        self._open += 1
        try:
            if self._open <= CONNECTIONS_LIMIT:
                with trio.move_on_after(EXCHANGE_S):
                    await self._answer(stream)
        except (trio.BrokenResourceError, trio.ClosedResourceError):
            pass  # It went away, or could not shake hands.
        except Exception as error:
            # A certificate that can't be read now, or a defect: nobody's connection may end a controller.
            log.error("a bundle could not be served: %s: %s", type(error).__name__, error)
        finally:
            self._open -= 1
            await trio.aclose_forcefully(stream)

    async def _answer(self, stream: trio.SocketStream) -> None:
        tls = trio.SSLStream(stream, self._context(), server_side=True, https_compatible=True)
        await tls.do_handshake()
        connection = h11.Connection(h11.SERVER, max_incomplete_event_size=_HEAD_BYTES)
        try:
            request = await _read_request(tls, connection)
        except h11.RemoteProtocolError as error:
            await _send(tls, connection, error.error_status_hint, b"", [])
        else:
            if request is None:
                return
            await _send(tls, connection, *self._respond(request))
        await tls.aclose()

    def _respond(self, request: h11.Request) -> tuple[int, bytes, list[tuple[bytes, bytes]]]:
        if request.target.partition(b"?")[0] != b"/":
            return http.HTTPStatus.NOT_FOUND, b"", []
        if request.method != b"GET":
            return http.HTTPStatus.METHOD_NOT_ALLOWED, b"", [(b"allow", b"GET")]
        return http.HTTPStatus.OK, self._document(), [(b"content-type", b"application/json")]


async def _read_request(tls: trio.SSLStream[trio.SocketStream], connection: h11.Connection) -> h11.Request | None:
    """The head of a request; a body is not read. None when the client went away before."""
    while True:
        event = connection.next_event()
        if isinstance(event, h11.Request):
            return event
        if event is not h11.NEED_DATA:
            return None
        data = bytes(await tls.receive_some(_READ_BYTES))
        if not data:
            return None
        connection.receive_data(data)


async def _send(
    tls: trio.SSLStream[trio.SocketStream],
    connection: h11.Connection,
    status: int,
    body: bytes,
    headers: list[tuple[bytes, bytes]],
) -> None:
    length = (b"content-length", b"%d" % len(body))
    head = h11.Response(status_code=status, headers=[*headers, length, (b"connection", b"close")])
    parts = [connection.send(event) for event in (head, h11.Data(data=body), h11.EndOfMessage())]
    await tls.send_all(b"".join(part for part in parts if part))
