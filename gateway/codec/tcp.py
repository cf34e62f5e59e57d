"""Raw TCP as a codec: one connection is one stream, and its bytes are its body.

To the rest of the request path a TCP connection is a CONNECT (RFC 9113 section 8.5) whose request has come or whose
response is 200. Both appear before any byte has crossed, so that a protocol in which the server speaks first works.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Final

from gateway.codec.events import Data, Event, Header, Request, RequestHead, Response, ResponseHead
from gateway.codec.interface import Codec
from gateway.codec.limits import CodecFailure, CodecLimits, Lent
from gateway.codec.output import Output

STREAM: Final = 1


class _TcpCodec(Codec):
    """What both sides have in common: bytes in, bytes out, each side's end."""

    def __init__(self, *, limits: CodecLimits) -> None:
        self._window = limits.stream_window
        self._output = Output()
        self._begun = False
        self._over = False
        self._local_ended = False
        self._remote_ended = False
        self._held = 0

    @property
    def failure(self) -> CodecFailure | None:
        return None

    @property
    def closing(self) -> bool:
        return self._over or (self._local_ended and self._remote_ended)

    @property
    def paused(self) -> bool:
        return self._held >= self._window

    @property
    def half_closed(self) -> bool:
        return self._local_ended and not self._output

    @property
    def mid_head(self) -> bool:
        return False

    def expire_head(self) -> None:
        raise NotImplementedError("raw bytes have no head")

    @property
    def open_streams(self) -> int:
        return int(self._begun and not self.closing)

    @property
    def can_open(self) -> bool:
        return False

    def receive(self, data: Lent) -> list[Event]:
        events = self.resume()
        if not self._over and not self._remote_ended:
            self._held += len(data)
            events.append(Data(STREAM, bytes(data), False))
        return events

    def receive_eof(self) -> list[Event]:
        events = self.resume()
        if not self._over and not self._remote_ended:
            self._remote_ended = True
            events.append(Data(STREAM, b"", True))
        return events

    def resume(self) -> list[Event]:
        return []

    def data_to_send(self) -> bytes:
        return self._output.take() if self._output else b""

    def send_request(self, head: RequestHead, end_stream: bool) -> int:
        raise NotImplementedError("a server opens no streams")

    def send_informational(self, stream_id: int, head: ResponseHead) -> None:
        """Raw bytes have no heads."""

    def send_response(self, stream_id: int, head: ResponseHead, end_stream: bool) -> None:
        raise NotImplementedError("a client sends no responses")

    def send_data(self, stream_id: int, data: bytes, end_stream: bool) -> None:
        if self._over or self._local_ended:
            return
        if data:
            self._output.add_body(data)
        self._local_ended = end_stream

    def send_trailers(self, stream_id: int, headers: Sequence[Header]) -> None:
        """Raw bytes have no trailers; they end all the same."""
        self.send_data(stream_id, b"", True)

    def reset(self, stream_id: int, code: int) -> None:
        self._over = True

    def consumed(self, stream_id: int, size: int) -> None:
        self._held = max(0, self._held - size)

    def queued(self, stream_id: int) -> int:
        return self._output.body_bytes

    def ping(self, payload: bytes) -> bool:
        return False

    def drain(self) -> None:
        """A TCP connection is its only stream: it drains by ending."""

    def drained(self) -> None:
        """See `drain`."""


class TcpServerCodec(_TcpCodec):
    """A client's connection to a virtual IP. Its request is a CONNECT to `authority`, from the first `resume`."""

    def __init__(self, *, authority: bytes, limits: CodecLimits) -> None:
        super().__init__(limits=limits)
        self._authority = authority

    def resume(self) -> list[Event]:
        if self._begun:
            return []
        self._begun = True
        return [Request(STREAM, RequestHead(b"CONNECT", b"", self._authority, b"", []), False)]

    def send_response(self, stream_id: int, head: ResponseHead, end_stream: bool) -> None:
        """A 2xx says nothing on the wire; anything else can only be said by ending the connection."""
        if not 200 <= head.status < 300:
            self._over = True
        elif end_stream:
            self._local_ended = True


class TcpClientCodec(_TcpCodec):
    """A connection to an endpoint that speaks something else than HTTP. It carries one request, a CONNECT."""

    def __init__(self, *, limits: CodecLimits) -> None:
        super().__init__(limits=limits)
        self._answered = False

    @property
    def can_open(self) -> bool:
        return not self._begun and not self._over

    @property
    def paused(self) -> bool:
        # Nothing is read before somebody listens; that ends the pause, and `resume` tells of the connection.
        return not self._begun or self._held >= self._window

    def send_request(self, head: RequestHead, end_stream: bool) -> int:
        self._begun = True
        self._local_ended = end_stream
        return STREAM

    def resume(self) -> list[Event]:
        if not self._begun or self._answered or self._over:
            return []
        self._answered = True
        return [Response(STREAM, ResponseHead(200, []), False)]
