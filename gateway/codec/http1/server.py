"""HTTP/1.1 as a server speaks it, on httptools (RFC 9112).

One request at a time reaches the events. What a client sends ahead waits as bytes, and `paused` says so.

Whether a client that waits for 100 (Continue) may go on is for whoever answers the request to say, by
`send_informational`. If the final response comes before that, and before a byte of the body, nobody knows whether the
client sends the body all the same, so the connection then closes.

A response may be whole before its request is. The rest of the request is read and dropped, at most one stream's
window of it, because a close with unread bytes would reset the connection and take the response with it.
"""

from __future__ import annotations

import enum
from collections.abc import Sequence

from gateway.codec.events import Data, ErrorCode, Event, Header, Request, RequestHead, Reset, ResponseHead, Trailers
from gateway.codec.headers import REASON
from gateway.codec.http1.body import BodyReader, ChunkedBody, EndlessBody, LengthBody
from gateway.codec.http1.body_writer import CLOSE, RAW, UNDECIDED, BodyWriter
from gateway.codec.http1.handshake import write_acceptance
from gateway.codec.http1.head import RequestMessage
from gateway.codec.http1.message import CRLF, Fault, cut_head, status_and_reason, write_fields
from gateway.codec.http1.request import RequestReader
from gateway.codec.interface import Codec
from gateway.codec.limits import SLOW_HEAD, CodecFailure, CodecLimits, Lent
from gateway.codec.output import Output
from gateway.codec.upgrade import opens_tunnel


class _In(enum.Enum):
    """What the next byte from the client is."""

    HEAD = enum.auto()
    BODY = enum.auto()
    WAITING = enum.auto()
    """Something that comes after the present response: another request, or a tunnel's bytes."""
    NOTHING = enum.auto()
    """Of no interest: the connection ends."""


