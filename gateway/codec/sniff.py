"""HTTP/1.1 or HTTP/2 on a cleartext listener, told by the first bytes.

HTTP/2 with prior knowledge begins with a preface that no HTTP/1.1 client sends (RFC 9113 section 3.4). Until enough
of it has come, the connection is an HTTP/1.1 one on which nothing was said yet. What begins with a line that is
neither ends without an answer: an HTTP/1.1 one would mean nothing to whoever sent it.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence

from gateway.codec.events import Event, Header, RequestHead, ResponseHead
from gateway.codec.http2.frames import PREFACE
from gateway.codec.interface import Codec
from gateway.codec.limits import NOT_HTTP, CodecFailure, Lent


class SniffingServerCodec(Codec):
    """A server's codec that becomes the one that the client speaks."""

    def __init__(self, *, http1: Codec, http2: Callable[[], Codec]) -> None:
        """`http2` is called when a client turns out to speak it."""
        self.chosen: Codec = http1
        """The codec that everything is handed to: once a request has come, the one that the client speaks."""
        self._http2 = http2
        self._prefix: bytes | None = b""
        self._not_http: CodecFailure | None = None

    @property
    def failure(self) -> CodecFailure | None:
        return self._not_http or self.chosen.failure

    @property
    def closing(self) -> bool:
        return self.chosen.closing or self.failure is not None

    @property
    def paused(self) -> bool:
        return self.chosen.paused

    @property
    def half_closed(self) -> bool:
        return self.chosen.half_closed

    @property
    def mid_head(self) -> bool:
        return bool(self._prefix) or self.chosen.mid_head

    def expire_head(self) -> None:
        self.chosen.expire_head()

    @property
    def open_streams(self) -> int:
        return self.chosen.open_streams

    @property
    def can_open(self) -> bool:
        return False

    def receive(self, data: Lent) -> list[Event]:
        if self._prefix is not None:
            data = self._prefix + bytes(data)
            if len(data) < len(PREFACE) and PREFACE.startswith(data):
                self._prefix = data
                return []
            self._prefix = None
            if data.startswith(PREFACE):
                self.chosen = self._http2()
            elif _is_other(data):
                self._not_http = CodecFailure(NOT_HTTP, "the first line is neither HTTP/1.1 nor HTTP/2")
                return []
        return self.chosen.receive(data)

    def receive_eof(self) -> list[Event]:
        return self.chosen.receive_eof()

    def resume(self) -> list[Event]:
        return self.chosen.resume()

    def data_to_send(self) -> bytes:
        return self.chosen.data_to_send()

    def send_request(self, head: RequestHead, end_stream: bool) -> int:
        return self.chosen.send_request(head, end_stream)

    def send_informational(self, stream_id: int, head: ResponseHead) -> None:
        self.chosen.send_informational(stream_id, head)

    def send_response(self, stream_id: int, head: ResponseHead, end_stream: bool) -> None:
        self.chosen.send_response(stream_id, head, end_stream)

    def send_data(self, stream_id: int, data: bytes, end_stream: bool) -> None:
        self.chosen.send_data(stream_id, data, end_stream)

    def send_trailers(self, stream_id: int, headers: Sequence[Header]) -> None:
        self.chosen.send_trailers(stream_id, headers)

    def reset(self, stream_id: int, code: int) -> None:
        self.chosen.reset(stream_id, code)

    def consumed(self, stream_id: int, size: int) -> None:
        self.chosen.consumed(stream_id, size)

    def queued(self, stream_id: int) -> int:
        return self.chosen.queued(stream_id)

    def ping(self, payload: bytes) -> bool:
        return self.chosen.ping(payload)

    def drain(self) -> None:
        self.chosen.drain()

    def drained(self) -> None:
        self.chosen.drained()


def _is_other(data: bytes) -> bool:
    """Whether the first line has come, and names no version of HTTP."""
    line, newline, _ = data.partition(b"\r\n")
    return bool(newline) and bool(line) and b"HTTP/" not in line
