"""HTTP clients that send and receive at the same time, for end-to-end tests: a blocking socket, h11 or h2."""

from __future__ import annotations

import hashlib
import socket
import threading
from collections.abc import Iterable, Iterator

import h2.config
import h2.connection
import h2.events
import h11
import msgspec

TIMEOUT_S = 20.0
_READ_BYTES = 1 << 18


class Answer(msgspec.Struct, frozen=True):
    """A response. Its body is kept whole, because the tests' bodies are a few megabytes."""

    status: int
    headers: dict[str, str]
    body: bytes

    @property
    def sha256(self) -> str:
        return hashlib.sha256(self.body).hexdigest()


def address_of(text: str) -> tuple[str, int]:
    host, _, port = text.rpartition(":")
    return host, int(port)


class Http1:
    """One HTTP/1.1 connection."""

    def __init__(self, address: str) -> None:
        self._sock = socket.create_connection(address_of(address), timeout=TIMEOUT_S)
        self._h11 = h11.Connection(h11.CLIENT)

    def __enter__(self) -> Http1:
        return self

    def __exit__(self, *unused: object) -> None:
        self._sock.close()

    def ask(
        self,
        method: str,
        authority: str,
        path: str,
        body: Iterable[bytes] = (),
        headers: Iterable[tuple[str, str]] = (),
    ) -> Answer:
        """A body goes out chunked, unless `headers` says its length."""
        fields = [("host", authority), *headers]
        chunks = [*body]
        if chunks and "content-length" not in dict(fields):
            fields.append(("transfer-encoding", "chunked"))
        self._sock.sendall(self._h11.send(h11.Request(method=method, target=path, headers=fields)) or b"")
        sender = threading.Thread(target=self._send, args=(chunks,), daemon=True)
        sender.start()
        answer = self._receive()
        sender.join(TIMEOUT_S)
        self._h11.start_next_cycle()
        return answer

    def _send(self, chunks: list[bytes]) -> None:
        # h11 keeps both directions apart, so sending in one thread while the other receives is safe.
        for chunk in chunks:
            self._sock.sendall(self._h11.send(h11.Data(data=chunk)) or b"")
        self._sock.sendall(self._h11.send(h11.EndOfMessage()) or b"")

    def _receive(self) -> Answer:
        status, headers, body = 0, {}, bytearray()
        while True:
            event = self._h11.next_event()
            if event is h11.NEED_DATA:
                self._h11.receive_data(self._sock.recv(_READ_BYTES))
            elif isinstance(event, h11.Response):
                status, headers = event.status_code, {n.decode(): v.decode() for n, v in event.headers}
            elif isinstance(event, h11.Data):
                body += event.data
            elif isinstance(event, h11.EndOfMessage):
                return Answer(status, headers, bytes(body))
            elif isinstance(event, h11.ConnectionClosed):
                raise ConnectionError("the connection ended before the answer did")


class Http2:
    """One HTTP/2 connection with prior knowledge; several requests may be on their way."""

    def __init__(self, address: str) -> None:
        self._sock = socket.create_connection(address_of(address), timeout=TIMEOUT_S)
        self._h2 = h2.connection.H2Connection(h2.config.H2Configuration(header_encoding="utf-8"))
        self._h2.initiate_connection()
        self._h2.increment_flow_control_window(1 << 24)

    def __enter__(self) -> Http2:
        return self

    def __exit__(self, *unused: object) -> None:
        self._sock.close()

    def ask(self, method: str, authority: str, path: str, body: bytes = b"") -> Answer:
        return self.ask_all([(method, authority, path, body)])[0]

    def ask_all(self, requests: Iterable[tuple[str, str, str, bytes]]) -> list[Answer]:
        """All at once, each (method, authority, path, body); answers in the requests' order."""
        waiting: dict[int, bytes] = {}
        order: list[int] = []
        for method, authority, path, body in requests:
            stream = self._h2.get_next_available_stream_id()
            head = [(":method", method), (":scheme", "http"), (":authority", authority), (":path", path)]
            self._h2.send_headers(stream, head, end_stream=not body)
            order.append(stream)
            if body:
                waiting[stream] = body
        answers = _Answers()
        while len(answers.ended) < len(order):
            self._feed(waiting)
            self._sock.sendall(self._h2.data_to_send())
            data = self._sock.recv(_READ_BYTES)
            if not data:
                raise ConnectionError("the connection ended before the answers did")
            for event in self._h2.receive_data(data):
                answers.take(event)
                if isinstance(event, h2.events.DataReceived):
                    self._h2.acknowledge_received_data(event.flow_controlled_length, event.stream_id)
        self._sock.sendall(self._h2.data_to_send())
        return [answers.answer(stream) for stream in order]

    def _feed(self, waiting: dict[int, bytes]) -> None:
        """Sends of each body what its windows let through."""
        for stream, body in [*waiting.items()]:
            while body and (room := min(self._h2.local_flow_control_window(stream), self._h2.max_outbound_frame_size)):
                self._h2.send_data(stream, body[:room], end_stream=len(body) <= room)
                body = body[room:]
            waiting[stream] = body
            if not body:
                del waiting[stream]


class _Answers:
    def __init__(self) -> None:
        self.ended: set[int] = set()
        self._headers: dict[int, dict[str, str]] = {}
        self._bodies: dict[int, bytearray] = {}

    def take(self, event: h2.events.Event) -> None:
        if isinstance(event, h2.events.ResponseReceived):
            self._headers[event.stream_id] = {str(name): str(value) for name, value in event.headers}
            self._bodies[event.stream_id] = bytearray()
        elif isinstance(event, h2.events.DataReceived):
            self._bodies[event.stream_id] += event.data
        elif isinstance(event, h2.events.StreamEnded):
            self.ended.add(event.stream_id)
        elif isinstance(event, h2.events.StreamReset | h2.events.ConnectionTerminated):
            raise ConnectionError(f"{event!r}")

    def answer(self, stream: int) -> Answer:
        headers = self._headers[stream]
        return Answer(int(headers[":status"]), headers, bytes(self._bodies[stream]))


def pieces(content: bytes, size_bytes: int) -> Iterator[bytes]:
    for start in range(0, len(content), size_bytes):
        yield content[start : start + size_bytes]
