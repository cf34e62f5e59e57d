"""HTTP/1.1 as a client speaks it, on httptools (RFC 9112).

One request at a time; `can_open` says when the connection may carry the next one, and stays False for good once it
may not be used again. A response that is whole before its request has ended ends the stream: the rest of the request
is not sent and the connection closes, since the server may or may not go on reading.
"""

from __future__ import annotations

import enum
import random
from collections.abc import Sequence

from gateway.codec.events import (
    Data,
    ErrorCode,
    Event,
    Header,
    Informational,
    RequestHead,
    Reset,
    Response,
    ResponseHead,
    Trailers,
)
from gateway.codec.http1.body import BodyReader, EndlessBody
from gateway.codec.http1.body_writer import EARLY, NONE, RAW, BodyWriter
from gateway.codec.http1.handshake import Handshake
from gateway.codec.http1.head import Fields
from gateway.codec.http1.message import Fault, cut_head, write_fields
from gateway.codec.http1.response import ResponseReader
from gateway.codec.interface import Codec
from gateway.codec.limits import CodecFailure, CodecLimits, Lent
from gateway.codec.output import Output
from gateway.codec.upgrade import ACCEPTED, opens_tunnel


class _In(enum.Enum):
    """What the next byte from the server is."""

    NOTHING = enum.auto()
    """No request waits for an answer: a byte now is a failure."""
    HEAD = enum.auto()
    BODY = enum.auto()
    OVER = enum.auto()
    """Of no interest: the connection ends."""


