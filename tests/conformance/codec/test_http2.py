"""HTTP/2 as RFC 9113 has it, said by a hand-written peer to both engines."""

from __future__ import annotations

import pytest
from hpack import NeverIndexedHeaderTuple
from hyperframe.frame import DataFrame, GoAwayFrame, HeadersFrame, RstStreamFrame, SettingsFrame, WindowUpdateFrame

from gateway.codec.events import (
    Data,
    ErrorCode,
    Event,
    GoAway,
    Header,
    PingAck,
    Refused,
    Request,
    RequestHead,
    Reset,
    Response,
    Trailers,
    Writable,
)
from gateway.codec.headers import HEADER_LIMIT
from gateway.codec.http2.engine import available_engines
from gateway.codec.http2.frames import goaway_frame
from gateway.codec.interface import Codec, CodecLimits
from tests.codec_pair import LIMITS, make_client, make_server, only, request, response, wants
from tests.http2_wire import GET, POST, Wire


class Peer:
    """A codec and the hand-written peer that it talks to."""

    def __init__(self, kind: str, *, client: bool, limits: CodecLimits = LIMITS) -> None:
        self.wire = Wire()
        self.codec: Codec = make_client(kind, limits) if client else make_server(kind, limits)
        self.client = client

    def greet(self, settings: dict[int, int] | None = None) -> None:
        """Both sides' SETTINGS and their acknowledgements."""
        self.codec.receive(self.wire.hello(client=not self.client, settings=settings))
        self.codec.receive(self.wire.settings_ack())
        self.said()

    def said(self) -> list[object]:
        """The frames that the codec has for its peer now."""
        out = b""
        while data := self.codec.data_to_send():
            out += data
        return list(self.wire.read(out))

    def tell(self, *frames: bytes) -> list[Event]:
        return self.codec.receive(b"".join(frames))


@pytest.fixture(params=available_engines())
def server(request: pytest.FixtureRequest) -> Peer:
    peer = Peer(request.param, client=False)
    peer.greet()
    return peer


@pytest.fixture(params=available_engines())
def client(request: pytest.FixtureRequest) -> Peer:
    peer = Peer(request.param, client=True)
    peer.greet()
    return peer


@pytest.mark.parametrize("kind", available_engines())
def test_a_server_says_its_limits(kind: str) -> None:
    """Windows, frames, streams, header lists, and that it takes extended CONNECT (RFC 8441 section 3)."""
    peer = Peer(kind, client=False)
    frames = peer.said()
    settings = next(frame for frame in frames if isinstance(frame, SettingsFrame))
    wanted = {0x3: 1000, 0x4: 65_536, 0x5: 65_536, 0x6: 65_536, 0x8: 1}
    assert wanted.items() <= settings.settings.items()
    (window,) = [frame for frame in frames if isinstance(frame, WindowUpdateFrame)]
    assert window.window_increment == LIMITS.connection_window - 65_535


@pytest.mark.parametrize("kind", available_engines())
def test_a_client_wants_no_push(kind: str) -> None:
    settings = next(frame for frame in Peer(kind, client=True).said() if isinstance(frame, SettingsFrame))
    assert settings.settings[0x2] == 0


