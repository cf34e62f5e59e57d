"""HTTP/1.1 as a client speaks it, on httptools (RFC 9112).

One request at a time; `can_open` says when the connection may carry the next one, and stays False for good once it
may not be used again. A response that is whole before its request has ended ends the stream: the rest of the request
is not sent and the connection closes, since the server may or may not go on reading.
"""

from __future__ import annotations

import enum
import http
import random
import re
from collections.abc import Sequence
from typing import Final

import httptools

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
from gateway.codec.http1.body import BodyReader, ChunkedBody, EndlessBody, LengthBody
from gateway.codec.http1.head import Fields
from gateway.codec.http1.message import CRLF, Fault, HeadReader, cut_head, status_and_reason, write_fields
from gateway.codec.interface import CodecFailure, CodecLimits, Lent
from gateway.codec.output import Output
from gateway.codec.websocket import ACCEPT_FIELD, KEY_FIELD, WEBSOCKET, accept_for, new_key

_STATUS_LINE: Final = re.compile(rb"HTTP/1\.([01]) ([1-5][0-9]{2})(?: [\t -~\x80-\xff]*)?")
# A request with one of these methods and no body says so (RFC 9110 section 8.6).
_BODY_EXPECTED: Final = frozenset({b"POST", b"PUT", b"PATCH"})


class _In(enum.Enum):
    """What the next byte from the server is."""

    NOTHING = enum.auto()
    """No request waits for an answer: a byte now is a failure."""
    HEAD = enum.auto()
    BODY = enum.auto()
    OVER = enum.auto()
    """Of no interest: the connection ends."""


_SEEN: Final = {b"HTTP/1.1 " + status_and_reason(status.value): (1, status.value) for status in http.HTTPStatus}
"""What nearly all responses begin with: the minor version and the status."""


def _read_status_line(line: bytes) -> tuple[int, int]:
    """Raises `Fault`."""
    found = _STATUS_LINE.fullmatch(line)
    if found is None:
        raise Fault(502, "malformed-head", "the first line is not 'version status reason'")
    return int(found[1]), int(found[2])


