"""What h2 tells of one connection, as our events."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, Final

import h2.events

from gateway.codec.events import (
    ErrorCode,
    Event,
    GoAway,
    Header,
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
from gateway.codec.http2.h2_session import H2Session
from gateway.codec.http2.h2_stream import H2Stream
from gateway.codec.http2.message import (
    HARD_LIMIT_FACTOR,
    TOO_LARGE_ANSWER,
    Block,
    MalformedMessage,
    TooLarge,
    check_size,
    content_length,
    parse_request,
    parse_response,
    validate_block,
)
from gateway.codec.limits import FLOOD, MALFORMED, PROTOCOL, STREAM_LIMIT


def translate(session: H2Session, said: list[h2.events.Event], events: list[Event]) -> None:
    """Appends what `said` means to `events`."""
    for event in said:
        handler = _HANDLERS.get(type(event))
        if handler is not None:
            handler(session, event, events)


def _on_request(session: H2Session, event: h2.events.RequestReceived, events: list[Event]) -> None:
    stream_id = event.stream_id
    headers = event.headers
    ended = event.stream_ended is not None
    if session.drained_at is not None and stream_id > session.drained_at:
        session.reset_engine(stream_id, ErrorCode.REFUSED_STREAM)
        return
    if len(session.streams) >= session.limits.concurrent_streams:
        _exceed(session, stream_id, events)
        return
    session.last_stream = stream_id
    try:
        check_size(headers, session.limits)
        validate_block(headers, Block.REQUEST)
        head = parse_request(headers)
    except MalformedMessage as malformed:
        _refuse(session, stream_id, str(malformed), events)
        return
    except TooLarge as too_large:
        _answer_too_large(session, stream_id, len(headers), str(too_large), ended, events)
        return
    missing = content_length(headers)
    if ended and missing:
        _refuse(session, stream_id, "content-length promises a body, and there is none", events)
        return
    stream = session.streams[stream_id] = H2Stream(head.method, upgrade=bool(head.protocol))
    stream.missing = missing
    stream.remote_ended = ended
    events.append(Request(stream_id, head, ended))


def _exceed(session: H2Session, stream_id: int, events: list[Event]) -> None:
    """A stream above the limit: the end of a client that knows it (RFC 9113 section 5.1.2)."""
    if session.settings_known:
        detail = f"more than {session.limits.concurrent_streams} streams at once"
        session.fail(STREAM_LIMIT, detail, ErrorCode.PROTOCOL_ERROR, events)
    else:
        session.reset_engine(stream_id, ErrorCode.REFUSED_STREAM)
        events.append(Refused(stream_id, STREAM_LIMIT, "the client has not acknowledged the limit yet"))


def _refuse(session: H2Session, stream_id: int, detail: str, events: list[Event]) -> None:
    """What begins the stream is no request: nobody is told of it."""
    session.reset_engine(stream_id, ErrorCode.PROTOCOL_ERROR)
    events.append(Refused(stream_id, MALFORMED, detail))


def _answer_too_large(
    session: H2Session, stream_id: int, count: int, detail: str, ended: bool, events: list[Event]
) -> None:
    if count > session.limits.header_count * HARD_LIMIT_FACTOR:
        session.fail(FLOOD, "a header list has too many fields", ErrorCode.ENHANCE_YOUR_CALM, events)
        return
    stream = session.streams[stream_id] = H2Stream(b"")
    stream.remote_ended = ended
    stream.refused = True
    events.append(Refused(stream_id, HEADER_LIMIT, detail))
    session.send_response(stream_id, TOO_LARGE_ANSWER, end_stream=True)


def _on_response(session: H2Session, event: h2.events.ResponseReceived, events: list[Event]) -> None:
    stream_id = event.stream_id
    if not _accept_block(session, stream_id, event.headers, Block.RESPONSE, events):
        return
    ended = event.stream_ended is not None
    stream = session.streams[stream_id]
    head = parse_response(event.headers)
    if head.status in (204, 304):
        # Whatever length it announces (RFC 9110 section 6.4.1). That HEAD has none either is known to h2.
        stream.bodiless = True
    elif stream.method not in (b"HEAD", b"CONNECT"):
        stream.missing = content_length(event.headers)
    if ended and stream.missing:
        session.give_up(stream_id, ErrorCode.PROTOCOL_ERROR, events)
        return
    events.append(Response(stream_id, read_answer(head) if stream.upgrade else head, ended))
    if ended:
        session.end_remote(stream_id)


def _on_informational(session: H2Session, event: h2.events.InformationalResponseReceived, events: list[Event]) -> None:
    if _accept_block(session, event.stream_id, event.headers, Block.RESPONSE, events):
        events.append(Informational(event.stream_id, parse_response(event.headers)))


def _on_trailers(session: H2Session, event: h2.events.TrailersReceived, events: list[Event]) -> None:
    if _accept_block(session, event.stream_id, event.headers, Block.TRAILERS, events):
        if session.streams[event.stream_id].missing:
            session.give_up(event.stream_id, ErrorCode.PROTOCOL_ERROR, events)
            return
        if not session.streams[event.stream_id].unwanted:
            events.append(Trailers(event.stream_id, list(event.headers)))
        session.end_remote(event.stream_id)


def _accept_block(session: H2Session, stream_id: int, headers: list[Header], block: Block, events: list[Event]) -> bool:
    """Whether a block may be handed on. If not, its stream has been reset."""
    if stream_id not in session.streams:
        return False
    try:
        check_size(headers, session.limits)
        validate_block(headers, block)
    except MalformedMessage:
        session.give_up(stream_id, ErrorCode.PROTOCOL_ERROR, events)
        return False
    except TooLarge as too_large:
        if not session.client and not session.streams[stream_id].refused:
            events.append(Refused(stream_id, HEADER_LIMIT, str(too_large)))
        session.give_up(stream_id, ErrorCode.ENHANCE_YOUR_CALM, events)
        return False
    return True


def _on_data(session: H2Session, event: h2.events.DataReceived, events: list[Event]) -> None:
    stream_id = event.stream_id
    size = len(event.data)
    stream = session.streams.get(stream_id)
    if stream is not None and not stream.unwanted:
        session.held.hold(stream_id, size)
    session.credit_connection(event.flow_controlled_length)
    if stream is None:
        return
    ended = event.stream_ended is not None
    if stream.bodiless and size:
        session.give_up(stream_id, ErrorCode.PROTOCOL_ERROR, events)
        return
    if stream.missing is not None:
        # h2 itself ends the connection for a body that is longer, or ends too early with DATA.
        stream.missing -= size
    if not stream.unwanted:
        session.credit_stream(stream_id, stream, event.flow_controlled_length - size)
        session.runs.add(events, stream_id, event.data, ended)
    if ended:
        session.end_remote(stream_id)


def _on_reset(session: H2Session, event: h2.events.StreamReset, events: list[Event]) -> None:
    stream = session.streams.pop(event.stream_id, None)
    session.forget(event.stream_id)
    if stream is None or stream.refused:
        return
    code = int(event.error_code)
    if session.client and stream.remote_ended and code == ErrorCode.NO_ERROR:
        return
    events.append(Reset(event.stream_id, code, session.client and code == ErrorCode.REFUSED_STREAM))


def _on_window(session: H2Session, event: h2.events.WindowUpdated, events: list[Event]) -> None:
    if event.stream_id:
        session.bodies.opened(event.stream_id)
    if session.bodies.size:
        events.append(Writable(event.stream_id))


def _on_settings(session: H2Session, event: h2.events.RemoteSettingsChanged, events: list[Event]) -> None:
    if not session.peer_spoke:
        session.peer_spoke = True
        session.peer_streams = UNLIMITED_STREAMS
    changed = {int(code): setting.new_value for code, setting in event.changed_settings.items()}
    session.peer_streams = changed.get(0x3, session.peer_streams)
    session.terms.learn(changed)
    if 0x4 in changed and session.bodies.size:
        session.bodies.opened(0)
        events.append(Writable(0))


def _on_settings_ack(session: H2Session, event: h2.events.SettingsAcknowledged, events: list[Event]) -> None:
    session.settings_known = True


def _on_ping_ack(session: H2Session, event: h2.events.PingAckReceived, events: list[Event]) -> None:
    events.append(PingAck(event.ping_data))


def on_goaway(session: H2Session, frame: bytes, events: list[Event]) -> None:
    last_stream_id = int.from_bytes(frame[9:13], "big") & 0x7FFFFFFF
    ours = last_stream_id % 2 == int(session.client)
    if (last_stream_id and not ours) or last_stream_id > session.peer_last_stream:
        session.fail(PROTOCOL, "a GOAWAY's last stream is no stream of ours", ErrorCode.PROTOCOL_ERROR, events)
        return
    session.peer_last_stream = last_stream_id
    session.peer_left = True
    events.append(GoAway(last_stream_id, int.from_bytes(frame[13:17], "big"), frame[17:]))
    if session.client:
        for stream_id in [stream_id for stream_id in session.streams if stream_id > last_stream_id]:
            session.reset(stream_id, ErrorCode.CANCEL)
            events.append(Reset(stream_id, ErrorCode.REFUSED_STREAM, True))


_HANDLERS: Final[dict[type[h2.events.Event], Callable[[H2Session, Any, list[Event]], None]]] = {
    h2.events.RequestReceived: _on_request,
    h2.events.ResponseReceived: _on_response,
    h2.events.InformationalResponseReceived: _on_informational,
    h2.events.TrailersReceived: _on_trailers,
    h2.events.DataReceived: _on_data,
    h2.events.StreamReset: _on_reset,
    h2.events.WindowUpdated: _on_window,
    h2.events.RemoteSettingsChanged: _on_settings,
    h2.events.SettingsAcknowledged: _on_settings_ack,
    h2.events.PingAckReceived: _on_ping_ack,
}
