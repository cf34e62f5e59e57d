"""What is known of one HTTP/2 connection on ngh2: its streams, its windows, and why it ends.

Flow control is manual. ngh2's acknowledgement gives back a stream's and the connection's window together, so the
connection's window is watched apart from it: see `widen`.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Final

import ngh2

from gateway.codec.data_runs import DataRuns
from gateway.codec.events import ErrorCode, Event, Header, Refused, Reset
from gateway.codec.headers import HEADER_LIMIT
from gateway.codec.held import HeldBytes
from gateway.codec.http2.bodies import Bodies
from gateway.codec.http2.extended_connect import ServerTerms
from gateway.codec.http2.frames import ASSUMED_STREAMS, HEADER_BYTES, RST_STREAM, FrameSplitter, settings
from gateway.codec.http2.message import HARD_LIMIT_FACTOR
from gateway.codec.limits import STREAM_LIMIT, CodecFailure, CodecLimits

# What is known of a stream, as bits: small ints in a dict are the cheapest state there is.
REMOTE_ENDED: Final = 1
LOCAL_ENDED: Final = 2
TUNNEL: Final = 4
# One that asks for an upgrade.
UPGRADE: Final = 32
# Answered by the codec itself: nobody was told of it.
REFUSED: Final = 8
ENDED: Final = REMOTE_ENDED | LOCAL_ENDED

# Cancelled requests are everyday traffic on a tunnel that many workloads share: libnghttp2's default (33 a second)
# would close it under load. A rapid-reset attack (CVE-2023-44487) is far above this.
RESETS: Final = (2_000, 500)
MAX_WINDOW_BYTES: Final = 0x7FFFFFFF
MAX_FRAME_BYTES: Final = 0xFFFFFF
_REFUSED_STREAM: Final = int(ErrorCode.REFUSED_STREAM).to_bytes(4, "big")


def _configuration(limits: CodecLimits) -> ngh2.Configuration:
    return ngh2.Configuration(
        auto_window_update=False,
        stream_reset_rate_limit=RESETS,
        max_send_header_block_length=limits.header_bytes * HARD_LIMIT_FACTOR,
        max_inbound_header_list_size=limits.header_bytes * HARD_LIMIT_FACTOR,
        max_inbound_header_count=limits.header_count * HARD_LIMIT_FACTOR,
    )


class Ngh2Session:
    """One connection's state. The codec (`ngh2_codec`) and the engine's events (`ngh2_events`) change it."""

    def __init__(self, client: bool, limits: CodecLimits) -> None:
        self.client = client
        self.limits = limits
        self.conn = ngh2.Connection(ngh2.Role.CLIENT if client else ngh2.Role.SERVER, _configuration(limits))
        # A server goes by what its client says of small bodies' priorities (RFC 9218 section 2.1).
        priorities = {} if client else {0x9: 1}
        self.conn.initiate_connection(settings(limits, client=client) | priorities)
        self.streams: dict[int, int] = {}
        """The open streams and their bits."""
        self.unfinished: dict[int, bool] = {}
        """Requests whose rest goes nowhere, as our response is whole; and whether that ends without bytes."""
        self.given_up: set[int] = set()
        """Streams that somebody was told of and either side has reset, until libnghttp2 has closed them."""
        self.last_stream = 0
        self.bodies = Bodies()
        """What libnghttp2 was not given yet of what is to be sent."""
        self.held = HeldBytes()
        self.runs = DataRuns()
        self._window = limits.connection_window
        self.conn.set_local_window_size(self._window)
        self.peer_streams = ASSUMED_STREAMS
        self.peer_spoke = False
        self.terms = ServerTerms()
        self.peer_left = False
        self.no_new = False
        self.over = False
        self.failure: CodecFailure | None = None
        self.sent = None if client else FrameSplitter(preface=b"", frame_bytes=MAX_FRAME_BYTES)
        """Our frames, until the client knows how many streams we take: see `tell_refused`."""

    # Streams.

    def takes(self, stream_id: int) -> bool:
        """Whether our side of the stream is open."""
        flags = self.streams.get(stream_id)
        return flags is not None and not flags & LOCAL_ENDED

    def end_local(self, stream_id: int, *, empty_end: bool) -> None:
        """Our side has ended; `empty_end` says that the end has no bytes to travel with."""
        flags = self.streams[stream_id] = self.streams[stream_id] | LOCAL_ENDED
        if not self.client and not flags & (REMOTE_ENDED | TUNNEL):
            empty_end = empty_end and not self.queued(stream_id)
            self.unfinished[stream_id] = empty_end

    def reset(self, stream_id: int, code: int) -> None:
        if self.streams.pop(stream_id, None) is not None:
            self.forget(stream_id)
            self.reset_engine(stream_id, code)

    def reset_engine(self, stream_id: int, code: int) -> None:
        try:
            self.conn.reset_stream(stream_id, code)
            self.given_up.add(stream_id)
        except ngh2.NGH2Error:
            # The session is ending anyway.
            pass

    def refuse(self, stream_id: int, detail: str, events: list[Event]) -> None:
        """Resets a stream for fields above our limits, and tells."""
        refused = self.streams[stream_id] & REFUSED
        self.reset(stream_id, ErrorCode.ENHANCE_YOUR_CALM)
        if not refused:
            if not self.client:
                events.append(Refused(stream_id, HEADER_LIMIT, detail))
            events.append(Reset(stream_id, ErrorCode.ENHANCE_YOUR_CALM))

    def tell_refused(self, out: bytes, events: list[Event]) -> None:
        """A stream above the limit, of a client that has not acknowledged our SETTINGS, is refused by libnghttp2, which
        tells nobody; so they are found among what it sends. (Later ones end the connection, which it does tell.)"""
        assert self.sent is not None
        for frame, kind, _ in self.sent.split(out):
            if kind == RST_STREAM and frame[HEADER_BYTES:] == _REFUSED_STREAM:
                stream_id = int.from_bytes(frame[5:HEADER_BYTES], "big")
                if stream_id not in self.given_up:
                    events.append(Refused(stream_id, STREAM_LIMIT, "the client has not acknowledged the limit yet"))

    def reset_all(self, code: int, events: list[Event]) -> None:
        events.extend(Reset(stream_id, code) for stream_id, flags in self.streams.items() if not flags & REFUSED)
        self.streams.clear()
        self.unfinished.clear()
        self.bodies.clear()
        self.held.clear()

    # Bodies on their way out.

    def queued(self, stream_id: int) -> int:
        """Bytes of its body that are not framed yet, here or in libnghttp2."""
        return self.conn.queued_body_size(stream_id) + self.bodies.queued(stream_id)

    def body_window(self, stream_id: int) -> int:
        """See `BodySink`."""
        try:
            return max(0, self.conn.stream_remote_window_size(stream_id) - self.conn.queued_body_size(stream_id))
        except ngh2.StreamUnavailableError:
            # Its request's head waits in libnghttp2 for one of the streams that the peer takes.
            return -1

    def send_body(self, stream_id: int, data: bytes, end_stream: bool) -> None:
        self.conn.send_data(stream_id, data, end_stream=end_stream)

    def send_last(self, stream_id: int, trailers: Sequence[Header]) -> None:
        self.conn.send_trailers(stream_id, trailers)

    # The connection.

    def fail(self, code: str, detail: str) -> None:
        if self.failure is None:
            self.failure = CodecFailure(code, detail)

    def retire(self) -> None:
        """The last GOAWAY: the connection closes when its streams have ended."""
        self.no_new = True
        try:
            self.conn.send_goaway(ErrorCode.NO_ERROR)
        except ngh2.NGH2Error:
            # The session is ending anyway.
            pass

    # Windows.

    def consumed(self, stream_id: int, size: int) -> None:
        size = self.held.consume(stream_id, size)
        if size:
            self.acknowledge(stream_id, size)

    def forget(self, stream_id: int) -> None:
        """The stream is gone, before both sides have said all."""
        self.unfinished.pop(stream_id, None)
        self.bodies.forget(stream_id)
        self.let_go(stream_id)

    def let_go(self, stream_id: int) -> None:
        """What is still held of a stream that is gone goes nowhere."""
        held = self.held.let_go(stream_id)
        if held:
            self.acknowledge(stream_id, held)

    def acknowledge(self, stream_id: int, size: int) -> None:
        try:
            self.conn.acknowledge_received_data(size, stream_id)
        except ngh2.NGH2Error:
            # The session is ending: nobody needs a window.
            pass

    def widen(self) -> None:
        """Makes the connection's window larger when less than a quarter of its first size is open.

        libnghttp2 gives bytes back when half of the window W has been acknowledged, so W/2 less what slow streams
        hold is always open. Twice what is in use and the first size again keeps that above half of the first size.
        W ends at `widest_window`, where the connection waits for the slow streams to be read. W is never made
        smaller: libnghttp2 takes a reduction from the increases that come later (seen: a window that had been widened,
        lowered and widened again stayed shut).

        The first part of a DATA frame whose stream we reset before the rest came is lost to the window: ngh2 never
        reports it, so nobody can acknowledge it. Where that, and not what streams hold, has used the widest window up,
        the connection retires.
        """
        base = self.limits.connection_window
        remaining = self.conn.local_window_size
        if remaining >= base >> 2:
            return
        wanted = 2 * (self._window - remaining) + base
        widest = self.limits.widest_window
        if wanted > widest and 8 * self.held.total < widest:
            widest = MAX_WINDOW_BYTES
            if not self.no_new:
                self.retire()
        wanted = min(wanted, widest)
        if wanted > self._window:
            self._window = wanted
            self.conn.set_local_window_size(wanted)