MALFORMED: dict[str, list[Header]] = {
    "upper case name": [*GET, (b"X-Upper", b"1")],
    "space in a name": [*GET, (b"x y", b"1")],
    "CR LF in a value": [*GET, (b"x", b"1\r\ny: 2")],
    "NUL in a value": [*GET, (b"x", b"\0")],
    "value begins with a space": [*GET, (b"x", b" 1")],
    "connection": [*GET, (b"connection", b"close")],
    "transfer-encoding": [*GET, (b"transfer-encoding", b"chunked")],
    "upgrade": [*GET, (b"upgrade", b"h2c")],
    "keep-alive": [*GET, (b"keep-alive", b"1")],
    "proxy-connection": [*GET, (b"proxy-connection", b"1")],
    "te but trailers": [*GET, (b"te", b"gzip")],
    "no method": GET[1:],
    "no scheme": [GET[0], *GET[2:]],
    "no path": GET[:3],
    "empty path": [*GET[:3], (b":path", b"")],
    "relative path": [*GET[:3], (b":path", b"a")],
    "path of an URI": [*GET[:3], (b":path", b"http://a/")],
    "star without OPTIONS": [*GET[:3], (b":path", b"*")],
    "space in the path": [*GET[:3], (b":path", b"/a b")],
    "method is no token": [(b":method", b"G T"), *GET[1:]],
    "two methods": [GET[0], *GET],
    "unknown pseudo-header": [*GET, (b":odd", b"1")],
    "pseudo-header of a response": [*GET, (b":status", b"200")],
    "pseudo-header after a field": [*GET[:3], (b"x", b"1"), GET[3]],
    "host and :authority differ": [*GET, (b"host", b"b")],
    "two hosts": [*GET, (b"host", b"a"), (b"host", b"b")],
    "userinfo": [*GET[:2], (b":authority", b"u@a"), GET[3]],
    "CONNECT with a path": [(b":method", b"CONNECT"), (b":authority", b"a:1"), (b":path", b"/")],
    "CONNECT with a scheme": [(b":method", b"CONNECT"), (b":authority", b"a:1"), (b":scheme", b"http")],
    "CONNECT without authority": [(b":method", b"CONNECT")],
    ":protocol without CONNECT": [*GET, (b":protocol", b"websocket")],
    "two lengths": [*POST, (b"content-length", b"1"), (b"content-length", b"2")],
    "length is no number": [*POST, (b"content-length", b"+1")],
}


# h2 reads content-length by itself, and ends the connection for one that it can't read.
H2_ENDS_CONNECTION = {"two lengths", "length is no number"}


@pytest.mark.parametrize("what", MALFORMED)
def test_a_malformed_request_costs_its_stream_only(server: Peer, what: str) -> None:
    """RFC 9113 section 8.1.1. Nobody is told of such a request but that there was one, and others on the connection go
    on."""
    before = server.tell(server.wire.headers(1, POST))
    assert only(before, Request)
    events = server.tell(server.wire.headers(3, MALFORMED[what], end_stream=True))
    if what in H2_ENDS_CONNECTION and type(server.codec).__name__ == "H2Codec":
        assert events == [Reset(1, ErrorCode.PROTOCOL_ERROR)]
        assert server.codec.closing
        return
    (refused,) = events
    assert isinstance(refused, Refused)
    assert (refused.stream_id, refused.code) == (3, "malformed-message")
    resets = [frame for frame in server.said() if isinstance(frame, RstStreamFrame)]
    assert [frame.stream_id for frame in resets] == [3]
    assert server.codec.failure is None
    assert only(server.tell(server.wire.headers(5, GET, end_stream=True)), Request)


WELL_FORMED: dict[str, tuple[list[Header], RequestHead]] = {
    "host for :authority": (
        [*GET[:2], GET[3], (b"host", b"b:1")],
        RequestHead(b"GET", b"http", b"b:1", b"/", []),
    ),
    "host like :authority": ([*GET, (b"host", b"A")], RequestHead(b"GET", b"http", b"A", b"/", [])),
    "cookie crumbs": (
        [*GET, (b"cookie", b"a=1"), (b"x", b"1"), (b"cookie", b"b=2")],
        RequestHead(b"GET", b"http", b"a", b"/", [(b"x", b"1"), (b"cookie", b"a=1; b=2")]),
    ),
    "OPTIONS *": (
        [(b":method", b"OPTIONS"), *GET[1:3], (b":path", b"*")],
        RequestHead(b"OPTIONS", b"http", b"a", b"*", []),
    ),
    "CONNECT": (
        [(b":method", b"CONNECT"), (b":authority", b"a:1")],
        RequestHead(b"CONNECT", b"", b"a:1", b"", []),
    ),
    "extended CONNECT": (
        [(b":method", b"CONNECT"), (b":protocol", b"websocket"), *GET[1:]],
        RequestHead(b"CONNECT", b"http", b"a", b"/", [], b"websocket"),
    ),
}


