"""How HTTP/2 streams and connections end, and what each end says, said by a hand-written peer to both engines."""

from __future__ import annotations

import pytest
from hyperframe.frame import DataFrame, GoAwayFrame, RstStreamFrame

from gateway.codec.events import (
    Data,
    ErrorCode,
    GoAway,
    Refused,
    Request,
    Reset,
    Response,
)
from gateway.codec.http2.engine import available_engines
from gateway.codec.http2.frames import goaway_frame
from tests.codec_pair import make_server, only, request, response, wants
from tests.http2_peer import Peer
from tests.http2_wire import GET, POST, Wire


def test_the_codec_ends_a_request_that_nobody_waits_for(server: Peer) -> None:
    """RFC 9113 section 8.1: after a whole response, RST_STREAM(NO_ERROR); the client may stop sending."""
    server.tell(server.wire.headers(1, POST), server.wire.data(1, b"some"))
    server.codec.send_response(1, response(403), False)
    server.codec.send_data(1, b"no", False)
    server.said()
    server.codec.send_data(1, b"", True)
    frames = server.said()
    assert isinstance(frames[-2], DataFrame)
    assert "END_STREAM" in frames[-2].flags
    assert isinstance(frames[-1], RstStreamFrame)
    assert frames[-1].error_code == ErrorCode.NO_ERROR
    assert server.codec.open_streams == 0


def test_the_request_is_not_ended_before_the_response_is_out(server: Peer) -> None:
    """The reset would overtake bytes that wait for the client's window, and truncate the response."""
    server.tell(server.wire.headers(1, POST))
    server.codec.send_response(1, response(403), False)
    server.codec.send_data(1, bytes(100_000), True)
    assert not any(isinstance(frame, RstStreamFrame) for frame in server.said())
    assert server.tell(server.wire.data(1, b"dropped")) == []
    server.tell(server.wire.window(0, 100_000), server.wire.window(1, 100_000))
    frames = server.said()
    assert isinstance(frames[-1], RstStreamFrame)
    assert server.codec.queued(1) == 0


def test_a_reset_without_error_after_a_whole_response_is_clean(client: Peer) -> None:
    """RFC 9113 section 8.1: the client must not discard the response for it."""
    stream_id = client.codec.send_request(request(b"POST"), False)
    client.said()
    events = client.tell(
        client.wire.headers(stream_id, [(b":status", b"200")], end_stream=True),
        client.wire.rst(stream_id, ErrorCode.NO_ERROR),
    )
    assert events == [Response(stream_id, response(), True)]
    assert client.codec.open_streams == 0


def test_a_reset_without_error_in_the_middle_is_not_clean(client: Peer) -> None:
    stream_id = client.codec.send_request(request(), True)
    client.said()
    events = client.tell(
        client.wire.headers(stream_id, [(b":status", b"200")]), client.wire.rst(stream_id, ErrorCode.NO_ERROR)
    )
    assert events[-1] == Reset(stream_id, ErrorCode.NO_ERROR)


def test_a_refused_stream_was_not_processed(client: Peer) -> None:
    """RFC 9113 section 8.7: such a request may be sent again, whatever its method."""
    stream_id = client.codec.send_request(request(b"POST"), True)
    assert client.tell(client.wire.rst(stream_id, ErrorCode.REFUSED_STREAM)) == [
        Reset(stream_id, ErrorCode.REFUSED_STREAM, True)
    ]


def test_goaway_tells_what_was_not_processed(client: Peer) -> None:
    """Streams above the last one are given back as unprocessed; those below go on to their end."""
    first, second, third = (client.codec.send_request(request(b"POST"), True) for _ in range(3))
    client.said()
    assert client.tell(client.wire.goaway(first)) == [
        GoAway(first, 0),
        Reset(second, ErrorCode.REFUSED_STREAM, True),
        Reset(third, ErrorCode.REFUSED_STREAM, True),
    ]
    assert not wants(client.codec, "can_open")
    assert not wants(client.codec, "closing")
    events = client.tell(
        client.wire.headers(first, [(b":status", b"200")]), client.wire.data(first, b"x", end_stream=True)
    )
    assert events == [Response(first, response(), False), Data(first, b"x", True)]
    assert wants(client.codec, "closing")
    assert client.codec.failure is None


def test_goaway_says_why(client: Peer) -> None:
    """A gateway that does not let us in gives its reason as debug data."""
    assert client.tell(goaway_frame(0, ErrorCode.INADEQUATE_SECURITY, b"not-a-gateway")) == [
        GoAway(0, ErrorCode.INADEQUATE_SECURITY, b"not-a-gateway")
    ]


def test_goaway_gives_back_requests_that_were_never_sent(client: Peer) -> None:
    """A request that waited for the flush when the GOAWAY came is one of those above the last stream."""
    stream_id = client.codec.send_request(request(), True)
    events = client.tell(client.wire.goaway(0))
    assert events == [GoAway(0, 0), Reset(stream_id, ErrorCode.REFUSED_STREAM, True)]
    assert not any(isinstance(frame, DataFrame) for frame in client.said())
    assert client.codec.closing


