"""HTTP/1.1 or HTTP/2 on a cleartext listener, told by the first bytes.

HTTP/2 with prior knowledge begins with a preface that no HTTP/1.1 client sends (RFC 9113 section 3.4). Until enough
of it has come, the connection is an HTTP/1.1 one on which nothing was said yet.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence

from gateway.codec.events import Event, Header, RequestHead, ResponseHead
from gateway.codec.http2_frames import PREFACE
from gateway.codec.interface import Codec, CodecFailure


class SniffingServerCodec:
    """A server's codec that becomes the one that the client speaks."""

    def __init__(self, *, http1: Codec, http2: Callable[[], Codec]) -> None:
        """`http2` is called when a client turns out to speak it."""
        self._codec = http1
        self._http2 = http2
        self._prefix: bytes | None = b""

    @property
    def failure(self) -> CodecFailure | None:
        return self._codec.failure

    @failure.setter
    def failure(self, failure: CodecFailure | None) -> None:
        self._codec.failure = failure

    @property
    def closing(self) -> bool:
        return self._codec.closing

    @property
    def paused(self) -> bool:
        return self._codec.paused

    @property
    def half_closed(self) -> bool:
        return self._codec.half_closed

    @property
    def mid_head(self) -> bool:
        return bool(self._prefix) or self._codec.mid_head

    @property
    def open_streams(self) -> int:
        return self._codec.open_streams

    @property
    def can_open(self) -> bool:
        return False

    def receive(self, data: bytes) -> list[Event]:
        if self._prefix is not None:
            data = self._prefix + data
            if len(data) < len(PREFACE) and PREFACE.startswith(data):
                self._prefix = data
                return []
            self._prefix = None
            if data.startswith(PREFACE):
                self._codec = self._http2()
        return self._codec.receive(data)

    def receive_eof(self) -> list[Event]:
        return self._codec.receive_eof()

    def resume(self) -> list[Event]:
        return self._codec.resume()

    def data_to_send(self) -> bytes:
        return self._codec.data_to_send()

    def send_request(self, head: RequestHead, end_stream: bool) -> int:
        return self._codec.send_request(head, end_stream)

    def send_informational(self, stream_id: int, head: ResponseHead) -> None:
        self._codec.send_informational(stream_id, head)

    def send_response(self, stream_id: int, head: ResponseHead, end_stream: bool) -> None:
        self._codec.send_response(stream_id, head, end_stream)

    def send_data(self, stream_id: int, data: bytes, end_stream: bool) -> None:
        self._codec.send_data(stream_id, data, end_stream)

    def send_trailers(self, stream_id: int, headers: Sequence[Header]) -> None:
        self._codec.send_trailers(stream_id, headers)

    def reset(self, stream_id: int, code: int) -> None:
        self._codec.reset(stream_id, code)

    def consumed(self, stream_id: int, size: int) -> None:
        self._codec.consumed(stream_id, size)

    def queued(self, stream_id: int) -> int:
        return self._codec.queued(stream_id)

    def ping(self, payload: bytes) -> bool:
        return self._codec.ping(payload)

    def drain(self) -> None:
        self._codec.drain()

    def drained(self) -> None:
        self._codec.drained()