@pytest.mark.parametrize("what", WELL_FORMED)
def test_a_request_is_read_as_meant(server: Peer, what: str) -> None:
    fields, head = WELL_FORMED[what]
    assert server.tell(server.wire.headers(1, fields)) == [Request(1, head, False)]


@pytest.mark.parametrize("kind", available_engines())
def test_a_sensitive_field_stays_sensitive(kind: str) -> None:
    """A never-indexed literal must be passed on as one (RFC 7541 section 7.1.3). One engine's marks are not the
    other's, but a process has only one."""
    server, client = Peer(kind, client=False), Peer(kind, client=True)
    server.greet()
    client.greet()
    (event,) = only(
        server.tell(server.wire.headers(1, [*GET, NeverIndexedHeaderTuple(b"authorization", b"secret")])), Request
    )
    client.codec.send_request(event.head, True)
    # 0x1f: a never-indexed literal with an indexed name whose number does not fit in four bits.
    assert b"\x1f\x08" in client.codec.data_to_send()


def test_a_body_that_disagrees_with_its_length_is_no_message(server: Peer) -> None:
    """RFC 9113 section 8.1.1: it must not be passed on as whole. (h2 ends the connection for it.)"""
    events = server.tell(server.wire.headers(1, [*POST, (b"content-length", b"3")]))
    events += server.tell(server.wire.data(1, b"four", end_stream=True))
    assert events[-1] == Reset(1, ErrorCode.PROTOCOL_ERROR)
    assert len(only(events, Reset)) == 1
    assert not any(event.end_stream for event in only(events, Data))


def test_a_header_list_above_the_limit_is_answered(server: Peer) -> None:
    """431 on its own stream: one workload's headers must not close a tunnel that others share."""
    many = [*GET, *[(b"x-%d" % i, b"1") for i in range(LIMITS.header_count)]]
    large = [*GET, (b"x", b"y" * LIMITS.header_bytes)]
    for stream_id, fields, limit in ((1, many, "no more than 128"), (3, large, "larger than 65536 bytes")):
        (event,) = server.tell(server.wire.headers(stream_id, fields, end_stream=True, pieces=5))
        assert isinstance(event, Refused)
        assert (event.stream_id, event.code) == (stream_id, HEADER_LIMIT)
        assert limit in event.detail
        (answer,) = [frame for frame in server.said() if isinstance(frame, HeadersFrame)]
        assert answer.stream_id == stream_id
        assert answer.fields == [(b":status", b"431"), (b"isthmus-reason", b"header-limit")]  # type: ignore[attr-defined]
    assert server.codec.open_streams == 0
    assert server.codec.failure is None


def test_a_request_above_the_limit_is_not_read_to_its_end(server: Peer) -> None:
    """The answer is followed by RST_STREAM(NO_ERROR); what the client still sends is dropped without a word."""
    large = [*POST, (b"x", b"y" * LIMITS.header_bytes)]
    assert len(only(server.tell(server.wire.headers(1, large, pieces=5)), Refused)) == 1
    frames = server.said()
    assert [type(frame) for frame in frames[-2:]] == [HeadersFrame, RstStreamFrame]
    assert server.tell(server.wire.data(1, b"more", end_stream=True)) == []


