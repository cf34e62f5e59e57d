"""HTTP/2 on ngh2 (libnghttp2), both roles. This is the hot path: see tests/bench/codec.py before adding to it.

How ngh2 is used:

- libnghttp2 closes a stream, and reports a peer's violation, when it *sends* (RST_STREAM, GOAWAY). So `receive` pulls
  a little output at once when there is any: control frames come first, and the events they cause belong to this call.
- When a limit of ngh2's own is passed it drops its session without a GOAWAY; the codec writes that frame itself.
- Flow control is manual. ngh2's acknowledgement gives back a stream's and the connection's window together, so the
  connection's window is watched apart from it: see `_widen`.
- libnghttp2 reads a clock of its own for its two rate limits (`stream_reset_rate_limit`, `glitch_rate_limit`).
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any, Final

import ngh2

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
from gateway.codec.http2_frames import ASSUMED_STREAMS, UNLIMITED_STREAMS, HeadWatch, goaway_frame, settings
from gateway.codec.http2_message import (
    HARD_LIMIT_FACTOR,
    TOO_LARGE_ANSWER,
    MalformedMessage,
    TooLarge,
    check_size,
    parse_request,
    parse_response,
    request_block,
    response_block,
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

EARLY_OUTPUT_BYTES: Final = 16_384
# Cancelled requests are everyday traffic on a tunnel that many workloads share: libnghttp2's default (33 a second)
# would close it under load. A rapid-reset attack (CVE-2023-44487) is far above this.
RESETS: Final = (2_000, 500)
# libnghttp2 sends one stream's body after the other, unless a stream is "incremental" (RFC 9218 section 4.2). Bodies
# with pieces of this size are made so, at the default urgency whatever the client asked for, so that no large body
# delays another stream. Only a server can say it: a client's large bodies go one after the other, a window each.
LARGE_BYTES: Final = 8_192
MAX_WINDOW_BYTES: Final = 0x7FFFFFFF
# How libnghttp2 says it in the GOAWAY that it ends a session with.
_TOO_MANY_STREAMS: Final = b"max concurrent streams exceeded"
_INCREMENTAL: Final = ngh2.Priority(urgency=3, incremental=True)

# What is known of a stream, as bits: small ints in a dict are the cheapest state there is.
_REMOTE_ENDED: Final = 1
_LOCAL_ENDED: Final = 2
_TUNNEL: Final = 4
# Answered by the codec itself: nobody was told of it.
_REFUSED: Final = 8
_TAKES_TURNS: Final = 16
_ENDED: Final = _REMOTE_ENDED | _LOCAL_ENDED


def _configuration(limits: CodecLimits) -> ngh2.Configuration:
    return ngh2.Configuration(
        auto_window_update=False,
        stream_reset_rate_limit=RESETS,
        max_send_header_block_length=limits.header_bytes * HARD_LIMIT_FACTOR,
        max_inbound_header_list_size=limits.header_bytes * HARD_LIMIT_FACTOR,
        max_inbound_header_count=limits.header_count * HARD_LIMIT_FACTOR,
    )


def _why_ended(error_code: int, debug_data: bytes) -> tuple[str, str]:
    """libnghttp2 ended the session by itself: our code for it, and what it says of why."""
    text = debug_data.decode("ascii", "replace") or f"libnghttp2 ended the session with code {error_code}"
    if error_code == ErrorCode.INTERNAL_ERROR:
        # So it calls what is above `stream_reset_rate_limit`.
        return FLOOD, "too many streams were reset"
    if error_code == ErrorCode.ENHANCE_YOUR_CALM:
        # What is above `glitch_rate_limit`.
        return FLOOD, "too many frames that mean nothing"
    return (STREAM_LIMIT if _TOO_MANY_STREAMS in debug_data else PROTOCOL), text


class Ngh2Codec:
    """One HTTP/2 connection on ngh2. See `gateway.codec.interface.Codec`."""

    def __init__(self, *, client: bool, limits: CodecLimits) -> None:
        self.failure: CodecFailure | None = None
        self._client = client
        self._limits = limits
        self._conn = ngh2.Connection(ngh2.Role.CLIENT if client else ngh2.Role.SERVER, _configuration(limits))
        # A server has RFC 9218's priorities (section 2.1): see LARGE_BYTES.
        priorities = {} if client else {0x9: 1}
        self._conn.initiate_connection(settings(limits, client=client) | priorities)
        self._window = limits.connection_window
        self._conn.set_local_window_size(self._window)
        self._peer_streams = ASSUMED_STREAMS
        self._peer_spoke = False
        self._open: dict[int, int] = {}
        self._held = HeldBytes()
        self._runs = DataRuns()
        self._unfinished: dict[int, bool] = {}
        self._given_up: set[int] = set()
        """Streams that somebody was told of and either side has reset, until libnghttp2 has closed them."""
        self._early_out = b""
        self._torn = False
        self._late: list[Event] = []
        self._last_stream = 0
        self._last_words: bytes | None = None
        self._no_new = False
        self._peer_left = False
        self._over = False
        self._watch = None if client else HeadWatch()

    # What the driver asks.

    @property
    def closing(self) -> bool:
        return self._over or self.failure is not None or ((self._no_new or self._peer_left) and not self._open)

    @property
    def paused(self) -> bool:
        return False

    @property
    def half_closed(self) -> bool:
        return False

    @property
    def mid_head(self) -> bool:
        return self._watch is not None and self._watch.inside

    def expire_head(self) -> None:
        self._fail(SLOW_HEAD, "the rest of a request's head did not come")
        self._say_last(ErrorCode.ENHANCE_YOUR_CALM)
        self._reset_all(ErrorCode.ENHANCE_YOUR_CALM, [])

    @property
    def open_streams(self) -> int:
        return len(self._open)

    @property
    def can_open(self) -> bool:
        return (
            self.failure is None
            and not self._no_new
            and not self._peer_left
            and len(self._open) < self._peer_streams
            and self._conn.can_send_request
        )

    def queued(self, stream_id: int) -> int:
        return self._conn.queued_body_size(stream_id)

    # Bytes in.

    def receive(self, data: Lent) -> list[Event]:
        if self._over or self.failure is not None:
            return []
        events, self._late = self._late, []
        conn = self._conn
        if self._watch is not None:
            self._watch.look(data)
        try:
            conn.receive_data(data)
        except ngh2.NGH2Error as error:
            self._translate(events)
            self._fail_for(error, events)
            return events
        self._translate(events)
        if self._held.total and not self._over:
            self._widen()
        if not self._early_out and conn.want_write:
            self._early_out = self._pull(EARLY_OUTPUT_BYTES, events)
        return events

    def receive_eof(self) -> list[Event]:
        events = self.resume()
        self._peer_left = True
        self._reset_all(ErrorCode.CANCEL, events)
        return events

    def resume(self) -> list[Event]:
        events, self._late = self._late, []
        return events

    # Bytes out.

    def data_to_send(self) -> bytes:
        if self._last_words is not None:
            out, self._last_words = self._early_out + self._last_words, b""
            self._early_out = b""
            return out
        early = self._early_out
        # Every flush ends with a call that finds nothing: that one must be cheap.
        if not early and not self._unfinished and not self._conn.want_write:
            return b""
        out = self._pull(OUTPUT_BYTES, self._late)
        if self._unfinished and len(out) < OUTPUT_BYTES and self._finish_early():
            out += self._pull(OUTPUT_BYTES, self._late)
        if early:
            self._early_out = b""
            return early + out
        return out

    def _pull(self, amount: int, events: list[Event]) -> bytes:
        try:
            out = self._conn.data_to_send(amount)
        except ngh2.NGH2Error as error:
            self._fail_for(error, events)
            return b""
        # A frame may be cut here; nothing of our own may then be put behind it.
        self._torn = len(out) == amount
        self._translate(events)
        return out

    def _finish_early(self) -> bool:
        """Ends the requests whose response is whole and out: RST_STREAM(NO_ERROR), RFC 9113 section 8.1."""
        done = [stream_id for stream_id, empty_end in self._unfinished.items() if self._is_out(stream_id, empty_end)]
        for stream_id in done:
            del self._unfinished[stream_id]
            self.reset(stream_id, ErrorCode.NO_ERROR)
        return bool(done)

    def _is_out(self, stream_id: int, empty_end: bool) -> bool:
        conn = self._conn
        if conn.queued_body_size(stream_id):
            return False
        # An END_STREAM that has no bytes to travel with waits for an open window, like the bytes would.
        return not empty_end or (conn.stream_remote_window_size(stream_id) > 0 and conn.remote_window_size > 0)

    # Engine events to ours.

    def _translate(self, events: list[Event]) -> None:
        for event in self._conn.events():
            handler = _HANDLERS.get(type(event))
            if handler is not None:
                handler(self, event, events)
        self._runs.join()

    def _on_window(self, event: ngh2.WindowUpdated, events: list[Event]) -> None:
        # When nothing is queued nobody waits for it.
        if self._conn.queued_body_size():
            events.append(Writable(event.stream_id))

    def _on_informational(self, event: ngh2.InformationalResponseReceived, events: list[Event]) -> None:
        if event.stream_id in self._open:
            events.append(Informational(event.stream_id, parse_response(event.headers)))

    def _on_settings(self, event: ngh2.SettingsReceived, events: list[Event]) -> None:
        if not self._peer_spoke:
            self._peer_spoke = True
            self._peer_streams = UNLIMITED_STREAMS
        self._peer_streams = event.settings.get(0x3, self._peer_streams)
        if 0x4 in event.settings and self._conn.queued_body_size():
            events.append(Writable(0))

    def _on_ping_ack(self, event: ngh2.PingAcknowledged, events: list[Event]) -> None:
        events.append(PingAck(event.opaque_data))

    def _on_end(self, event: ngh2.ConnectionClosed, events: list[Event]) -> None:
        if event.error_code and not self._peer_left:
            self._fail(*_why_ended(event.error_code, event.debug_data))
        self._over = True
        self._reset_all(event.error_code or ErrorCode.CANCEL, events)

    def _on_request(self, event: ngh2.RequestReceived, events: list[Event]) -> None:
        stream_id = self._last_stream = event.stream_id
        try:
            check_size(event.headers, self._limits)
            head = parse_request(event.headers)
        except MalformedMessage as malformed:
            self._reset_engine(stream_id, ErrorCode.PROTOCOL_ERROR)
            events.append(Refused(stream_id, MALFORMED, str(malformed)))
            return
        except TooLarge as too_large:
            self._conn.send_response(stream_id, response_block(TOO_LARGE_ANSWER), end_stream=True)
            events.append(Refused(stream_id, HEADER_LIMIT, str(too_large)))
            self._open[stream_id] = _REFUSED | _LOCAL_ENDED | (_REMOTE_ENDED if event.end_stream else 0)
            if not event.end_stream:
                self._unfinished[stream_id] = False
            return
        flags = _TUNNEL if head.method == b"CONNECT" else 0
        self._open[stream_id] = flags | _REMOTE_ENDED if event.end_stream else flags
        events.append(Request(stream_id, head, event.end_stream))

    def _on_response(self, event: ngh2.ResponseReceived, events: list[Event]) -> None:
        stream_id = event.stream_id
        if stream_id not in self._open:
            return
        try:
            check_size(event.headers, self._limits)
        except TooLarge as too_large:
            self._refuse(stream_id, str(too_large), events)
            return
        if event.end_stream:
            self._open[stream_id] |= _REMOTE_ENDED
        events.append(Response(stream_id, parse_response(event.headers), event.end_stream))

    def _on_trailers(self, event: ngh2.TrailersReceived, events: list[Event]) -> None:
        stream_id = event.stream_id
        if stream_id not in self._open:
            return
        try:
            check_size(event.headers, self._limits)
        except TooLarge as too_large:
            self._refuse(stream_id, str(too_large), events)
            return
        self._open[stream_id] |= _REMOTE_ENDED
        if self._unfinished.pop(stream_id, None) is None:
            events.append(Trailers(stream_id, list(event.headers)))

    def _on_data(self, event: ngh2.DataReceived, events: list[Event]) -> None:
        stream_id = event.stream_id
        data = event.data
        flags = self._open.get(stream_id)
        if flags is None or stream_id in self._unfinished:
            # Given up by our side, and the peer doesn't know yet.
            self._acknowledge(stream_id, len(data))
            if flags is None or not event.end_stream:
                return
        if event.end_stream:
            self._open[stream_id] |= _REMOTE_ENDED
            if self._unfinished.pop(stream_id, None) is not None:
                return
        self._held.hold(stream_id, len(data))
        self._runs.add(events, stream_id, data, event.end_stream)

    def _on_reset(self, event: ngh2.StreamReset, events: list[Event]) -> None:
        stream_id = event.stream_id
        flags = self._open.pop(stream_id, None)
        if flags is None:
            return
        self._given_up.add(stream_id)
        self._let_go(stream_id)
        if self._client and flags & _REMOTE_ENDED and event.error_code == ErrorCode.NO_ERROR:
            return
        self._unfinished.pop(stream_id, None)
        if not flags & _REFUSED:
            unprocessed = self._client and event.error_code == ErrorCode.REFUSED_STREAM
            events.append(Reset(stream_id, event.error_code, unprocessed))

    def _on_closed(self, event: ngh2.StreamClosed, events: list[Event]) -> None:
        stream_id = event.stream_id
        flags = self._open.pop(stream_id, None)
        if flags is None:
            self._unknown_closed(event, events)
            return
        if event.error_code or event.local_error is not None or flags & _ENDED != _ENDED:
            self._let_go(stream_id)
            self._unfinished.pop(stream_id, None)
            if not flags & _REFUSED:
                # A request that libnghttp2 could not send any more was never seen by the peer.
                events.append(Reset(stream_id, event.error_code, self._client and event.local_error is not None))

    def _unknown_closed(self, event: ngh2.StreamClosed, events: list[Event]) -> None:
        """Either somebody has given the stream up, or what began it was so malformed that libnghttp2 reset it before
        anybody was told of a request."""
        if event.stream_id in self._given_up:
            self._given_up.remove(event.stream_id)
        elif event.error_code and not self._client:
            detail = "its fields are not those of a request (libnghttp2)"
            events.append(Refused(event.stream_id, MALFORMED, detail))

    def _on_goaway(self, event: ngh2.GoAwayReceived, events: list[Event]) -> None:
        self._peer_left = True
        events.append(GoAway(event.last_stream_id, event.error_code, event.debug_data))
        if self._client:
            for stream_id in [stream_id for stream_id in self._open if stream_id > event.last_stream_id]:
                del self._open[stream_id]
                self._let_go(stream_id)
                self._reset_engine(stream_id, ErrorCode.CANCEL)
                events.append(Reset(stream_id, ErrorCode.REFUSED_STREAM, True))

    # Failing.

    def _refuse(self, stream_id: int, detail: str, events: list[Event]) -> None:
        """Resets a stream for fields above our limits, and tells."""
        refused = self._open[stream_id] & _REFUSED
        self.reset(stream_id, ErrorCode.ENHANCE_YOUR_CALM)
        if not refused:
            if not self._client:
                events.append(Refused(stream_id, HEADER_LIMIT, detail))
            events.append(Reset(stream_id, ErrorCode.ENHANCE_YOUR_CALM))

    def _fail_for(self, error: ngh2.NGH2Error, events: list[Event]) -> None:
        """ngh2 has dropped its session: the final GOAWAY is ours to write."""
        flooded = isinstance(error, ngh2.DenialOfServiceError)
        code = ErrorCode.ENHANCE_YOUR_CALM if flooded else ErrorCode.PROTOCOL_ERROR
        self._fail(FLOOD if flooded else PROTOCOL, str(error))
        self._say_last(code)
        self._reset_all(code, events)

    def _say_last(self, code: int) -> None:
        self._last_words = b"" if self._torn else goaway_frame(self._last_stream, code)

    def _fail(self, code: str, detail: str) -> None:
        if self.failure is None:
            self.failure = CodecFailure(code, detail)

    def _reset_all(self, code: int, events: list[Event]) -> None:
        events.extend(Reset(stream_id, code) for stream_id, flags in self._open.items() if not flags & _REFUSED)
        self._open.clear()
        self._unfinished.clear()
        self._held.clear()

    # Commands.

    def send_request(self, head: RequestHead, end_stream: bool) -> int:
        stream_id = self._conn.send_request(request_block(head), end_stream=end_stream)
        self._open[stream_id] = _LOCAL_ENDED if end_stream else 0
        return stream_id

    def send_informational(self, stream_id: int, head: ResponseHead) -> None:
        if self._takes(stream_id):
            self._conn.send_informational_response(stream_id, response_block(head))

    def send_response(self, stream_id: int, head: ResponseHead, end_stream: bool) -> None:
        if not self._takes(stream_id):
            return
        self._conn.send_response(stream_id, response_block(head), end_stream=end_stream)
        if head.status >= 300:
            self._open[stream_id] &= ~_TUNNEL
        if end_stream:
            self._ended(stream_id, empty_end=False)

    def send_data(self, stream_id: int, data: bytes, end_stream: bool) -> None:
        flags = self._open.get(stream_id)
        if flags is None or flags & _LOCAL_ENDED:
            return
        if len(data) >= LARGE_BYTES and not self._client and not flags & _TAKES_TURNS:
            self._open[stream_id] = flags | _TAKES_TURNS
            self._conn.set_stream_priority(stream_id, _INCREMENTAL, ignore_client_signal=True)
        self._conn.send_data(stream_id, data, end_stream=end_stream)
        if end_stream:
            self._ended(stream_id, empty_end=not data)

    def send_trailers(self, stream_id: int, headers: Sequence[Header]) -> None:
        if self._takes(stream_id):
            self._conn.send_trailers(stream_id, headers)
            self._ended(stream_id, empty_end=True)

    def _takes(self, stream_id: int) -> bool:
        flags = self._open.get(stream_id)
        return flags is not None and not flags & _LOCAL_ENDED

    def _ended(self, stream_id: int, *, empty_end: bool) -> None:
        flags = self._open[stream_id] = self._open[stream_id] | _LOCAL_ENDED
        if not self._client and not flags & (_REMOTE_ENDED | _TUNNEL):
            empty_end = empty_end and not self._conn.queued_body_size(stream_id)
            self._unfinished[stream_id] = empty_end

    def reset(self, stream_id: int, code: int) -> None:
        if self._open.pop(stream_id, None) is not None:
            self._unfinished.pop(stream_id, None)
            self._let_go(stream_id)
            self._reset_engine(stream_id, code)

    def _reset_engine(self, stream_id: int, code: int) -> None:
        try:
            self._conn.reset_stream(stream_id, code)
            self._given_up.add(stream_id)
        except ngh2.NGH2Error:
            # The session is ending anyway.
            pass

    # Flow control.

    def consumed(self, stream_id: int, size: int) -> None:
        size = self._held.consume(stream_id, size)
        if size:
            self._acknowledge(stream_id, size)

    def _let_go(self, stream_id: int) -> None:
        """The stream is gone: what is still held of it goes nowhere."""
        held = self._held.let_go(stream_id)
        if held:
            self._acknowledge(stream_id, held)

    def _acknowledge(self, stream_id: int, size: int) -> None:
        try:
            self._conn.acknowledge_received_data(size, stream_id)
        except ngh2.NGH2Error:
            # The session is ending: nobody needs a window.
            pass

    def _widen(self) -> None:
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
        base = self._limits.connection_window
        remaining = self._conn.local_window_size
        if remaining >= base >> 2:
            return
        wanted = 2 * (self._window - remaining) + base
        widest = self._limits.widest_window
        if wanted > widest and 8 * self._held.total < widest:
            widest = MAX_WINDOW_BYTES
            if not self._no_new:
                self.drained()
        wanted = min(wanted, widest)
        if wanted > self._window:
            self._window = wanted
            self._conn.set_local_window_size(wanted)

    # The connection.

    def ping(self, payload: bytes) -> bool:
        try:
            self._conn.ping(payload)
        except ngh2.NGH2Error:
            # The session is ending: no answer will come, and the caller's deadline says the rest.
            pass
        return True

    def drain(self) -> None:
        if self._client:
            self._no_new = True
        else:
            try:
                self._conn.send_shutdown_notice()
            except ngh2.NGH2Error:
                self._no_new = True

    def drained(self) -> None:
        self._no_new = True
        try:
            self._conn.send_goaway(ErrorCode.NO_ERROR)
        except ngh2.NGH2Error:
            # The session is ending anyway.
            pass


_HANDLERS: Final[dict[type[ngh2.Event], Callable[[Ngh2Codec, Any, list[Event]], None]]] = {
    ngh2.RequestReceived: Ngh2Codec._on_request,
    ngh2.ResponseReceived: Ngh2Codec._on_response,
    ngh2.InformationalResponseReceived: Ngh2Codec._on_informational,
    ngh2.DataReceived: Ngh2Codec._on_data,
    ngh2.TrailersReceived: Ngh2Codec._on_trailers,
    ngh2.StreamReset: Ngh2Codec._on_reset,
    ngh2.StreamClosed: Ngh2Codec._on_closed,
    ngh2.WindowUpdated: Ngh2Codec._on_window,
    ngh2.SettingsReceived: Ngh2Codec._on_settings,
    ngh2.PingAcknowledged: Ngh2Codec._on_ping_ack,
    ngh2.GoAwayReceived: Ngh2Codec._on_goaway,
    ngh2.ConnectionClosed: Ngh2Codec._on_end,
}
