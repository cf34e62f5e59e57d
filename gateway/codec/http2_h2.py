"""HTTP/2 on h2, both roles: the reference that the ngh2 codec is compared with, and the codec where ngh2 has no wheel.

How h2 is used:

- It is given one frame at a time, because what one `receive_data` saw before an error would be lost with it, and
  because floods are counted by frame.
- Its own validation of fields is off: h2 ends the connection for a malformed message, where RFC 9113 section 8.1.1
  wants a stream's end. `http2_message` does it instead.
- GOAWAY frames are not given to it and not made by it: to h2 they are the end of all streams.
- Bodies wait here, stream by stream, for the windows that h2 keeps.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any, Final

import h2.config
import h2.connection
import h2.errors
import h2.events
import h2.exceptions
import h2.settings

from gateway.codec.data_runs import DataRuns
from gateway.codec.events import (
    ErrorCode,
    Event,
    GoAway,
    Header,
    Informational,
    PingAck,
    Refused,
    Request,
    RequestHead,
    Reset,
    Response,
    ResponseHead,
    Trailers,
    Writable,
)
from gateway.codec.headers import HEADER_LIMIT
from gateway.codec.held import HeldBytes
from gateway.codec.http2_floods import FloodGuard
from gateway.codec.http2_frames import (
    ACK,
    ASSUMED_STREAMS,
    CONNECTION_PREFACE,
    CONTINUATION,
    END_HEADERS,
    GOAWAY,
    HEADERS,
    OVERLONG,
    PREFACE,
    PUSH_PROMISE,
    SETTINGS,
    UNLIMITED_STREAMS,
    FrameSplitter,
    goaway_frame,
    settings,
)
from gateway.codec.http2_h2_stream import H2Stream
from gateway.codec.http2_message import (
    HARD_LIMIT_FACTOR,
    TOO_LARGE_ANSWER,
    Block,
    MalformedMessage,
    TooLarge,
    check_size,
    content_length,
    parse_request,
    parse_response,
    request_block,
    response_block,
    validate_block,
)
from gateway.codec.interface import (
    FLOOD,
    MALFORMED,
    PROTOCOL,
    SLOW_HEAD,
    STREAM_LIMIT,
    CodecFailure,
    CodecLimits,
    Lent,
)
from gateway.codec.output import OUTPUT_BYTES

DATA_FRAME_BYTES: Final = 16_384
"""As libnghttp2 does: small frames let streams take turns."""

FRAME_SIZE_ERROR: Final = 0x6
GOAWAY_BYTES: Final = 17


class H2Codec:
    """One HTTP/2 connection on h2. See `gateway.codec.interface.Codec`."""

    def __init__(self, *, client: bool, limits: CodecLimits) -> None:
        self.failure: CodecFailure | None = None
        self._client = client
        self._limits = limits
        self._conn = _connection(client, limits)
        self._splitter = FrameSplitter(preface=b"" if client else PREFACE, frame_bytes=limits.frame_bytes)
        self._floods = FloodGuard()
        self._in_block = False
        self._settled = False
        self._open: dict[int, H2Stream] = {}
        self._out = bytearray()
        self._held = HeldBytes()
        self._runs = DataRuns()
        self._connection_credit = 0
        self._peer_streams = ASSUMED_STREAMS
        self._peer_spoke = False
        self._last_stream = 0
        self._drained_at: int | None = None
        self._no_new = False
        self._peer_left = False
        self._peer_last_stream = 0x7FFFFFFF

    # What the driver asks.

    @property
    def closing(self) -> bool:
        return self.failure is not None or ((self._no_new or self._peer_left) and not self._open)

    @property
    def paused(self) -> bool:
        return False

    @property
    def half_closed(self) -> bool:
        return False

    @property
    def mid_head(self) -> bool:
        return not self._client and (self._in_block or self._splitter.inside)

    def expire_head(self) -> None:
        self._fail(SLOW_HEAD, "the rest of a request's head did not come", ErrorCode.ENHANCE_YOUR_CALM, [])

    @property
    def open_streams(self) -> int:
        return len(self._open)

    @property
    def can_open(self) -> bool:
        return (
            self._client
            and self.failure is None
            and not self._no_new
            and not self._peer_left
            and len(self._open) < self._peer_streams
        )

    def queued(self, stream_id: int) -> int:
        stream = self._open.get(stream_id)
        return stream.queued if stream else 0

    # Bytes in.

    def receive(self, data: Lent) -> list[Event]:
        events: list[Event] = []
        for frame, kind, flags in self._splitter.split(data):
            if self.failure is not None:
                break
            self._receive_frame(frame, kind, flags, events)
        self._runs.join()
        return events

    def _receive_frame(self, frame: bytes, kind: int, flags: int, events: list[Event]) -> None:
        if flood := self._floods.count(kind, flags, len(frame)):
            self._fail(FLOOD, flood, ErrorCode.ENHANCE_YOUR_CALM, events)
            return
        if self._refuses_frame(kind, flags, events):
            return
        in_block = self._in_block
        if kind in (HEADERS, PUSH_PROMISE, CONTINUATION):
            self._in_block = not flags & END_HEADERS
        if kind == GOAWAY and not in_block and len(frame) >= GOAWAY_BYTES and frame[5:9] == b"\0\0\0\0":
            self._on_goaway(frame, events)
            return
        try:
            for event in self._conn.receive_data(frame):
                handler = _HANDLERS.get(type(event))
                if handler is not None:
                    handler(self, event, events)
        except h2.exceptions.DenialOfServiceError as too_much:
            self._fail(FLOOD, str(too_much), ErrorCode.ENHANCE_YOUR_CALM, events)
        except h2.exceptions.TooManyStreamsError as too_many:
            self._fail(STREAM_LIMIT, str(too_many), ErrorCode.PROTOCOL_ERROR, events)
        except h2.exceptions.ProtocolError as error:
            self._fail(PROTOCOL, str(error), int(error.error_code), events)

    def _refuses_frame(self, kind: int, flags: int, events: list[Event]) -> bool:
        """What h2 would take or wait for: a frame above our limit, a first frame that is not SETTINGS."""
        if kind == OVERLONG:
            self._fail(PROTOCOL, "a frame is larger than SETTINGS_MAX_FRAME_SIZE", FRAME_SIZE_ERROR, events)
        elif not self._settled and kind != CONNECTION_PREFACE:
            if kind != SETTINGS or flags & ACK:
                self._fail(PROTOCOL, "the first frame is not SETTINGS", ErrorCode.PROTOCOL_ERROR, events)
            self._settled = True
        return self.failure is not None

    def receive_eof(self) -> list[Event]:
        events: list[Event] = []
        self._peer_left = True
        self._reset_all(ErrorCode.CANCEL, events)
        return events

    def resume(self) -> list[Event]:
        return []

    # h2's events to ours.

    def _on_request(self, event: h2.events.RequestReceived, events: list[Event]) -> None:
        stream_id = event.stream_id
        headers = event.headers
        ended = event.stream_ended is not None
        if self._drained_at is not None and stream_id > self._drained_at:
            self._reset_engine(stream_id, ErrorCode.REFUSED_STREAM)
            return
        self._last_stream = stream_id
        try:
            check_size(headers, self._limits)
            validate_block(headers, Block.REQUEST)
            head = parse_request(headers)
        except MalformedMessage as malformed:
            self._refuse(stream_id, str(malformed), events)
            return
        except TooLarge as too_large:
            self._answer_too_large(stream_id, len(headers), str(too_large), ended, events)
            return
        missing = content_length(headers)
        if ended and missing:
            self._refuse(stream_id, "content-length promises a body, and there is none", events)
            return
        stream = self._open[stream_id] = H2Stream(head.method)
        stream.missing = missing
        stream.remote_ended = ended
        events.append(Request(stream_id, head, ended))

    def _refuse(self, stream_id: int, detail: str, events: list[Event]) -> None:
        """What begins the stream is no request: nobody is told of it."""
        self._reset_engine(stream_id, ErrorCode.PROTOCOL_ERROR)
        events.append(Refused(stream_id, MALFORMED, detail))

    def _answer_too_large(self, stream_id: int, count: int, detail: str, ended: bool, events: list[Event]) -> None:
        if count > self._limits.header_count * HARD_LIMIT_FACTOR:
            self._fail(FLOOD, "a header list has too many fields", ErrorCode.ENHANCE_YOUR_CALM, events)
            return
        stream = self._open[stream_id] = H2Stream(b"")
        stream.remote_ended = ended
        stream.refused = True
        events.append(Refused(stream_id, HEADER_LIMIT, detail))
        self.send_response(stream_id, TOO_LARGE_ANSWER, end_stream=True)

    def _on_response(self, event: h2.events.ResponseReceived, events: list[Event]) -> None:
        stream_id = event.stream_id
        if not self._accept_block(stream_id, event.headers, Block.RESPONSE, events):
            return
        ended = event.stream_ended is not None
        stream = self._open[stream_id]
        head = parse_response(event.headers)
        if head.status in (204, 304):
            # Whatever length it announces (RFC 9110 section 6.4.1). That HEAD has none either is known to h2.
            stream.bodiless = True
        elif stream.method not in (b"HEAD", b"CONNECT"):
            stream.missing = content_length(event.headers)
        if ended and stream.missing:
            self._give_up(stream_id, ErrorCode.PROTOCOL_ERROR, events)
            return
        events.append(Response(stream_id, head, ended))
        if ended:
            self._remote_ended(stream_id)

    def _on_informational(self, event: h2.events.InformationalResponseReceived, events: list[Event]) -> None:
        if self._accept_block(event.stream_id, event.headers, Block.RESPONSE, events):
            events.append(Informational(event.stream_id, parse_response(event.headers)))

    def _on_trailers(self, event: h2.events.TrailersReceived, events: list[Event]) -> None:
        if self._accept_block(event.stream_id, event.headers, Block.TRAILERS, events):
            if self._open[event.stream_id].missing:
                self._give_up(event.stream_id, ErrorCode.PROTOCOL_ERROR, events)
                return
            if not self._open[event.stream_id].unwanted:
                events.append(Trailers(event.stream_id, list(event.headers)))
            self._remote_ended(event.stream_id)

    def _accept_block(self, stream_id: int, headers: list[Header], block: Block, events: list[Event]) -> bool:
        """Whether a block may be handed on. If not, its stream has been reset."""
        if stream_id not in self._open:
            return False
        try:
            check_size(headers, self._limits)
            validate_block(headers, block)
        except MalformedMessage:
            self._give_up(stream_id, ErrorCode.PROTOCOL_ERROR, events)
            return False
        except TooLarge as too_large:
            if not self._client and not self._open[stream_id].refused:
                events.append(Refused(stream_id, HEADER_LIMIT, str(too_large)))
            self._give_up(stream_id, ErrorCode.ENHANCE_YOUR_CALM, events)
            return False
        return True

    def _on_data(self, event: h2.events.DataReceived, events: list[Event]) -> None:
        stream_id = event.stream_id
        size = len(event.data)
        stream = self._open.get(stream_id)
        if stream is not None and not stream.unwanted:
            self._held.hold(stream_id, size)
        self._credit_connection(event.flow_controlled_length)
        if stream is None:
            return
        ended = event.stream_ended is not None
        if stream.bodiless and size:
            self._give_up(stream_id, ErrorCode.PROTOCOL_ERROR, events)
            return
        if stream.missing is not None:
            # h2 itself ends the connection for a body that is longer, or ends too early with DATA.
            stream.missing -= size
        if not stream.unwanted:
            self._credit_stream(stream_id, stream, event.flow_controlled_length - size)
            self._runs.add(events, stream_id, event.data, ended)
        if ended:
            self._remote_ended(stream_id)

    def _on_reset(self, event: h2.events.StreamReset, events: list[Event]) -> None:
        stream = self._open.pop(event.stream_id, None)
        self._let_go(event.stream_id)
        if stream is None or stream.refused:
            return
        code = int(event.error_code)
        if self._client and stream.remote_ended and code == ErrorCode.NO_ERROR:
            return
        events.append(Reset(event.stream_id, code, self._client and code == ErrorCode.REFUSED_STREAM))

    def _on_window(self, event: h2.events.WindowUpdated, events: list[Event]) -> None:
        if any(stream.queued for stream in self._open.values()):
            events.append(Writable(event.stream_id))

    def _on_settings(self, event: h2.events.RemoteSettingsChanged, events: list[Event]) -> None:
        if not self._peer_spoke:
            self._peer_spoke = True
            self._peer_streams = UNLIMITED_STREAMS
        changed = {int(code): setting.new_value for code, setting in event.changed_settings.items()}
        self._peer_streams = changed.get(0x3, self._peer_streams)
        if 0x4 in changed and any(stream.queued for stream in self._open.values()):
            events.append(Writable(0))

    def _on_ping_ack(self, event: h2.events.PingAckReceived, events: list[Event]) -> None:
        events.append(PingAck(event.ping_data))

    def _on_goaway(self, frame: bytes, events: list[Event]) -> None:
        last_stream_id = int.from_bytes(frame[9:13], "big") & 0x7FFFFFFF
        ours = last_stream_id % 2 == int(self._client)
        if (last_stream_id and not ours) or last_stream_id > self._peer_last_stream:
            self._fail(PROTOCOL, "a GOAWAY's last stream is no stream of ours", ErrorCode.PROTOCOL_ERROR, events)
            return
        self._peer_last_stream = last_stream_id
        self._peer_left = True
        events.append(GoAway(last_stream_id, int.from_bytes(frame[13:17], "big"), frame[17:]))
        if self._client:
            for stream_id in [stream_id for stream_id in self._open if stream_id > last_stream_id]:
                self.reset(stream_id, ErrorCode.CANCEL)
                events.append(Reset(stream_id, ErrorCode.REFUSED_STREAM, True))

    # Ends.

    def _remote_ended(self, stream_id: int) -> None:
        self._open[stream_id].remote_ended = True
        self._forget_if_ended(stream_id)

    def _forget_if_ended(self, stream_id: int) -> None:
        stream = self._open[stream_id]
        if not stream.end_sent:
            return
        if stream.remote_ended:
            del self._open[stream_id]
            self._floods.stream_ended()
        elif stream.unwanted:
            # RFC 9113 section 8.1.
            self.reset(stream_id, ErrorCode.NO_ERROR)

    def _give_up(self, stream_id: int, code: int, events: list[Event]) -> None:
        """Resets a stream for what the peer sent on it, and tells."""
        refused = self._open[stream_id].refused
        self.reset(stream_id, code)
        if not refused:
            events.append(Reset(stream_id, code))

    def _fail(self, code: str, detail: str, wire_code: int, events: list[Event]) -> None:
        self.failure = CodecFailure(code, detail)
        # h2 has written a GOAWAY for an error of its own, but with a last stream that it may not have seen.
        self._conn.clear_outbound_data_buffer()
        self._out += goaway_frame(self._last_stream, wire_code)
        self._reset_all(wire_code, events)

    def _reset_all(self, code: int, events: list[Event]) -> None:
        events.extend(Reset(stream_id, code) for stream_id, stream in self._open.items() if not stream.refused)
        self._open.clear()
        self._held.clear()

    # Bytes out.

    def data_to_send(self) -> bytes:
        self._floods.acknowledged()
        if self.failure is None:
            self._send_bodies()
            self._out += self._conn.data_to_send()
        out = bytes(self._out[:OUTPUT_BYTES])
        del self._out[:OUTPUT_BYTES]
        return out

    def _send_bodies(self) -> None:
        """Streams take turns, a frame each, until the windows are shut or there is enough for one call."""
        room = OUTPUT_BYTES - len(self._out)
        ready = [stream_id for stream_id, stream in self._open.items() if stream.has_output]
        while ready and room > 0:
            still: list[int] = []
            for stream_id in ready:
                stream = self._open[stream_id]
                sent = self._send_frame(stream_id, stream)
                room -= sent
                if sent and stream.has_output:
                    still.append(stream_id)
            ready = still

    def _send_frame(self, stream_id: int, stream: H2Stream) -> int:
        """The next DATA or trailers of a stream. Returns what it took, 0 when its window is shut."""
        size = min(stream.queued, DATA_FRAME_BYTES, self._conn.max_outbound_frame_size)
        size = min(size, max(0, self._conn.local_flow_control_window(stream_id)))
        last = stream.local_ended and size == stream.queued
        if not size and not last:
            return 0
        if size or stream.trailers is None:
            data = stream.take(size)
            self._conn.send_data(stream_id, data, end_stream=last and stream.trailers is None)
        if last:
            if stream.trailers is not None:
                self._conn.send_headers(stream_id, stream.trailers, end_stream=True)
            stream.end_sent = True
            self._forget_if_ended(stream_id)
        return size + 9

    # Commands.

    def send_request(self, head: RequestHead, end_stream: bool) -> int:
        stream_id = self._conn.get_next_available_stream_id()
        self._conn.send_headers(stream_id, request_block(head), end_stream=end_stream)
        stream = self._open[stream_id] = H2Stream(head.method)
        stream.local_ended = stream.end_sent = end_stream
        return stream_id

    def send_informational(self, stream_id: int, head: ResponseHead) -> None:
        if self._writable(stream_id):
            self._conn.send_headers(stream_id, response_block(head))

    def send_response(self, stream_id: int, head: ResponseHead, end_stream: bool) -> None:
        stream = self._writable(stream_id)
        if stream is None:
            return
        self._conn.send_headers(stream_id, response_block(head), end_stream=end_stream)
        stream.tunnel = stream.tunnel and head.status < 300
        if end_stream:
            self._end(stream)
            stream.end_sent = True
            self._forget_if_ended(stream_id)

    def _end(self, stream: H2Stream) -> None:
        stream.local_ended = True
        stream.unwanted = not self._client and not stream.tunnel and not stream.remote_ended

    def send_data(self, stream_id: int, data: bytes, end_stream: bool) -> None:
        stream = self._writable(stream_id)
        if stream is None:
            return
        if data:
            stream.put(data)
        if end_stream:
            self._end(stream)

    def send_trailers(self, stream_id: int, headers: Sequence[Header]) -> None:
        stream = self._writable(stream_id)
        if stream is not None:
            stream.trailers = list(headers)
            self._end(stream)

    def _writable(self, stream_id: int) -> H2Stream | None:
        stream = self._open.get(stream_id)
        return None if stream is None or stream.local_ended else stream

    def reset(self, stream_id: int, code: int) -> None:
        if self._open.pop(stream_id, None) is not None:
            self._let_go(stream_id)
            self._reset_engine(stream_id, code)

    def _reset_engine(self, stream_id: int, code: int) -> None:
        try:
            self._conn.reset_stream(stream_id, code)
        except h2.exceptions.ProtocolError:
            # Both sides had ended in h2's eyes: there is nothing left to reset.
            pass

    # Flow control. The connection's window is given back as soon as bytes come, so that what slow streams hold does not
    # count against it until it is very much; a stream's own window only when its bytes have gone on.

    def consumed(self, stream_id: int, size: int) -> None:
        size = self._held.consume(stream_id, size)
        stream = self._open.get(stream_id)
        if stream is not None:
            self._credit_stream(stream_id, stream, size)
        self._credit_connection(0)

    def _let_go(self, stream_id: int) -> None:
        if self._held.let_go(stream_id):
            self._credit_connection(0)

    def _credit_stream(self, stream_id: int, stream: H2Stream, size: int) -> None:
        stream.credit += size
        if stream.credit * 2 >= self._limits.stream_window and not stream.remote_ended:
            self._conn.increment_flow_control_window(stream.credit, stream_id)
            stream.credit = 0

    def _credit_connection(self, size: int) -> None:
        self._connection_credit += size
        if self._held.total + self._limits.connection_window > self._limits.widest_window:
            return
        if self._connection_credit * 2 >= self._limits.connection_window:
            self._conn.increment_flow_control_window(self._connection_credit)
            self._connection_credit = 0

    # The connection.

    def ping(self, payload: bytes) -> bool:
        if self.failure is None:
            self._conn.ping(payload)
        return True

    def drain(self) -> None:
        if self._client:
            self._no_new = True
        else:
            self._queue_goaway(0x7FFFFFFF)

    def drained(self) -> None:
        self._no_new = True
        self._drained_at = self._last_stream
        self._queue_goaway(self._last_stream)

    def _queue_goaway(self, last_stream_id: int) -> None:
        if self.failure is None:
            self._out += self._conn.data_to_send() + goaway_frame(last_stream_id, ErrorCode.NO_ERROR)


def _connection(client: bool, limits: CodecLimits) -> h2.connection.H2Connection:
    conn = h2.connection.H2Connection(
        h2.config.H2Configuration(
            client_side=client,
            header_encoding=None,
            validate_inbound_headers=False,
            normalize_inbound_headers=False,
            validate_outbound_headers=False,
            normalize_outbound_headers=False,
        )
    )
    initial = {h2.settings.SettingCodes(code): value for code, value in settings(limits, client=client).items()}
    conn.local_settings = h2.settings.Settings(client=client, initial_values=initial)
    conn.max_inbound_frame_size = limits.frame_bytes
    conn.decoder.max_header_list_size = limits.header_bytes * HARD_LIMIT_FACTOR
    conn.initiate_connection()
    conn.increment_flow_control_window(limits.connection_window - conn.inbound_flow_control_window)
    return conn


_HANDLERS: Final[dict[type[h2.events.Event], Callable[[H2Codec, Any, list[Event]], None]]] = {
    h2.events.RequestReceived: H2Codec._on_request,
    h2.events.ResponseReceived: H2Codec._on_response,
    h2.events.InformationalResponseReceived: H2Codec._on_informational,
    h2.events.TrailersReceived: H2Codec._on_trailers,
    h2.events.DataReceived: H2Codec._on_data,
    h2.events.StreamReset: H2Codec._on_reset,
    h2.events.WindowUpdated: H2Codec._on_window,
    h2.events.RemoteSettingsChanged: H2Codec._on_settings,
    h2.events.PingAckReceived: H2Codec._on_ping_ack,
}