def test_a_huge_header_list_ends_the_connection(server: Peer) -> None:
    """Above twice the limit: memory is what is being attacked. Other streams are told."""
    server.tell(server.wire.headers(1, POST))
    huge = [*GET, *[(b"x-%d" % i, b"y" * 1000) for i in range(150)]]
    events = server.tell(server.wire.headers(3, huge, pieces=8))
    assert events == [Reset(1, ErrorCode.ENHANCE_YOUR_CALM)]
    assert server.codec.failure is not None
    assert server.codec.failure.code == "flood"
    (goaway,) = [frame for frame in server.said() if isinstance(frame, GoAwayFrame)]
    assert goaway.error_code == ErrorCode.ENHANCE_YOUR_CALM
    assert goaway.last_stream_id in (1, 3)


def test_response_fields_above_the_limit_reset_the_stream(client: Peer) -> None:
    stream_id = client.codec.send_request(request(), True)
    client.said()
    large = [(b":status", b"200"), (b"x", b"y" * LIMITS.header_bytes)]
    events = client.tell(client.wire.headers(stream_id, large, pieces=5))
    assert events == [Reset(stream_id, ErrorCode.ENHANCE_YOUR_CALM)]
    assert client.codec.failure is None


@pytest.mark.parametrize(
    "fields",
    [
        [(b"x", b"1")],
        [(b":status", b"abc")],
        [(b":status", b"200"), (b"connection", b"close")],
        [(b":status", b"200"), (b":path", b"/")],
        [(b":status", b"200"), (b"X", b"1")],
    ],
)
def test_a_malformed_response_costs_its_stream_only(client: Peer, fields: list[Header]) -> None:
    stream_id = client.codec.send_request(request(), True)
    client.said()
    events = client.tell(client.wire.headers(stream_id, fields))
    assert [type(event) for event in events] == [Reset]
    assert client.codec.failure is None
    assert client.codec.can_open


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


def test_an_empty_end_waits_for_a_window_that_is_shut(server: Peer) -> None:
    """END_STREAM alone is a DATA frame of no bytes; until the engine has sent it the reset must wait."""
    server.tell(server.wire.headers(1, POST))
    server.codec.send_response(1, response(), False)
    server.codec.send_data(1, bytes(65_535), False)
    server.said()
    server.codec.send_data(1, b"", True)
    frames = server.said()
    server.tell(server.wire.window(0, 1_000), server.wire.window(1, 1_000))
    frames += server.said()
    ends = [i for i, frame in enumerate(frames) if isinstance(frame, DataFrame) and "END_STREAM" in frame.flags]
    resets = [i for i, frame in enumerate(frames) if isinstance(frame, RstStreamFrame)]
    assert len(ends) == len(resets) == 1
    assert ends < resets


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


def test_the_servers_stream_limit_is_kept(client: Peer) -> None:
    """`can_open` follows SETTINGS_MAX_CONCURRENT_STREAMS, also when it falls."""
    client.tell(client.wire.settings({0x3: 2}))
    first = client.codec.send_request(request(), True)
    assert wants(client.codec, "can_open")
    client.codec.send_request(request(), True)
    assert not wants(client.codec, "can_open")
    client.said()
    client.tell(client.wire.headers(first, [(b":status", b"204")], end_stream=True))
    assert wants(client.codec, "can_open")
    client.tell(client.wire.settings({0x3: 0}))
    assert not wants(client.codec, "can_open")


@pytest.mark.parametrize("status", [b"204", b"304"])
def test_a_response_without_a_body_brings_none(client: Peer, status: bytes) -> None:
    """DATA of a response that can have no body is malformed (RFC 9113 section 8.1.1, RFC 9110 section 6.4.1)."""
    stream_id = client.codec.send_request(request(), True)
    client.said()
    assert len(client.tell(client.wire.headers(stream_id, [(b":status", status)]))) == 1
    (event,) = client.tell(client.wire.data(stream_id, b"x"))
    assert isinstance(event, Reset)
    assert not client.codec.closing