class Http1ClientCodec:
    """One HTTP/1.1 connection to a server. See `gateway.codec.interface.Codec`."""

    def __init__(self, *, limits: CodecLimits, rng: random.Random) -> None:
        """`rng` makes websocket keys."""
        self.failure: CodecFailure | None = None
        self._limits = limits
        self._rng = rng
        self._reader = HeadReader(httptools.HttpResponseParser)
        self._input = b""
        self._looked_at = 0
        self._output = Output()
        self._state = _In.NOTHING
        self._stream = 0
        self._head: RequestHead | None = None
        self._no_new = False
        self._begin_stream()

    def _begin_stream(self) -> None:
        self._body: BodyReader = EndlessBody()
        self._chunked = False
        self._send_left = 0
        self._keep_alive = True
        self._raw = False
        self._key = b""
        self._early: list[bytes] = []
        self._request_ended = False
        self._unsent = True
        self._held = 0

    # What the driver asks.

    @property
    def closing(self) -> bool:
        return self._state is _In.OVER or (self._no_new and self._head is None)

    @property
    def paused(self) -> bool:
        return self._held >= self._limits.stream_window

    @property
    def half_closed(self) -> bool:
        return self._raw and self._request_ended and not self._output

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
        return self._output.body_bytes + sum(map(len, self._early)) if stream_id == self._stream else 0

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
            self.failure = CodecFailure(fault.code, fault.detail)
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
        end = data.find(CRLF)
        line = data[:end]
        minor, status = _SEEN.get(line) or _read_status_line(line)
        fields = self._reader.read(data, self._limits)
        if status == 101 or (self._head.method == b"CONNECT" and 200 <= status < 300):
            self._open_tunnel(status, fields, events)
        elif status < 200:
            events.append(Informational(self._stream, ResponseHead(status, fields.headers)))
        else:
            self._begin_response(minor, status, fields, events)
        return True

    def _open_tunnel(self, status: int, fields: Fields, events: list[Event]) -> None:
        assert self._head is not None
        if self._key:
            accepts = [value for name, value in fields.headers if name == ACCEPT_FIELD]
            if status != 101 or fields.upgrade != WEBSOCKET or accepts != [accept_for(self._key)]:
                raise Fault(502, "malformed-upgrade", "the server's answer does not prove a websocket")
        elif status == 101:
            raise Fault(502, "malformed-upgrade", "the server upgraded what nobody asked it to")
        dropped = (ACCEPT_FIELD, b"content-length")
        headers = [header for header in fields.headers if header[0] not in dropped]
        self._raw = True
        self._keep_alive = False
        self._state = _In.BODY
        for data in self._early:
            self._output.add_body(data)
        self._early.clear()
        events.append(Response(self._stream, ResponseHead(200, headers), False))

    def _begin_response(self, minor: int, status: int, fields: Fields, events: list[Event]) -> None:
        assert self._head is not None
        coding = fields.transfer_encoding
        close = b"close" in fields.connection or (minor == 0 and b"keep-alive" not in fields.connection)
        self._early.clear()
        if self._head.method == b"HEAD" or status in (204, 304):
            self._body = LengthBody(0)
        elif coding:
            if coding != b"chunked" or minor == 0:
                raise Fault(502, "unknown-coding", "the only transfer coding spoken here is chunked")
            self._body = ChunkedBody(self._limits)
        elif fields.content_length is not None:
            self._body = LengthBody(fields.content_length)
        else:
            self._body = EndlessBody()
            close = True
        self._keep_alive = not close and self._head.method != b"CONNECT"
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
        if self._raw:
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
        self._early.clear()

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
        if head.protocol:
            self._key = new_key(self._rng)
            line = b"GET %b HTTP/1.1\r\nhost: %b\r\n" % (head.path, head.authority)
            extra = b"connection: upgrade\r\nupgrade: %b\r\n%b: %b\r\n" % (head.protocol, KEY_FIELD, self._key)
        elif head.method == b"CONNECT":
            line = b"CONNECT %b HTTP/1.1\r\nhost: %b\r\n" % (head.authority, head.authority)
            extra = b""
        else:
            line = b"%b %b HTTP/1.1\r\nhost: %b\r\n" % (head.method, head.path, head.authority)
            extra = self._frame_request(head, end_stream)
        self._output.add(b"%b%b%b\r\n" % (line, write_fields(head.headers), extra))
        return self._stream

    def _frame_request(self, head: RequestHead, end_stream: bool) -> bytes:
        """The fields that say how the body ends."""
        extra = b""
        length = None
        for name, value in head.headers:
            if name == b"content-length":
                length = int(value)
            elif name == b"te":
                extra = b"connection: te\r\n"
        if length is not None:
            self._send_left = length
        elif not end_stream:
            self._chunked = True
            extra += b"transfer-encoding: chunked\r\n"
        elif head.method in _BODY_EXPECTED:
            extra += b"content-length: 0\r\n"
        return extra

    def send_informational(self, stream_id: int, head: ResponseHead) -> None:
        raise NotImplementedError("a client sends no responses")

    def send_response(self, stream_id: int, head: ResponseHead, end_stream: bool) -> None:
        raise NotImplementedError("a client sends no responses")

    def send_data(self, stream_id: int, data: bytes, end_stream: bool) -> None:
        if not self._takes(stream_id):
            return
        if data:
            self._write_body(data)
        if end_stream:
            if self._chunked:
                self._output.add(b"0\r\n\r\n")
            self._end_request()

    def _write_body(self, data: bytes) -> None:
        assert self._head is not None
        if self._chunked:
            self._output.add(b"%x\r\n" % len(data))
            self._output.add_body(data)
            self._output.add(CRLF)
        elif self._raw:
            self._output.add_body(data)
        elif self._head.method == b"CONNECT":
            # Only a tunnel's bytes, and only once there is one.
            self._early.append(data)
        else:
            # More than was said would be read as the next request.
            self._output.add_body(data[: self._send_left])
            self._send_left = max(0, self._send_left - len(data))

    def send_trailers(self, stream_id: int, headers: Sequence[Header]) -> None:
        if self._takes(stream_id):
            if self._chunked:
                self._output.add(b"0\r\n%b\r\n" % write_fields(headers))
            self._end_request()

    def _takes(self, stream_id: int) -> bool:
        return stream_id == self._stream and self._head is not None and not self._request_ended

    def _end_request(self) -> None:
        self._request_ended = True
        if self._send_left:
            # Shorter than was said: only the end of the connection can tell.
            self._keep_alive = False
            self._end(0, [])
        elif self._raw and self._body.done:
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
