"""HTTP/2 on ngh2 (libnghttp2), both roles. This is the hot path: see tests/bench/codec.py before adding to it.

How ngh2 is used:

- libnghttp2 closes a stream, and reports a peer's violation, when it *sends* (RST_STREAM, GOAWAY). So `receive` pulls
  a little output at once when there is any: control frames come first, and the events they cause belong to this call.
- When a limit of ngh2's own is passed it drops its session without a GOAWAY; the codec writes that frame itself.
- libnghttp2 reads a clock of its own for its two rate limits (`stream_reset_rate_limit`, `glitch_rate_limit`).
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Final

import ngh2

from gateway.codec.events import ErrorCode, Event, Header, RequestHead, ResponseHead
from gateway.codec.http2.bodies import BULK_BYTES, prompt_share
from gateway.codec.http2.extended_connect import write_answer
from gateway.codec.http2.frames import HeadWatch, goaway_frame
from gateway.codec.http2.message import request_block, response_block
from gateway.codec.http2.ngh2_events import translate
from gateway.codec.http2.ngh2_session import LOCAL_ENDED, TUNNEL, UPGRADE, Ngh2Session
from gateway.codec.interface import TunnelCodec
from gateway.codec.limits import FLOOD, PROTOCOL, SLOW_HEAD, CodecFailure, CodecLimits, Lent
from gateway.codec.output import OUTPUT_BYTES

EARLY_OUTPUT_BYTES: Final = 16_384
# Frames' headers and other streams' heads beside so much of bodies; what does not fit goes with the next call.
FRAMING_BYTES: Final = 8_192


class Ngh2Codec(TunnelCodec):
    """One HTTP/2 connection on ngh2. See `gateway.codec.interface.Codec`."""

    def __init__(self, *, client: bool, limits: CodecLimits) -> None:
        self._session = Ngh2Session(client, limits)
        self._conn = self._session.conn
        self._bodies = self._session.bodies
        self._early_out = b""
        self.output_bytes = OUTPUT_BYTES
        self._given = 0
        """Bytes of bodies that libnghttp2 was given as they came, and may still have."""
        self._torn = False
        self._late: list[Event] = []
        self._last_words: bytes | None = None
        self._watch = None if client else HeadWatch()

    # What the driver asks.

    @property
    def failure(self) -> CodecFailure | None:
        return self._session.failure

    @property
    def closing(self) -> bool:
        session = self._session
        if session.over or session.failure is not None:
            return True
        return (session.no_new or session.peer_left) and not session.streams

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
        self._session.fail(SLOW_HEAD, "the rest of a request's head did not come")
        self._say_last(ErrorCode.ENHANCE_YOUR_CALM)
        self._session.reset_all(ErrorCode.ENHANCE_YOUR_CALM, [])

    @property
    def open_streams(self) -> int:
        return len(self._session.streams)

    @property
    def can_open(self) -> bool:
        session = self._session
        return (
            session.failure is None
            and not session.no_new
            and not session.peer_left
            and len(session.streams) < session.peer_streams
            and self._conn.can_send_request
        )

    def queued(self, stream_id: int) -> int:
        return self._session.queued(stream_id)

    # Bytes in.

    def receive(self, data: Lent) -> list[Event]:
        session = self._session
        if session.over or session.failure is not None:
            return []
        events, self._late = self._late, []
        conn = self._conn
        if self._watch is not None:
            self._watch.look(data)
        try:
            conn.receive_data(data)
        except ngh2.NGH2Error as error:
            translate(session, events)
            self._fail_for(error, events)
            return events
        translate(session, events)
        if session.held.total and not session.over:
            session.widen()
        if not self._early_out and conn.want_write:
            self._early_out = self._pull(EARLY_OUTPUT_BYTES, events)
        return events

    def receive_eof(self) -> list[Event]:
        events = self.resume()
        self._session.peer_left = True
        self._session.reset_all(ErrorCode.CANCEL, events)
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
        unfinished = self._session.unfinished
        waiting = self._bodies.waiting
        if not early and not unfinished and not waiting and not self._conn.want_write:
            self._given = 0
            return b""
        out = self._pull_in_turn() if waiting else self._pull(self.output_bytes, self._late)
        self._given = max(0, self._given - len(out)) if self._torn else 0
        if unfinished and len(out) < self.output_bytes and self._finish_early():
            out += self._pull(self.output_bytes, self._late)
        if early:
            self._early_out = b""
            return early + out
        return out

    def _pull_in_turn(self) -> bytes:
        """What libnghttp2 has is heads and prompt bodies; then it is given what waited for that, and bulk."""
        conn, share = self._conn, prompt_share(self.output_bytes)
        out = self._pull(share, self._late) if conn.want_write else b""
        if self._session.failure is not None:
            return out
        room = self.output_bytes - len(out)
        given = self._bodies.send(min(room, conn.remote_window_size), share - len(out), self._session)
        if not given and not self._torn:
            return out
        more = self._pull(room + FRAMING_BYTES, self._late)
        return out + more if out else more

    def _pull(self, amount: int, events: list[Event]) -> bytes:
        try:
            out = self._conn.data_to_send(amount)
        except ngh2.NGH2Error as error:
            self._fail_for(error, events)
            return b""
        # A frame may be cut here; nothing of our own may then be put behind it.
        self._torn = len(out) == amount
        if self._session.sent is not None:
            self._session.tell_refused(out, events)
        translate(self._session, events)
        return out

    def _finish_early(self) -> bool:
        """Ends the requests whose response is whole and out: RST_STREAM(NO_ERROR), RFC 9113 section 8.1."""
        unfinished = self._session.unfinished
        done = [stream_id for stream_id, empty_end in unfinished.items() if self._is_out(stream_id, empty_end)]
        for stream_id in done:
            del unfinished[stream_id]
            self._session.reset(stream_id, ErrorCode.NO_ERROR)
        return bool(done)

    def _is_out(self, stream_id: int, empty_end: bool) -> bool:
        if self._session.queued(stream_id):
            return False
        conn = self._conn
        # An END_STREAM that has no bytes to travel with waits for an open window, like the bytes would.
        return not empty_end or (conn.stream_remote_window_size(stream_id) > 0 and conn.remote_window_size > 0)

    # Failing.

    def _fail_for(self, error: ngh2.NGH2Error, events: list[Event]) -> None:
        """ngh2 has dropped its session: the final GOAWAY is ours to write."""
        flooded = isinstance(error, ngh2.DenialOfServiceError)
        code = ErrorCode.ENHANCE_YOUR_CALM if flooded else ErrorCode.PROTOCOL_ERROR
        self._session.fail(FLOOD if flooded else PROTOCOL, str(error))
        self._say_last(code)
        self._session.reset_all(code, events)

    def _say_last(self, code: int) -> None:
        self._last_words = b"" if self._torn else goaway_frame(self._session.last_stream, code)

    # Commands.

    def send_request(self, head: RequestHead, end_stream: bool) -> int:
        flags = LOCAL_ENDED if end_stream else 0
        if head.protocol:
            head = self._session.terms.write(head)
            end_stream = end_stream or not head.protocol
            flags = (LOCAL_ENDED if end_stream else 0) | (UPGRADE if head.protocol else 0)
        stream_id = self._conn.send_request(request_block(head), end_stream=end_stream)
        self._session.streams[stream_id] = flags
        return stream_id

    def send_informational(self, stream_id: int, head: ResponseHead) -> None:
        if self._session.takes(stream_id):
            self._conn.send_informational_response(stream_id, response_block(head))

    def send_response(self, stream_id: int, head: ResponseHead, end_stream: bool) -> None:
        flags = self._session.streams.get(stream_id)
        if flags is None or flags & LOCAL_ENDED:
            return
        if flags & TUNNEL:
            if flags & UPGRADE:
                head = write_answer(head)
            if head.status >= 300:
                self._session.streams[stream_id] = flags & ~TUNNEL
        self._conn.send_response(stream_id, response_block(head), end_stream=end_stream)
        if end_stream:
            self._session.end_local(stream_id, empty_end=False)

    def send_data(self, stream_id: int, data: bytes, end_stream: bool) -> None:
        session = self._session
        flags = session.streams.get(stream_id)
        if flags is None or flags & LOCAL_ENDED:
            return
        size = len(data)
        if size >= BULK_BYTES or self._waits(stream_id, size, end_stream):
            self._bodies.put(stream_id, data)
            if end_stream:
                self._bodies.end(stream_id, None)
        elif not end_stream or not self._bodies.end(stream_id, None):
            self._given += size
            self._conn.send_data(stream_id, data, end_stream=end_stream)
        if end_stream:
            session.end_local(stream_id, empty_end=not data)

    def _waits(self, stream_id: int, size: int, end_stream: bool) -> bool:
        """Whether a small piece waits for its turn: behind its stream's other bytes, or as enough goes out before."""
        if not size:
            return False
        if self._bodies.holds(stream_id) or self._given + size > prompt_share(self.output_bytes):
            return True
        return not end_stream and self._conn.queued_body_size(stream_id) >= BULK_BYTES

    def send_trailers(self, stream_id: int, headers: Sequence[Header]) -> None:
        if self._session.takes(stream_id):
            if not self._bodies.end(stream_id, headers):
                self._conn.send_trailers(stream_id, headers)
            self._session.end_local(stream_id, empty_end=True)

    def reset(self, stream_id: int, code: int) -> None:
        self._session.reset(stream_id, code)

    def consumed(self, stream_id: int, size: int) -> None:
        self._session.consumed(stream_id, size)

    # The connection.

    def ping(self, payload: bytes) -> bool:
        try:
            self._conn.ping(payload)
        except ngh2.NGH2Error:
            # The session is ending: no answer will come, and the caller's deadline says the rest.
            pass
        return True

    def drain(self) -> None:
        if self._session.client:
            self._session.no_new = True
        else:
            try:
                self._conn.send_shutdown_notice()
            except ngh2.NGH2Error:
                self._session.no_new = True

    def drained(self) -> None:
        self._session.retire()
