"""What is known of one HTTP/2 connection on h2: its streams, its windows, and why it ends."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Final

import h2.config
import h2.connection
import h2.exceptions
import h2.settings

from gateway.codec.data_runs import DataRuns
from gateway.codec.events import ErrorCode, Event, Header, Reset, ResponseHead
from gateway.codec.held import HeldBytes
from gateway.codec.http2.bodies import Bodies
from gateway.codec.http2.extended_connect import TAKES_UPGRADES, ServerTerms, write_answer
from gateway.codec.http2.floods import FloodGuard
from gateway.codec.http2.frames import (
    ASSUMED_STREAMS,
    PREFACE,
    UNLIMITED_STREAMS,
    goaway_frame,
    settings,
    settings_frame,
)
from gateway.codec.http2.h2_stream import H2Stream
from gateway.codec.http2.message import HARD_LIMIT_FACTOR, response_block
from gateway.codec.limits import CodecFailure, CodecLimits

DATA_FRAME_BYTES: Final = 16_384
"""As libnghttp2 does: small frames let streams take turns."""


class H2Session:
    """One connection's state. The codec (`h2_codec`) and the engine's events (`h2_events`) change it."""

    def __init__(self, client: bool, limits: CodecLimits) -> None:
        self.client = client
        self.limits = limits
        self.conn = _connection(client, limits)
        self.out = bytearray((PREFACE if client else b"") + settings_frame(settings(limits, client=client)))
        """Bytes for the transport, of h2's and of our own."""
        self.streams: dict[int, H2Stream] = {}
        self.last_stream = 0
        self.bodies = Bodies()
        self.held = HeldBytes()
        self.runs = DataRuns()
        self.floods = FloodGuard()
        self._connection_credit = 0
        self.peer_streams = ASSUMED_STREAMS
        self.settings_known = False
        """The peer has acknowledged our SETTINGS."""
        self.peer_spoke = False
        self.terms = ServerTerms()
        self.peer_left = False
        self.peer_last_stream = 0x7FFFFFFF
        self.no_new = False
        self.drained_at: int | None = None
        self.failure: CodecFailure | None = None

    # Streams.

    def send_response(self, stream_id: int, head: ResponseHead, end_stream: bool) -> None:
        """A final response's head, on a stream whose sending side is open."""
        stream = self.streams[stream_id]
        if stream.upgrade:
            head = write_answer(head)
        self.conn.send_headers(stream_id, response_block(head), end_stream=end_stream)
        stream.tunnel = stream.tunnel and head.status < 300
        if end_stream:
            self.end_local(stream)
            self.end_sent(stream_id)

    def end_local(self, stream: H2Stream) -> None:
        """Our side has said everything, though not all of it may be out."""
        stream.local_ended = True
        stream.unwanted = not self.client and not stream.tunnel and not stream.remote_ended

    def end_remote(self, stream_id: int) -> None:
        self.streams[stream_id].remote_ended = True
        self.forget_if_ended(stream_id)

    def end_sent(self, stream_id: int) -> None:
        """Our side's end is out."""
        self.streams[stream_id].end_sent = True
        self.forget_if_ended(stream_id)

    def forget_if_ended(self, stream_id: int) -> None:
        stream = self.streams[stream_id]
        if not stream.end_sent:
            return
        if stream.remote_ended:
            del self.streams[stream_id]
            self.floods.stream_ended()
        elif stream.unwanted:
            # RFC 9113 section 8.1.
            self.reset(stream_id, ErrorCode.NO_ERROR)

    def reset(self, stream_id: int, code: int) -> None:
        if self.streams.pop(stream_id, None) is not None:
            self.forget(stream_id)
            self.reset_engine(stream_id, code)

    def reset_engine(self, stream_id: int, code: int) -> None:
        try:
            self.conn.reset_stream(stream_id, code)
        except h2.exceptions.ProtocolError:
            # Both sides had ended in h2's eyes: there is nothing left to reset.
            pass

    def give_up(self, stream_id: int, code: int, events: list[Event]) -> None:
        """Resets a stream for what the peer sent on it, and tells."""
        refused = self.streams[stream_id].refused
        self.reset(stream_id, code)
        if not refused:
            events.append(Reset(stream_id, code))

    def reset_all(self, code: int, events: list[Event]) -> None:
        events.extend(Reset(stream_id, code) for stream_id, stream in self.streams.items() if not stream.refused)
        self.streams.clear()
        self.bodies.clear()
        self.held.clear()

    # Bodies on their way out: see `BodySink`.

    def body_window(self, stream_id: int) -> int:
        return max(0, self.conn.local_flow_control_window(stream_id))

    def send_body(self, stream_id: int, data: bytes, end_stream: bool) -> None:
        frame_bytes = min(DATA_FRAME_BYTES, self.conn.max_outbound_frame_size)
        while len(data) > frame_bytes:
            self.conn.send_data(stream_id, data[:frame_bytes])
            data = data[frame_bytes:]
        self.conn.send_data(stream_id, data, end_stream=end_stream)
        if end_stream:
            self.end_sent(stream_id)

    def send_last(self, stream_id: int, trailers: Sequence[Header]) -> None:
        self.conn.send_headers(stream_id, trailers, end_stream=True)
        self.end_sent(stream_id)

    # The connection.

    def fail(self, code: str, detail: str, wire_code: int, events: list[Event]) -> None:
        self.failure = CodecFailure(code, detail)
        # h2 has written a GOAWAY for an error of its own, but with a last stream that it may not have seen.
        self.conn.clear_outbound_data_buffer()
        self.out += goaway_frame(self.last_stream, wire_code)
        self.reset_all(wire_code, events)

    # Windows. The connection's is given back as soon as bytes come, so that what slow streams hold does not count
    # against it until it is very much; a stream's own window only when its bytes have gone on.

    def consumed(self, stream_id: int, size: int) -> None:
        size = self.held.consume(stream_id, size)
        stream = self.streams.get(stream_id)
        if stream is not None:
            self.credit_stream(stream_id, stream, size)
        self.credit_connection(0)

    def forget(self, stream_id: int) -> None:
        """The stream is gone, before both sides have said all."""
        self.bodies.forget(stream_id)
        self.let_go(stream_id)

    def let_go(self, stream_id: int) -> None:
        """What is still held of a stream that is gone goes nowhere."""
        if self.held.let_go(stream_id):
            self.credit_connection(0)

    def credit_stream(self, stream_id: int, stream: H2Stream, size: int) -> None:
        stream.credit += size
        if stream.credit * 2 >= self.limits.stream_window and not stream.remote_ended:
            self.conn.increment_flow_control_window(stream.credit, stream_id)
            stream.credit = 0

    def credit_connection(self, size: int) -> None:
        self._connection_credit += size
        if self.held.total + self.limits.connection_window > self.limits.widest_window:
            return
        if self._connection_credit * 2 >= self.limits.connection_window:
            self.conn.increment_flow_control_window(self._connection_credit)
            self._connection_credit = 0


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
    told = settings(limits, client=client)
    initial = {h2.settings.SettingCodes(code): value for code, value in told.items() if code != TAKES_UPGRADES}
    conn.local_settings = h2.settings.Settings(client=client, initial_values=initial)
    conn.max_inbound_frame_size = limits.frame_bytes
    conn.decoder.max_header_list_size = limits.header_bytes * HARD_LIMIT_FACTOR
    conn.initiate_connection()
    # It would write the last byte only of a setting's number that is longer.
    conn.clear_outbound_data_buffer()
    # What is told is one thing. That h2 ends a connection for streams above it, also one of a client that can't know it
    # yet, is another: `h2_events` does that.
    streams = h2.settings.SettingCodes.MAX_CONCURRENT_STREAMS
    conn.local_settings = h2.settings.Settings(client=client, initial_values=initial | {streams: UNLIMITED_STREAMS})
    conn.increment_flow_control_window(limits.connection_window - conn.inbound_flow_control_window)
    return conn
