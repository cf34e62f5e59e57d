"""`python endpoint_server.py KIND PORT`: an endpoint on 127.0.0.1 that does next to nothing for each request.

One process, one epoll loop, no event library: it must not be what a benchmark measures. It imports nothing of ours.

    http   any HTTP/1.1 request without a body is answered with 48 bytes
    grpc   any HTTP/2 request is answered with one gRPC message and `grpc-status: 0`
    tcp    the first 8 bytes say how many bytes the client wants, sent before the connection is closed; if that
           is 0, it sends bytes until its end of the stream, and is told in 8 bytes how many came
"""

from __future__ import annotations

import select
import socket
import sys
from collections.abc import Callable

_READ_BYTES = 1 << 18
_TURN_BYTES = 1 << 20
_BODY = b"hello from the endpoint, this is a body of bytes"
_HTTP_ANSWER = b"HTTP/1.1 200 OK\r\nserver: bench\r\ncontent-type: text/plain\r\ncontent-length: %d\r\n\r\n%b" % (
    len(_BODY),
    _BODY,
)
_GRPC_HEAD = [(b":status", b"200"), (b"content-type", b"application/grpc")]
_GRPC_MESSAGE = b"\0" + len(_BODY).to_bytes(4, "big") + _BODY
_GRPC_TRAILERS = [(b"grpc-status", b"0")]
_CHUNK = memoryview(bytes(_READ_BYTES))


class HttpConnection:
    """HTTP/1.1, pipelining included. A request ends with its head."""

    def __init__(self, sock: socket.socket) -> None:
        self._sock = sock
        self._tail = b""

    def on_ready(self) -> bool:
        """Handles what is there. False when the connection has ended."""
        data = self._sock.recv(_READ_BYTES)
        if not data:
            return False
        data = self._tail + data
        requests = data.count(b"\r\n\r\n")
        self._tail = data[data.rfind(b"\r\n\r\n") + 4 :] if requests else data
        if requests:
            self._sock.sendall(_HTTP_ANSWER * requests)
        return True


class GrpcConnection:
    """HTTP/2 with prior knowledge; a request is answered when all of it has come."""

    def __init__(self, sock: socket.socket) -> None:
        import ngh2

        self._sock = sock
        self._http2 = ngh2.Connection(ngh2.Role.SERVER)
        self._http2.initiate_connection({ngh2.Setting.MAX_CONCURRENT_STREAMS: 1000})
        self._gone = ngh2.StreamProtocolError
        self._whole = (ngh2.RequestReceived, ngh2.DataReceived)

    def on_ready(self) -> bool:
        data = self._sock.recv(_READ_BYTES)
        if not data:
            return False
        self._http2.receive_data(data)
        for event in self._http2.events():
            if isinstance(event, self._whole) and event.end_stream:
                self._answer(event.stream_id)
        self._sock.sendall(self._http2.data_to_send())
        return True

    def _answer(self, stream_id: int) -> None:
        try:
            self._http2.send_response(stream_id, _GRPC_HEAD)
            self._http2.send_data(stream_id, _GRPC_MESSAGE)
            self._http2.send_trailers(stream_id, _GRPC_TRAILERS)
        except self._gone:
            # The client gave it up in the same turn, as it does when a load ends.
            pass


class TcpConnection:
    """A source or a sink of bytes, as the client's first 8 bytes say."""

    def __init__(self, sock: socket.socket) -> None:
        self._sock = sock
        self._order = b""
        self._received = 0
        self._left = 0
        self._buffer = bytearray(_READ_BYTES)

    def on_ready(self) -> bool:
        if self._left:
            return self._send()
        if len(self._order) < 8:
            return self._take_order()
        size = self._sock.recv_into(self._buffer)
        self._received += size
        if size == 0:
            self._sock.sendall(self._received.to_bytes(8, "big"))
        return size > 0

    def wants_to_send(self) -> bool:
        return self._left > 0

    def _take_order(self) -> bool:
        data = self._sock.recv(_READ_BYTES)
        self._order += data
        if len(self._order) < 8:
            return bool(data)
        self._received = len(self._order) - 8
        self._order = self._order[:8]
        self._left = int.from_bytes(self._order, "big")
        return self._send() if self._left else True

    def _send(self) -> bool:
        """As much as fits, but not so much that the other connections wait."""
        turn_bytes = _TURN_BYTES
        while self._left and turn_bytes > 0:
            try:
                sent = self._sock.send(_CHUNK[: self._left])
            except BlockingIOError:
                return True
            self._left -= sent
            turn_bytes -= sent
        return self._left > 0


Connection = HttpConnection | GrpcConnection | TcpConnection
KINDS: dict[str, Callable[[socket.socket], Connection]] = {
    "http": HttpConnection,
    "grpc": GrpcConnection,
    "tcp": TcpConnection,
}


def serve(kind: str, port: int) -> None:
    """Until it is killed."""
    listener = socket.create_server(("127.0.0.1", port), backlog=4096)
    listener.setblocking(False)
    make = KINDS[kind]
    epoll = select.epoll()
    epoll.register(listener.fileno(), select.EPOLLIN)
    open_sockets: dict[int, tuple[socket.socket, Connection]] = {}
    sending: set[int] = set()
    while True:
        for number, _ in epoll.poll():
            if number == listener.fileno():
                _accept(listener, make, epoll, open_sockets)
                continue
            sock, connection = open_sockets[number]
            try:
                goes_on = connection.on_ready()
            except BlockingIOError:
                goes_on = True
            except OSError:
                goes_on = False
            if not goes_on:
                del open_sockets[number]
                sending.discard(number)
                sock.close()
            elif isinstance(connection, TcpConnection) and connection.wants_to_send() != (number in sending):
                sending ^= {number}
                epoll.modify(number, select.EPOLLOUT if number in sending else select.EPOLLIN)


def _accept(
    listener: socket.socket,
    make: Callable[[socket.socket], Connection],
    epoll: select.epoll,
    open_sockets: dict[int, tuple[socket.socket, Connection]],
) -> None:
    while True:
        try:
            sock, _ = listener.accept()
        except BlockingIOError:
            return
        sock.setblocking(False)
        sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        open_sockets[sock.fileno()] = (sock, make(sock))
        epoll.register(sock.fileno(), select.EPOLLIN)


if __name__ == "__main__":
    serve(sys.argv[1], int(sys.argv[2]))