@pytest.mark.parametrize("kind", available_engines())
def test_few_streams_are_opened_before_the_server_has_spoken(kind: str) -> None:
    peer = Peer(kind, client=True)
    while peer.codec.can_open:
        peer.codec.send_request(request(), True)
    assert peer.codec.open_streams == 100
    peer.greet()
    assert peer.codec.can_open


def test_ping_is_answered_and_its_answer_told(server: Peer) -> None:
    assert server.codec.ping(b"12345678")
    assert len(server.said()) == 1
    assert server.tell(server.wire.ping(b"abcdefgh")) == []
    assert len(server.said()) == 1
    pong = bytearray(server.wire.ping(b"12345678"))
    pong[4] = 1
    assert server.tell(bytes(pong)) == [PingAck(b"12345678")]


def test_writable_says_when_a_window_opens(server: Peer) -> None:
    """The relay waits for it: what was queued may fall at the next flush."""
    server.tell(server.wire.headers(1, GET, end_stream=True))
    server.codec.send_response(1, response(), False)
    server.codec.send_data(1, bytes(70_000), False)
    server.said()
    assert server.codec.queued(1) == 70_000 - 65_535
    assert server.tell(server.wire.window(0, 10_000)) == [Writable(0)]
    server.said()
    assert server.codec.queued(1) == 70_000 - 65_535
    assert server.tell(server.wire.window(1, 10_000)) == [Writable(1)]
    server.said()
    assert server.codec.queued(1) == 0
    assert server.tell(server.wire.window(1, 10_000)) == []


def test_larger_initial_windows_open_streams_too(server: Peer) -> None:
    """SETTINGS_INITIAL_WINDOW_SIZE changes the windows of open streams (RFC 9113 section 6.9.2)."""
    server.tell(server.wire.headers(1, GET, end_stream=True), server.wire.window(0, 1_000_000))
    server.codec.send_response(1, response(), False)
    server.codec.send_data(1, bytes(70_000), False)
    server.said()
    assert server.tell(server.wire.settings({0x4: 100_000})) == [Writable(0)]
    server.said()
    assert server.codec.queued(1) == 0


def test_trailers_end_a_request(server: Peer) -> None:
    events = server.tell(
        server.wire.headers(1, POST),
        server.wire.data(1, b"x"),
        server.wire.headers(1, [(b"x-sum", b"1")], end_stream=True),
    )
    assert events[1:] == [Data(1, b"x", False), Trailers(1, [(b"x-sum", b"1")])]


def test_padding_is_given_back_at_once(server: Peer) -> None:
    """Nobody consumes padding, so nobody could give its window back."""
    server.tell(server.wire.headers(1, POST))
    for _ in range(400):
        events = server.tell(server.wire.data(1, b"x", padding=255))
        assert events == [Data(1, b"x", False)]
        server.codec.consumed(1, 1)
        server.said()
    assert server.codec.failure is None


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


def test_trailers_above_the_limit_reset_the_stream(server: Peer, client: Peer) -> None:
    """On both sides; a request that the codec has answered itself is nobody's to be told of."""
    large = [(b"x", b"y" * LIMITS.header_bytes)]
    server.tell(server.wire.headers(1, POST))
    refused, reset = server.tell(server.wire.headers(1, large, end_stream=True, pieces=5))
    assert isinstance(refused, Refused)
    assert (refused.stream_id, refused.code) == (1, HEADER_LIMIT)
    assert reset == Reset(1, ErrorCode.ENHANCE_YOUR_CALM)
    stream_id = client.codec.send_request(request(), True)
    client.said()
    events = client.tell(
        client.wire.headers(stream_id, [(b":status", b"200")]),
        client.wire.headers(stream_id, large, end_stream=True, pieces=5),
    )
    assert events[-1] == Reset(stream_id, ErrorCode.ENHANCE_YOUR_CALM)
    server.tell(server.wire.headers(3, [*POST, *large], pieces=5))
    assert server.tell(server.wire.headers(3, large, end_stream=True, pieces=5)) == []
    assert server.codec.failure is None


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
