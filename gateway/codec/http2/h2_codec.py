"""HTTP/2 on h2, both roles: the reference that the ngh2 codec is compared with, and the codec where ngh2 has no wheel.

How h2 is used:

- It is given one frame at a time, because what one `receive_data` saw before an error would be lost with it, and
  because floods are counted by frame.
- Its own validation of fields is off: h2 ends the connection for a malformed message, where RFC 9113 section 8.1.1
  wants a stream's end. `message` does it instead.
- GOAWAY frames are not given to it and not made by it: to h2 they are the end of all streams.
- Bodies wait in `bodies`, stream by stream, for the windows that h2 keeps.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Final

import h2.exceptions

from gateway.codec.events import ErrorCode, Event, Header, RequestHead, ResponseHead
from gateway.codec.http2.bodies import prompt_share
from gateway.codec.http2.frames import (
    ACK,
    CONNECTION_PREFACE,
    CONTINUATION,
    END_HEADERS,
    GOAWAY,
    HEADERS,
    OVERLONG,
    PREFACE,
    PUSH_PROMISE,
    SETTINGS,
    FrameSplitter,
    goaway_frame,
)
from gateway.codec.http2.h2_events import on_goaway, translate
from gateway.codec.http2.h2_session import H2Session
from gateway.codec.http2.h2_stream import H2Stream
from gateway.codec.http2.message import request_block, response_block
from gateway.codec.interface import TunnelCodec
from gateway.codec.limits import FLOOD, PROTOCOL, SLOW_HEAD, CodecFailure, CodecLimits, Lent
from gateway.codec.output import OUTPUT_BYTES

FRAME_SIZE_ERROR: Final = 0x6
GOAWAY_BYTES: Final = 17


class H2Codec(TunnelCodec):
    """One HTTP/2 connection on h2. See `gateway.codec.interface.Codec`."""

    def __init__(self, *, client: bool, limits: CodecLimits) -> None:
        self._session = H2Session(client, limits)
        self._conn = self._session.conn
        self._splitter = FrameSplitter(preface=b"" if client else PREFACE, frame_bytes=limits.frame_bytes)
        self._in_block = False
        self._settled = False
        self.output_bytes = OUTPUT_BYTES

    # What the driver asks.

    @property
    def failure(self) -> CodecFailure | None:
        return self._session.failure

    @property
    def closing(self) -> bool:
        session = self._session
        return session.failure is not None or ((session.no_new or session.peer_left) and not session.streams)

    @property
    def paused(self) -> bool:
        return False

    @property
    def half_closed(self) -> bool:
        return False

    @property
    def mid_head(self) -> bool:
        return not self._session.client and (self._in_block or self._splitter.inside)

    def expire_head(self) -> None:
        self._session.fail(SLOW_HEAD, "the rest of a request's head did not come", ErrorCode.ENHANCE_YOUR_CALM, [])

    @property
    def open_streams(self) -> int:
        return len(self._session.streams)

    @property
    def can_open(self) -> bool:
        session = self._session
        return (
            session.client
            and session.failure is None
            and not session.no_new
            and not session.peer_left
            and len(session.streams) < session.peer_streams
        )

    def queued(self, stream_id: int) -> int:
        return self._session.bodies.queued(stream_id)

    # Bytes in.

    def receive(self, data: Lent) -> list[Event]:
        events: list[Event] = []
        for frame, kind, flags in self._splitter.split(data):
            if self._session.failure is not None:
                break
            self._receive_frame(frame, kind, flags, events)
        self._session.runs.join()
        return events

    def _receive_frame(self, frame: bytes, kind: int, flags: int, events: list[Event]) -> None:
        if flood := self._session.floods.count(kind, flags, len(frame)):
            self._session.fail(FLOOD, flood, ErrorCode.ENHANCE_YOUR_CALM, events)
            return
        if self._refuses_frame(kind, flags, events):
            return
        in_block = self._in_block
        if kind in (HEADERS, PUSH_PROMISE, CONTINUATION):
            self._in_block = not flags & END_HEADERS
        if kind == GOAWAY and not in_block and len(frame) >= GOAWAY_BYTES and frame[5:9] == b"\0\0\0\0":
            on_goaway(self._session, frame, events)
            return
        try:
            translate(self._session, self._conn.receive_data(frame), events)
        except h2.exceptions.DenialOfServiceError as too_much:
            self._session.fail(FLOOD, str(too_much), ErrorCode.ENHANCE_YOUR_CALM, events)
        except h2.exceptions.ProtocolError as error:
            self._session.fail(PROTOCOL, str(error), int(error.error_code), events)

    def _refuses_frame(self, kind: int, flags: int, events: list[Event]) -> bool:
        """What h2 would take or wait for: a frame above our limit, a first frame that is not SETTINGS."""
        if kind == OVERLONG:
            self._session.fail(PROTOCOL, "a frame is larger than SETTINGS_MAX_FRAME_SIZE", FRAME_SIZE_ERROR, events)
        elif not self._settled and kind != CONNECTION_PREFACE:
            if kind != SETTINGS or flags & ACK:
                self._session.fail(PROTOCOL, "the first frame is not SETTINGS", ErrorCode.PROTOCOL_ERROR, events)
            self._settled = True
        return self._session.failure is not None

    def receive_eof(self) -> list[Event]:
        events: list[Event] = []
        self._session.peer_left = True
        self._session.reset_all(ErrorCode.CANCEL, events)
        return events

    def resume(self) -> list[Event]:
        return []

    # Bytes out.

    def data_to_send(self) -> bytes:
        session = self._session
        session.floods.acknowledged()
        if session.failure is None:
            self._send_bodies()
            session.out += self._conn.data_to_send()
        out = bytes(session.out[: self.output_bytes])
        del session.out[: self.output_bytes]
        return out

    def _send_bodies(self) -> None:
        """Until the windows are shut or there is enough for one call."""
        bodies = self._session.bodies
        if bodies.waiting:
            room = min(self.output_bytes - len(self._session.out), self._conn.outbound_flow_control_window)
            bodies.send(room, prompt_share(self.output_bytes), self._session)

    # Commands.

    def send_request(self, head: RequestHead, end_stream: bool) -> int:
        stream_id = self._conn.get_next_available_stream_id()
        if head.protocol:
            head = self._session.terms.write(head)
            end_stream = end_stream or not head.protocol
        self._conn.send_headers(stream_id, request_block(head), end_stream=end_stream)
        stream = self._session.streams[stream_id] = H2Stream(head.method, upgrade=bool(head.protocol))
        stream.local_ended = stream.end_sent = end_stream
        return stream_id

    def send_informational(self, stream_id: int, head: ResponseHead) -> None:
        if self._writable(stream_id):
            self._conn.send_headers(stream_id, response_block(head))

    def send_response(self, stream_id: int, head: ResponseHead, end_stream: bool) -> None:
        if self._writable(stream_id):
            self._session.send_response(stream_id, head, end_stream)

    def send_data(self, stream_id: int, data: bytes, end_stream: bool) -> None:
        stream = self._writable(stream_id)
        if stream is None:
            return
        session = self._session
        if data:
            session.bodies.put(stream_id, data)
        if end_stream:
            session.end_local(stream)
            if not session.bodies.end(stream_id, None):
                session.send_body(stream_id, b"", True)

    def send_trailers(self, stream_id: int, headers: Sequence[Header]) -> None:
        stream = self._writable(stream_id)
        if stream is not None:
            self._session.end_local(stream)
            if not self._session.bodies.end(stream_id, headers):
                self._session.send_last(stream_id, headers)

    def _writable(self, stream_id: int) -> H2Stream | None:
        stream = self._session.streams.get(stream_id)
        return None if stream is None or stream.local_ended else stream

    def reset(self, stream_id: int, code: int) -> None:
        self._session.reset(stream_id, code)

    def consumed(self, stream_id: int, size: int) -> None:
        self._session.consumed(stream_id, size)

    # The connection.

    def ping(self, payload: bytes) -> bool:
        if self._session.failure is None:
            self._conn.ping(payload)
        return True

    def drain(self) -> None:
        if self._session.client:
            self._session.no_new = True
        else:
            self._queue_goaway(0x7FFFFFFF)

    def drained(self) -> None:
        session = self._session
        session.no_new = True
        session.drained_at = session.last_stream
        self._queue_goaway(session.last_stream)

    def _queue_goaway(self, last_stream_id: int) -> None:
        if self._session.failure is None:
            self._session.out += self._conn.data_to_send() + goaway_frame(last_stream_id, ErrorCode.NO_ERROR)