class Http1ClientCodec(Codec):
    """One HTTP/1.1 connection to a server. See `gateway.codec.interface.Codec`."""

    def __init__(self, *, limits: CodecLimits, rng: random.Random) -> None:
        """`rng` makes websocket keys."""
        self._failure: CodecFailure | None = None
        self._limits = limits
        self._rng = rng
        self._reader = ResponseReader(limits)
        self._input = b""
        self._looked_at = 0
        self._output = Output()
        self._writer = BodyWriter(self._output)
        self._state = _In.NOTHING
        self._stream = 0
        self._head: RequestHead | None = None
        self._no_new = False
        self._begin_stream()

    def _begin_stream(self) -> None:
        self._body: BodyReader = EndlessBody()
        self._keep_alive = True
        self._handshake: Handshake | None = None
        self._request_ended = False
        self._unsent = True
        self._held = 0

    # What the driver asks.

    @property
    def failure(self) -> CodecFailure | None:
        return self._failure

    @property
    def closing(self) -> bool:
        return self._state is _In.OVER or (self._no_new and self._head is None)

    @property
    def paused(self) -> bool:
        return self._held >= self._limits.stream_window

    @property
    def half_closed(self) -> bool:
        return self._writer.framing == RAW and self._request_ended and not self._output

    @property
    def mid_head(self) -> bool:
        return False

    def expire_head(self) -> None:
        raise NotImplementedError("a client reads no requests")

    @property
    def open_streams(self) -> int:
        return int(self._head is not None)

    @property
    def can_open(self) -> bool:
        return self._state is _In.NOTHING and not self._no_new

    def queued(self, stream_id: int) -> int:
        return self._output.body_bytes + self._writer.early_bytes if stream_id == self._stream else 0

    # Bytes in.

    def receive(self, data: Lent) -> list[Event]:
        events: list[Event] = []
        if self._state is _In.OVER:
            return events
        self._input = self._input + data if self._input else bytes(data)
        try:
            while self._input and self._step(events):
                pass
        except Fault as fault:
            self._failure = CodecFailure(fault.code, fault.detail)
            self._end(ErrorCode.PROTOCOL_ERROR, events)
        return events

    def resume(self) -> list[Event]:
        return []

    def _step(self, events: list[Event]) -> bool:
        """One step through the input. False when more bytes are needed."""
        if self._state is _In.HEAD:
            return self._read_head(events)
        if self._state is _In.BODY:
            return self._read_body(events)
        if self._state is _In.NOTHING:
            raise Fault(502, "unasked-response", "the server sent bytes that answer no request")
        return False

    def _read_head(self, events: list[Event]) -> bool:
        assert self._head is not None
        if self._unsent:
            # A 408, say, on a connection that nobody had used for a while: it would pass for this request's answer.
            raise Fault(502, "unasked-response", "the server sent bytes before the request was sent")
        size = cut_head(self._input, self._looked_at, self._limits)
        self._looked_at = 0 if size else len(self._input)
        if not size:
            return False
        data, self._input = self._input[:size], self._input[size:]
        status, fields = self._reader.read(data)
        if status == ACCEPTED or (self._head.method == b"CONNECT" and opens_tunnel(self._head, status)):
            self._open_tunnel(status, fields, events)
        elif status < 200:
            events.append(Informational(self._stream, ResponseHead(status, fields.headers)))
        else:
            self._begin_response(status, fields, events)
        return True

    def _open_tunnel(self, status: int, fields: Fields, events: list[Event]) -> None:
        if self._handshake is not None:
            head = self._handshake.read_acceptance(fields)
        elif status == ACCEPTED:
            raise Fault(502, "malformed-upgrade", "the server upgraded what nobody asked it to")
        else:
            # Its length is the connection's (RFC 9110 section 9.3.6).
            head = ResponseHead(status, [header for header in fields.headers if header[0] != b"content-length"])
        self._keep_alive = False
        self._state = _In.BODY
        self._writer.open_tunnel()
        events.append(Response(self._stream, head, False))

    def _begin_response(self, status: int, fields: Fields, events: list[Event]) -> None:
        assert self._head is not None
        self._body = self._reader.body(self._head.method, status, fields)
        self._keep_alive = self._reader.keeps_alive(fields) and type(self._body) is not EndlessBody
        if self._head.method == b"CONNECT":
            # There is no tunnel, and nothing was sent for it. That is the whole request.
            self._request_ended = True
            self._writer.begin(NONE)
            self._keep_alive = self._keep_alive and self._handshake is not None
        self._state = _In.BODY
        events.append(Response(self._stream, ResponseHead(status, fields.headers), self._body.done))
        if self._body.done:
            self._finish()

    def _read_body(self, events: list[Event]) -> bool:
        """One step through a body. False when more bytes are needed."""
        body, self._input = self._body.take(self._input)
        done = self._body.done
        trailers = self._body.trailers
        self._held += len(body)
        if body or (done and not trailers):
            events.append(Data(self._stream, body, done and not trailers))
        if done:
            if trailers:
                events.append(Trailers(self._stream, trailers))
            self._finish()
        return done

    def receive_eof(self) -> list[Event]:
        events: list[Event] = []
        if self._state is _In.BODY and isinstance(self._body, EndlessBody):
            events.append(Data(self._stream, b"", True))
            self._body.done = True
            self._finish()
        elif self._state is not _In.OVER:
            self._end(ErrorCode.CANCEL, events)
        return events

    def _finish(self) -> None:
        """The response is whole."""
        if self._writer.framing == RAW:
            if self._request_ended:
                self._end(0, [])
        elif self._request_ended and self._keep_alive:
            self._state = _In.NOTHING
            self._head = None
        else:
            self._end(0, [])

    def _end(self, code: int, events: list[Event]) -> None:
        """The connection ends; a stream whose response is not whole is told."""
        if self._head is not None and not self._body.done:
            events.append(Reset(self._stream, code, unprocessed=self._unsent))
        self._state = _In.OVER
        self._head = None
        self._input = b""
        self._held = 0
        self._writer.begin(NONE)

    # Bytes out.

    def data_to_send(self) -> bytes:
        self._unsent = False
        return self._output.take() if self._output else b""

    # Commands.

    def send_request(self, head: RequestHead, end_stream: bool) -> int:
        self._stream += 1
        self._begin_stream()
        self._head = head
        self._state = _In.HEAD
        self._request_ended = end_stream
        if head.method == b"CONNECT":
            self._output.add(self._write_connect(head))
        else:
            framing = self._writer.begin_request(head, end_stream)
            self._output.add(
                b"%b %b HTTP/1.1\r\nhost: %b\r\n%b%b\r\n"
                % (head.method, head.path, head.authority, write_fields(head.headers), framing)
            )
        return self._stream

    def _write_connect(self, head: RequestHead) -> bytes:
        self._writer.begin(EARLY)
        if head.protocol:
            self._handshake = Handshake(head, self._rng)
            return self._handshake.write_request()
        authority = head.authority
        return b"CONNECT %b HTTP/1.1\r\nhost: %b\r\n%b\r\n" % (authority, authority, write_fields(head.headers))

    def send_informational(self, stream_id: int, head: ResponseHead) -> None:
        raise NotImplementedError("a client sends no responses")

    def send_response(self, stream_id: int, head: ResponseHead, end_stream: bool) -> None:
        raise NotImplementedError("a client sends no responses")

    def send_data(self, stream_id: int, data: bytes, end_stream: bool) -> None:
        if not self._takes(stream_id):
            return
        if data:
            self._writer.write(data)
        if end_stream:
            self._writer.end()
            self._end_request()

    def send_trailers(self, stream_id: int, headers: Sequence[Header]) -> None:
        if self._takes(stream_id):
            self._writer.end(headers)
            self._end_request()

    def _takes(self, stream_id: int) -> bool:
        return stream_id == self._stream and self._head is not None and not self._request_ended

    def _end_request(self) -> None:
        self._request_ended = True
        if self._writer.left:
            # Shorter than was said: only the end of the connection can tell.
            self._keep_alive = False
            self._end(0, [])
        elif self._writer.framing == RAW and self._body.done:
            self._end(0, [])

    def reset(self, stream_id: int, code: int) -> None:
        if stream_id == self._stream and self._head is not None:
            self._body.done = True
            self._end(code, [])

    def consumed(self, stream_id: int, size: int) -> None:
        if stream_id == self._stream:
            self._held = max(0, self._held - size)

    def ping(self, payload: bytes) -> bool:
        return False

    def drain(self) -> None:
        self._no_new = True

    def drained(self) -> None:
        self._no_new = True