class Http1ServerCodec(Codec):
    """One HTTP/1.1 connection from a client. See `gateway.codec.interface.Codec`."""

    def __init__(self, *, scheme: bytes, limits: CodecLimits) -> None:
        self._failure: CodecFailure | None = None
        self._limits = limits
        self._requests = RequestReader(scheme, limits)
        self._input = b""
        self._looked_at = 0
        self._state = _In.HEAD
        self._output = Output()
        self._writer = BodyWriter(self._output)
        self._stream = 0
        self._draining = False
        self._last = False
        self._begin_stream(None)

    def _begin_stream(self, message: RequestMessage | None) -> None:
        self._message = message
        self._body: BodyReader = EndlessBody()
        self._writer.begin(UNDECIDED)
        self._request_ended = False
        self._response_ended = False
        self._held = 0
        self._dropped = 0
        self._client_waits = False
        self._refused_body = False

    # What the driver asks.

    @property
    def failure(self) -> CodecFailure | None:
        return self._failure

    @property
    def closing(self) -> bool:
        return self._state is _In.NOTHING

    @property
    def paused(self) -> bool:
        return self._held >= self._limits.stream_window or (self._state is _In.WAITING and bool(self._input))

    @property
    def half_closed(self) -> bool:
        return self._writer.framing == RAW and self._response_ended and not self._output

    @property
    def mid_head(self) -> bool:
        return self._state is _In.HEAD and bool(self._input)

    def expire_head(self) -> None:
        self._fail(Fault(408, SLOW_HEAD, "the rest of a request's head did not come"), [])

    @property
    def open_streams(self) -> int:
        return int(self._message is not None)

    @property
    def can_open(self) -> bool:
        return False

    def queued(self, stream_id: int) -> int:
        return self._output.body_bytes if stream_id == self._stream else 0

    # Bytes in.

    def receive(self, data: Lent) -> list[Event]:
        if self._state is _In.NOTHING:
            return []
        self._input = self._input + data if self._input else bytes(data)
        return self.resume()

    def resume(self) -> list[Event]:
        events: list[Event] = []
        try:
            while self._input:
                if self._state is _In.HEAD:
                    if not self._read_head(events):
                        break
                elif self._state is _In.BODY:
                    if not self._read_body(events):
                        break
                else:
                    break
        except Fault as fault:
            self._fail(fault, events)
        return events

    def _read_head(self, events: list[Event]) -> bool:
        # An empty line before a request is a mistake of old clients (RFC 9112 section 2.2).
        data = self._input
        if data.startswith(CRLF):
            data = data[len(CRLF) :]
            self._looked_at = 0
        size = cut_head(data, self._looked_at, self._limits)
        if not size:
            self._input = data
            self._looked_at = len(data)
            return False
        message = self._requests.read(data[:size])
        self._input = data[size:]
        self._looked_at = 0
        self._stream += 1
        self._begin_stream(message)
        if message.is_tunnel:
            self._state = _In.WAITING
        elif message.has_body:
            self._state = _In.BODY
            self._body = ChunkedBody(self._limits) if message.chunked else LengthBody(message.length)
            self._client_waits = message.expects_continue and not self._input
        else:
            self._state = _In.WAITING
            self._request_ended = True
        events.append(Request(self._stream, message.head, self._request_ended))
        return True

    def _read_body(self, events: list[Event]) -> bool:
        """One step through a body. False when more bytes are needed."""
        before = self._input
        body, self._input = self._body.take(before)
        self._client_waits = False
        done = self._body.done
        if self._response_ended and self._writer.framing != RAW:
            self._drop(len(before) - len(self._input))
        elif body or done:
            self._held += len(body)
            trailers = self._body.trailers
            if body or not trailers:
                events.append(Data(self._stream, body, done and not trailers))
            if trailers:
                events.append(Trailers(self._stream, trailers))
        if done:
            self._request_ended = True
            if self._state is _In.BODY:
                self._state = _In.WAITING
            self._finish_if_done()
        return done

    def _drop(self, size: int) -> None:
        self._dropped += size
        if self._dropped > self._limits.stream_window and not self._body.done:
            self._end()

    def receive_eof(self) -> list[Event]:
        events: list[Event] = []
        if self._message is not None and self._writer.framing == RAW:
            if not self._request_ended:
                self._request_ended = True
                events.append(Data(self._stream, b"", True))
                self._finish_if_done()
            return events
        if self._message is not None and not self._response_ended:
            events.append(Reset(self._stream, ErrorCode.CANCEL))
        self._end()
        return events

    def _fail(self, fault: Fault, events: list[Event]) -> None:
        """The client broke the protocol: the stream in progress ends, and the client hears why if it still can."""
        self._failure = CodecFailure(fault.code, fault.detail)
        if self._message is not None and not self._response_ended:
            events.append(Reset(self._stream, ErrorCode.PROTOCOL_ERROR))
        if self._message is None or self._writer.framing == UNDECIDED:
            self._output.add(
                b"HTTP/1.1 %b\r\nconnection: close\r\ncontent-length: 0\r\n%b\r\n"
                % (status_and_reason(fault.status), write_fields([(REASON, fault.code.encode())]))
            )
        self._end()

    def _end(self) -> None:
        """Nothing more is read, and the connection closes when the output is out."""
        self._state = _In.NOTHING
        self._input = b""
        self._held = 0
        self._message = None

    # Bytes out.

    def data_to_send(self) -> bytes:
        return self._output.take() if self._output else b""

    # Commands.

    def send_request(self, head: RequestHead, end_stream: bool) -> int:
        raise NotImplementedError("a server opens no streams")

    def send_informational(self, stream_id: int, head: ResponseHead) -> None:
        message = self._current(stream_id)
        if message is None or self._writer.framing != UNDECIDED or message.minor == 0:
            return
        if head.status == 100:
            if not self._client_waits:
                return
            self._client_waits = False
        self._output.add(b"HTTP/1.1 %b\r\n%b\r\n" % (status_and_reason(head.status), write_fields(head.headers)))

    def send_response(self, stream_id: int, head: ResponseHead, end_stream: bool) -> None:
        message = self._current(stream_id)
        if message is None or self._writer.framing != UNDECIDED:
            return
        if self._client_waits:
            self._client_waits = False
            self._refused_body = self._last = True
        if head.status == 408:
            # The rest of the request is not waited for (RFC 9110 section 15.5.9).
            self._refused_body = self._last = True
        if message.is_tunnel and opens_tunnel(message.head, head.status):
            self._open_tunnel(message, head)
        else:
            self._write_head(message, head, end_stream)
        if end_stream:
            self._end_response()

    def _open_tunnel(self, message: RequestMessage, head: ResponseHead) -> None:
        """A tunnel's head. Its length is the connection's: RFC 9110 section 9.3.6 forbids any other framing."""
        answer = write_acceptance(message, head)
        if not answer:
            # Nobody may be told that he speaks what he did not ask for.
            self._end()
            return
        self._output.add(answer)
        self._writer.begin(RAW)
        self._state = _In.BODY
        self._last = True

    def _write_head(self, message: RequestMessage, head: ResponseHead, end_stream: bool) -> None:
        extra = self._writer.begin_response(head, end_stream, method=message.head.method, minor=message.minor)
        if message.is_tunnel:
            # What the client sent ahead was meant for the tunnel. An upgrade's client had to wait.
            self._request_ended = True
            self._last = self._last or not message.head.protocol
        # What was sent before the client could know is still answered.
        leaves = self._draining and not (self._request_ended and self._input)
        self._last = self._last or leaves or not message.keep_alive or self._writer.framing == CLOSE
        if self._last:
            extra += b"connection: close\r\n"
        elif message.minor == 0:
            extra += b"connection: keep-alive\r\n"
        self._output.add(
            b"HTTP/1.1 %b\r\n%b%b\r\n" % (status_and_reason(head.status), write_fields(head.headers), extra)
        )

    def send_data(self, stream_id: int, data: bytes, end_stream: bool) -> None:
        if self._current(stream_id) is None or self._response_ended or self._writer.framing == UNDECIDED:
            return
        if data:
            self._writer.write(data)
        if end_stream:
            self._writer.end()
            self._end_response()

    def send_trailers(self, stream_id: int, headers: Sequence[Header]) -> None:
        if self._current(stream_id) is None or self._response_ended or self._writer.framing == UNDECIDED:
            return
        self._writer.end(headers)
        self._end_response()

    def _end_response(self) -> None:
        self._response_ended = True
        if self._writer.left or self._refused_body:
            self._end()
        else:
            self._finish_if_done()

    def _finish_if_done(self) -> None:
        if not (self._request_ended and self._response_ended):
            return
        if self._last:
            self._end()
        else:
            self._message = None
            self._held = 0
            self._state = _In.HEAD

    def _current(self, stream_id: int) -> RequestMessage | None:
        return self._message if stream_id == self._stream else None

    def reset(self, stream_id: int, code: int) -> None:
        if self._current(stream_id) is not None:
            self._end()

    def consumed(self, stream_id: int, size: int) -> None:
        if stream_id == self._stream:
            self._held = max(0, self._held - size)

    def ping(self, payload: bytes) -> bool:
        return False

    def drain(self) -> None:
        self._draining = True

    def drained(self) -> None:
        self._draining = True
        if self._message is None:
            self._end()