def test_a_shutdown_has_two_steps(server: Peer) -> None:
    """RFC 9113 section 6.8: first a GOAWAY that excludes nothing, then one with the last stream taken."""
    server.tell(server.wire.headers(1, GET, end_stream=True))
    server.codec.drain()
    (first,) = [frame for frame in server.said() if isinstance(frame, GoAwayFrame)]
    assert first.last_stream_id == 0x7FFFFFFF
    # A request that crossed with the notice is still taken.
    assert only(server.tell(server.wire.headers(3, GET, end_stream=True)), Request)
    server.codec.drained()
    (second,) = [frame for frame in server.said() if isinstance(frame, GoAwayFrame)]
    assert second.last_stream_id == 3
    assert only(server.tell(server.wire.headers(5, GET, end_stream=True)), Request) == []
    for stream_id in (1, 3):
        assert not server.codec.closing
        server.codec.send_response(stream_id, response(), True)
        server.said()
    assert server.codec.closing


@pytest.mark.parametrize("kind", available_engines())
@pytest.mark.parametrize(
    "first", [b"GET / HTTP/1.1\r\nhost: a\r\n\r\n", b"\x16\x03\x01\x02\x00\x01" + bytes(30)], ids=["http1", "tls"]
)
def test_what_is_not_http2_fails_the_connection(kind: str, first: bytes) -> None:
    codec = make_server(kind)
    assert codec.receive(first) == []
    assert codec.failure is not None
    assert codec.failure.code == "protocol-error"
    assert codec.closing
    assert b"\x07" in codec.data_to_send()
    assert codec.receive(b"more") == []
    assert codec.data_to_send() == b""


def broken_frames(wire: Wire) -> dict[str, bytes]:
    """Frames that end a connection."""
    return {
        "DATA on stream 0": wire.data(1, b"x")[:5] + bytes(4) + b"x",
        "even stream": wire.headers(2, GET),
        "DATA on an idle stream": wire.data(9, b"x"),
        "PING of 7 bytes": b"\0\0\x07\x06\0\0\0\0\0" + bytes(7),
        "SETTINGS of 5 bytes": b"\0\0\x05\x04\0\0\0\0\0" + bytes(5),
        "window above 2^31-1": wire.window(0, 0x7FFFFFFF),
        "frame above the limit": b"\x01\x00\x01\x00\0\0\0\0\x01",
        "CONTINUATION of nothing": b"\0\0\x01\x09\x04\0\0\0\x01\x82",
        "PING inside a header block": b"\0\0\x01\x01\0\0\0\0\x03\x82" + wire.ping(),
        "GOAWAY inside a header block": b"\0\0\x01\x01\0\0\0\0\x03\x82" + wire.goaway(0),
        "HPACK garbage": b"\0\0\x04\x01\x05\0\0\0\x03\xff\xff\xff\xff",
        "PUSH_PROMISE from a client": b"\0\0\x05\x05\x04\0\0\0\x01\0\0\0\x02\x82",
    }


@pytest.mark.parametrize("what", broken_frames(Wire()))
def test_a_broken_connection_ends_with_goaway(server: Peer, what: str) -> None:
    """RFC 9113 section 5.4.1. Each open stream is told once, and the peer hears why."""
    server.tell(server.wire.headers(1, POST))
    events = server.tell(broken_frames(server.wire)[what])
    assert [type(event) for event in events] == [Reset]
    assert server.codec.failure is not None
    assert server.codec.failure.code == "protocol-error"
    goaways = [frame for frame in server.said() if isinstance(frame, GoAwayFrame)]
    assert len(goaways) == 1
    assert goaways[0].error_code != ErrorCode.NO_ERROR
    assert goaways[0].last_stream_id <= 3
    assert server.tell(server.wire.ping()) == []
    assert server.codec.receive_eof() == []
    assert server.codec.open_streams == 0


def test_what_was_refused_is_told_apart_from_what_was_given_up(server: Peer) -> None:
    """Whoever resets the stream, and when: only what was never anybody's request is a refusal, once."""
    server.tell(server.wire.headers(1, POST), server.wire.headers(3, POST))
    server.codec.reset(1, ErrorCode.INTERNAL_ERROR)
    server.said()
    assert server.tell(server.wire.rst(1, 1)) == []
    assert server.tell(server.wire.rst(3, 1)) == [Reset(3, ErrorCode.PROTOCOL_ERROR)]
    events = server.tell(server.wire.headers(5, [*GET, (b"X", b"1")]) + server.wire.rst(5, 8))
    server.said()
    events += server.tell(server.wire.headers(7, [*POST, (b"content-length", b"3")], end_stream=True))
    assert [(type(event), event.stream_id) for event in events] == [(Refused, 5), (Refused, 7)]  # type: ignore[union-attr]


def test_commands_after_the_end_do_nothing(server: Peer, client: Peer) -> None:
    """The connection has failed; whoever still holds a stream of it must not be hurt."""
    server.tell(server.wire.headers(1, POST), server.wire.data(1, b"x"))
    client.codec.send_request(request(b"POST"), False)
    client.said()
    for peer in (server, client):
        peer.tell(b"\0\0\x07\x06\0\0\0\0\0" + bytes(7))
        assert peer.codec.failure is not None
        peer.codec.send_response(1, response(), False)
        peer.codec.send_data(1, b"x", True)
        peer.codec.reset(1, ErrorCode.CANCEL)
        peer.codec.consumed(1, 1)
        assert peer.codec.ping(b"12345678")
        peer.codec.drain()
        peer.codec.drained()
        frames = peer.said()
        assert [type(frame) for frame in frames] == [GoAwayFrame]
        assert peer.said() == []


def test_a_failed_connection_is_not_failed_twice(server: Peer) -> None:
    server.tell(b"\0\0\x07\x06\0\0\0\0\0" + bytes(7))
    first = server.codec.failure
    server.tell(b"\0\0\x05\x04\0\0\0\0\0" + bytes(5))
    assert server.codec.failure is first
