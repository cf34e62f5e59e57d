"""What ngh2 tells of one connection, as our events: what the peer said, and what libnghttp2 did by itself."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, Final

import ngh2

from gateway.codec.events import (
    ErrorCode,
    Event,
    GoAway,
    Informational,
    PingAck,
    Refused,
    Request,
    Reset,
    Response,
    Trailers,
    Writable,
)
from gateway.codec.headers import HEADER_LIMIT
from gateway.codec.http2.extended_connect import read_answer
from gateway.codec.http2.frames import UNLIMITED_STREAMS
from gateway.codec.http2.message import (
    TOO_LARGE_ANSWER,
    MalformedMessage,
    TooLarge,
    check_size,
    parse_request,
    parse_response,
    response_block,
)
from gateway.codec.http2.ngh2_session import ENDED, LOCAL_ENDED, REFUSED, REMOTE_ENDED, TUNNEL, UPGRADE, Ngh2Session
from gateway.codec.limits import FLOOD, MALFORMED, PROTOCOL, STREAM_LIMIT

# How libnghttp2 says it in the GOAWAY that it ends a session with.
_TOO_MANY_STREAMS: Final = b"max concurrent streams exceeded"


def translate(session: Ngh2Session, events: list[Event]) -> None:
    """Appends what the engine has to tell of what it has read and written."""
    for event in session.conn.events():
        handler = _HANDLERS.get(type(event))
        if handler is not None:
            handler(session, event, events)
    session.runs.join()


def _on_window(session: Ngh2Session, event: ngh2.WindowUpdated, events: list[Event]) -> None:
    if event.stream_id:
        session.bodies.opened(event.stream_id)
    # When nothing is queued nobody waits for it.
    if session.bodies.size or session.conn.queued_body_size():
        events.append(Writable(event.stream_id))


def _on_informational(session: Ngh2Session, event: ngh2.InformationalResponseReceived, events: list[Event]) -> None:
    if event.stream_id in session.streams:
        events.append(Informational(event.stream_id, parse_response(event.headers)))


def _on_settings(session: Ngh2Session, event: ngh2.SettingsReceived, events: list[Event]) -> None:
    if not session.peer_spoke:
        session.peer_spoke = True
        session.peer_streams = UNLIMITED_STREAMS
    session.peer_streams = event.settings.get(0x3, session.peer_streams)
    session.terms.learn(event.settings)
    if 0x4 in event.settings:
        session.bodies.opened(0)
        if session.bodies.size or session.conn.queued_body_size():
            events.append(Writable(0))


def _on_settings_ack(session: Ngh2Session, event: ngh2.SettingsAcknowledged, events: list[Event]) -> None:
    session.sent = None


def _on_ping_ack(session: Ngh2Session, event: ngh2.PingAcknowledged, events: list[Event]) -> None:
    events.append(PingAck(event.opaque_data))


def _on_end(session: Ngh2Session, event: ngh2.ConnectionClosed, events: list[Event]) -> None:
    if event.error_code and not session.peer_left:
        session.fail(*_why_ended(event.error_code, event.debug_data))
    session.over = True
    session.reset_all(event.error_code or ErrorCode.CANCEL, events)


def _on_request(session: Ngh2Session, event: ngh2.RequestReceived, events: list[Event]) -> None:
    stream_id = session.last_stream = event.stream_id
    try:
        check_size(event.headers, session.limits)
        head = parse_request(event.headers)
    except MalformedMessage as malformed:
        session.reset_engine(stream_id, ErrorCode.PROTOCOL_ERROR)
        events.append(Refused(stream_id, MALFORMED, str(malformed)))
        return
    except TooLarge as too_large:
        session.conn.send_response(stream_id, response_block(TOO_LARGE_ANSWER), end_stream=True)
        events.append(Refused(stream_id, HEADER_LIMIT, str(too_large)))
        session.streams[stream_id] = REFUSED | LOCAL_ENDED | (REMOTE_ENDED if event.end_stream else 0)
        if not event.end_stream:
            session.unfinished[stream_id] = False
        return
    flags = 0
    if head.method == b"CONNECT":
        flags = TUNNEL | UPGRADE if head.protocol else TUNNEL
    session.streams[stream_id] = flags | REMOTE_ENDED if event.end_stream else flags
    events.append(Request(stream_id, head, event.end_stream))


def _on_response(session: Ngh2Session, event: ngh2.ResponseReceived, events: list[Event]) -> None:
    stream_id = event.stream_id
    flags = session.streams.get(stream_id)
    if flags is None:
        return
    try:
        check_size(event.headers, session.limits)
    except TooLarge as too_large:
        session.refuse(stream_id, str(too_large), events)
        return
    if event.end_stream:
        session.streams[stream_id] = flags | REMOTE_ENDED
    head = parse_response(event.headers)
    events.append(Response(stream_id, read_answer(head) if flags & UPGRADE else head, event.end_stream))


def _on_trailers(session: Ngh2Session, event: ngh2.TrailersReceived, events: list[Event]) -> None:
    stream_id = event.stream_id
    if stream_id not in session.streams:
        return
    try:
        check_size(event.headers, session.limits)
    except TooLarge as too_large:
        session.refuse(stream_id, str(too_large), events)
        return
    session.streams[stream_id] |= REMOTE_ENDED
    if session.unfinished.pop(stream_id, None) is None:
        events.append(Trailers(stream_id, list(event.headers)))


def _on_data(session: Ngh2Session, event: ngh2.DataReceived, events: list[Event]) -> None:
    stream_id = event.stream_id
    data = event.data
    flags = session.streams.get(stream_id)
    if flags is None or stream_id in session.unfinished:
        # Given up by our side, and the peer doesn't know yet.
        session.acknowledge(stream_id, len(data))
        if flags is None or not event.end_stream:
            return
    if event.end_stream:
        session.streams[stream_id] |= REMOTE_ENDED
        if session.unfinished.pop(stream_id, None) is not None:
            return
    session.held.hold(stream_id, len(data))
    session.runs.add(events, stream_id, data, event.end_stream)


def _on_reset(session: Ngh2Session, event: ngh2.StreamReset, events: list[Event]) -> None:
    stream_id = event.stream_id
    flags = session.streams.pop(stream_id, None)
    if flags is None:
        return
    session.given_up.add(stream_id)
    session.forget(stream_id)
    if session.client and flags & REMOTE_ENDED and event.error_code == ErrorCode.NO_ERROR:
        return
    if not flags & REFUSED:
        unprocessed = session.client and event.error_code == ErrorCode.REFUSED_STREAM
        events.append(Reset(stream_id, event.error_code, unprocessed))


def _on_closed(session: Ngh2Session, event: ngh2.StreamClosed, events: list[Event]) -> None:
    stream_id = event.stream_id
    flags = session.streams.pop(stream_id, None)
    if flags is None:
        _unknown_closed(session, event, events)
        return
    if event.error_code or event.local_error is not None or flags & ENDED != ENDED:
        session.forget(stream_id)
        if not flags & REFUSED:
            # A request that libnghttp2 could not send any more was never seen by the peer.
            events.append(Reset(stream_id, event.error_code, session.client and event.local_error is not None))


def _unknown_closed(session: Ngh2Session, event: ngh2.StreamClosed, events: list[Event]) -> None:
    """Either somebody has given the stream up, or what began it was so malformed that libnghttp2 reset it before
    anybody was told of a request."""
    if event.stream_id in session.given_up:
        session.given_up.remove(event.stream_id)
    elif event.error_code and not session.client:
        detail = "its fields are not those of a request (libnghttp2)"
        events.append(Refused(event.stream_id, MALFORMED, detail))


def _on_goaway(session: Ngh2Session, event: ngh2.GoAwayReceived, events: list[Event]) -> None:
    session.peer_left = True
    events.append(GoAway(event.last_stream_id, event.error_code, event.debug_data))
    if session.client:
        for stream_id in [stream_id for stream_id in session.streams if stream_id > event.last_stream_id]:
            del session.streams[stream_id]
            session.forget(stream_id)
            session.reset_engine(stream_id, ErrorCode.CANCEL)
            events.append(Reset(stream_id, ErrorCode.REFUSED_STREAM, True))


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


_HANDLERS: Final[dict[type[ngh2.Event], Callable[[Ngh2Session, Any, list[Event]], None]]] = {
    ngh2.RequestReceived: _on_request,
    ngh2.ResponseReceived: _on_response,
    ngh2.InformationalResponseReceived: _on_informational,
    ngh2.DataReceived: _on_data,
    ngh2.TrailersReceived: _on_trailers,
    ngh2.StreamReset: _on_reset,
    ngh2.StreamClosed: _on_closed,
    ngh2.WindowUpdated: _on_window,
    ngh2.SettingsReceived: _on_settings,
    ngh2.SettingsAcknowledged: _on_settings_ack,
    ngh2.PingAcknowledged: _on_ping_ack,
    ngh2.GoAwayReceived: _on_goaway,
    ngh2.ConnectionClosed: _on_end,
}
