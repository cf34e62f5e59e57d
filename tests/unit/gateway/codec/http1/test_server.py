"""The HTTP/1.1 server's codec: what it writes, byte for byte, and when it reads on."""

from __future__ import annotations

import pytest

from gateway.codec.events import Data, Event, Request, Reset, Trailers
from gateway.codec.http1.server import Http1ServerCodec
from gateway.codec.limits import CodecLimits
from tests.codec_pair import body_of, only, response, wants

LIMITS = CodecLimits(stream_window=1_000)
GET = b"GET / HTTP/1.1\r\nHost: a\r\n\r\n"


def serve(data: bytes) -> tuple[Http1ServerCodec, list[Event]]:
    server = Http1ServerCodec(scheme=b"http", limits=LIMITS)
    return server, server.receive(data)


def answer(
    data: bytes, status: int, body: bytes = b"", headers: list[tuple[bytes, bytes]] | None = None
) -> tuple[Http1ServerCodec, bytes]:
    """What a client reads that sent `data`."""
    server, _ = serve(data)
    server.send_response(1, response(status, headers or []), not body)
    if body:
        server.send_data(1, body, True)
    return server, server.data_to_send()


def test_a_body_without_a_length_is_chunked() -> None:
    server, out = answer(GET, 200, b"hello")
    assert out == b"HTTP/1.1 200 OK\r\ntransfer-encoding: chunked\r\n\r\n5\r\nhello\r\n0\r\n\r\n"
    assert not server.closing


def test_a_body_with_a_length_is_not_chunked() -> None:
    _, out = answer(GET, 200, b"hello", [(b"content-length", b"5")])
    assert out == b"HTTP/1.1 200 OK\r\ncontent-length: 5\r\n\r\nhello"


def test_no_body_says_so() -> None:
    _, out = answer(GET, 404)
    assert out == b"HTTP/1.1 404 Not Found\r\ncontent-length: 0\r\n\r\n"


def test_an_unknown_status_keeps_its_space() -> None:
    """RFC 9112 section 4: the reason may be empty, the space before it not."""
    _, out = answer(GET, 599)
    assert out.startswith(b"HTTP/1.1 599 \r\n")


@pytest.mark.parametrize(
    ("request_head", "connection", "closes"),
    [
        (b"GET / HTTP/1.1\r\nHost: a\r\nConnection: close\r\n\r\n", b"connection: close\r\n", True),
        (b"GET / HTTP/1.0\r\n\r\n", b"connection: close\r\n", True),
        (b"GET / HTTP/1.0\r\nConnection: Keep-Alive\r\n\r\n", b"connection: keep-alive\r\n", False),
        (b"GET / HTTP/1.1\r\nHost: a\r\nConnection: x, CLOSE\r\n\r\n", b"connection: close\r\n", True),
        (GET, b"", False),
    ],
)
def test_the_connection_lives_as_the_client_wants(request_head: bytes, connection: bytes, closes: bool) -> None:
    server, out = answer(request_head, 204)
    assert out == b"HTTP/1.1 204 No Content\r\n" + connection + b"\r\n"
    assert server.closing is closes


def test_http10_reads_until_the_end() -> None:
    """It knows no chunks: a body of unknown length ends with the connection."""
    server, out = answer(b"GET / HTTP/1.0\r\nConnection: keep-alive\r\n\r\n", 200, b"hello")
    assert out == b"HTTP/1.1 200 OK\r\nconnection: close\r\n\r\nhello"
    assert server.closing


def test_http10_hears_no_informational_response() -> None:
    server, _ = serve(b"GET / HTTP/1.0\r\n\r\n")
    server.send_informational(1, response(103))
    assert server.data_to_send() == b""


def test_pipelined_requests_take_turns() -> None:
    """One request at a time reaches the events; the rest waits as bytes and the driver does not read."""
    server, events = serve(GET + GET.replace(b"GET /", b"GET /2"))
    assert [event.head.path for event in only(events, Request)] == [b"/"]
    assert wants(server, "paused")
    assert server.resume() == []
    server.send_response(1, response(204), True)
    assert not wants(server, "paused")
    (second,) = server.resume()
    assert isinstance(second, Request)
    assert (second.stream_id, second.head.path) == (2, b"/2")


def test_bytes_that_are_not_consumed_pause_the_reading() -> None:
    server, events = serve(b"POST / HTTP/1.1\r\nHost: a\r\nContent-Length: 5000\r\n\r\n" + bytes(1_000))
    assert len(body_of(events)) == 1_000
    assert wants(server, "paused")
    server.consumed(1, 1)
    assert not wants(server, "paused")


def test_a_chunked_body_with_extensions_and_trailers() -> None:
    """Extensions are read over, trailers that would change the message are dropped (RFC 9110 section 6.5.1)."""
    _, events = serve(
        b"POST / HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: Chunked\r\n\r\n"
        b'3;a=b;c="d"\r\nabc\r\nA\r\n0123456789\r\n000\r\nX-Sum: 1 \r\nContent-Length: 3\r\nHost: b\r\n\r\n'
    )
    assert body_of(events) == b"abc0123456789"
    assert events[-1] == Trailers(1, [(b"x-sum", b"1")])
    assert not any(event.end_stream for event in only(events, Data))


def test_trailers_are_dropped_where_they_cannot_be_said() -> None:
    """A body with a length has no place for them."""
    server, _ = serve(GET)
    server.send_response(1, response(200, [(b"content-length", b"2")]), False)
    server.send_data(1, b"ok", False)
    server.send_trailers(1, [(b"x", b"1")])
    assert server.data_to_send().endswith(b"\r\n\r\nok")
    assert server.open_streams == 0


@pytest.mark.parametrize(
    ("target", "host", "authority", "path"),
    [
        (b"/a?b", b"H:1", b"H:1", b"/a?b"),
        (b"http://h:1/a?b", b"other", b"h:1", b"/a?b"),
        (b"HTTP://h", b"other", b"h", b"/"),
        (b"http://h?b", b"other", b"h", b"/?b"),
        (b"/", b"[2001:db8::1]:80", b"[2001:db8::1]:80", b"/"),
        (b"/", b"", b"", b"/"),
    ],
)
def test_targets(target: bytes, host: bytes, authority: bytes, path: bytes) -> None:
    """RFC 9112 section 3.2: an absolute target wins over Host."""
    _, (event,) = serve(b"GET %b HTTP/1.1\r\nHost: %b\r\n\r\n" % (target, host))
    assert isinstance(event, Request)
    assert (event.head.authority, event.head.path, event.head.scheme) == (authority, path, b"http")


@pytest.mark.parametrize("target", [b"*", b"http://h"])
def test_options_for_the_whole_server(target: bytes) -> None:
    _, (event,) = serve(b"OPTIONS %b HTTP/1.1\r\nHost: h\r\n\r\n" % target)
    assert isinstance(event, Request)
    assert event.head.path == b"*"


def test_fields_of_the_connection_are_used_here() -> None:
    """RFC 9110 section 7.6.1: they, and what `connection` names, go no further. `te: trailers` may."""
    _, (event,) = serve(
        b"GET / HTTP/1.1\r\nHost: a\r\nConnection: keep-alive, X-Hop, TE\r\nKeep-Alive: 1\r\nX-Hop: 1\r\nX-End: 2\r\n"
        b"Proxy-Connection: x\r\nTE: gzip, trailers\r\nUpgrade: h2c\r\nHTTP2-Settings: AAA\r\n\r\n"
    )
    assert isinstance(event, Request)
    assert event.head.headers == [(b"x-end", b"2"), (b"te", b"trailers")]


EXPECT = b"POST / HTTP/1.1\r\nHost: a\r\nExpect: 100-continue\r\nContent-Length: 3\r\n\r\n"


def test_an_expectation_is_passed_on() -> None:
    """RFC 9110 section 10.1.1: who answers the request says whether its body is wanted."""
    server, (event,) = serve(EXPECT)
    assert isinstance(event, Request)
    assert event.head.headers == [(b"content-length", b"3"), (b"expect", b"100-continue")]
    assert server.data_to_send() == b""
    for _ in range(2):
        server.send_informational(1, response(100))
    assert server.data_to_send() == b"HTTP/1.1 100 Continue\r\n\r\n", "once is enough"
    assert server.receive(b"abc") == [Data(1, b"abc", True)]
    server.send_response(1, response(204), True)
    assert server.data_to_send() == b"HTTP/1.1 204 No Content\r\n\r\n"
    assert not server.closing


def test_continue_is_not_said_to_a_client_that_did_not_wait() -> None:
    server, _ = serve(EXPECT + b"a")
    server.send_informational(1, response(100))
    assert server.data_to_send() == b""


@pytest.mark.parametrize(
    "data",
    [
        EXPECT.replace(b"1.1", b"1.0"),
        EXPECT.replace(b": 3", b": 0"),
        GET.replace(b"\r\n\r\n", b"\r\nExpect: 100-continue\r\n\r\n"),
        GET,
    ],
)
def test_an_expectation_that_means_nothing_goes_no_further(data: bytes) -> None:
    """HTTP/1.0 knows none, and without a body there is nothing to wait for; nobody of these is told to go on."""
    server, (event,) = serve(data)
    assert isinstance(event, Request)
    assert b"expect" not in dict(event.head.headers)
    server.send_informational(1, response(100))
    assert server.data_to_send() == b""


def test_a_request_that_is_refused_at_once_is_not_asked_for_its_body() -> None:
    """Nobody knows whether the body comes all the same, so the connection ends."""
    server, _ = serve(EXPECT)
    server.send_response(1, response(503), True)
    assert (
        server.data_to_send() == b"HTTP/1.1 503 Service Unavailable\r\ncontent-length: 0\r\nconnection: close\r\n\r\n"
    )
    assert server.closing
    assert server.receive(b"abc") == []


def test_the_rest_of_a_refused_request_is_read_over() -> None:
    """Closing with unread bytes would reset the connection, and the client might never see the answer."""
    server, _ = serve(b"POST / HTTP/1.1\r\nHost: a\r\nContent-Length: 900\r\n\r\n" + bytes(100))
    server.send_response(1, response(413), True)
    assert not wants(server, "closing")
    assert server.receive(bytes(800) + GET) != []
    assert not wants(server, "closing")
    assert server.open_streams == 1


def test_an_endless_refused_request_ends_the_connection() -> None:
    server, _ = serve(b"POST / HTTP/1.1\r\nHost: a\r\nContent-Length: 9000000\r\n\r\n" + bytes(100))
    server.send_response(1, response(413), True)
    assert server.receive(bytes(900)) == []
    assert not wants(server, "closing")
    assert server.receive(bytes(900)) == []
    assert wants(server, "closing")


def test_a_broken_request_body_after_the_answer_is_nobodys_reset() -> None:
    server, _ = serve(b"POST / HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: chunked\r\n\r\n")
    server.send_response(1, response(413), True)
    server.data_to_send()
    assert server.receive(b"x\r\n") == []
    assert server.closing
    assert server.data_to_send() == b""


def test_reset_ends_the_connection_after_what_was_said() -> None:
    server, _ = serve(GET)
    server.send_response(1, response(), False)
    server.send_data(1, b"half", False)
    server.reset(1, 8)
    assert server.closing
    assert server.data_to_send().endswith(b"4\r\nhalf\r\n")


def test_a_client_that_leaves_in_the_middle_resets() -> None:
    server, _ = serve(b"POST / HTTP/1.1\r\nHost: a\r\nContent-Length: 3\r\n\r\na")
    assert server.receive_eof() == [Reset(1, 8)]
    assert server.closing


def test_websocket_handshake() -> None:
    """RFC 6455 section 1.3's own example."""
    server, (event,) = serve(
        b"GET /chat HTTP/1.1\r\nHost: a\r\nUpgrade: websocket\r\nConnection: Upgrade\r\n"
        b"Sec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\nSec-WebSocket-Version: 13\r\n\r\n"
    )
    assert isinstance(event, Request)
    assert (event.head.method, event.head.protocol, event.end_stream) == (b"CONNECT", b"websocket", False)
    assert event.head.headers == [(b"sec-websocket-version", b"13")]
    server.send_response(1, response(101), False)
    assert server.data_to_send() == (
        b"HTTP/1.1 101 Switching Protocols\r\nconnection: upgrade\r\nupgrade: websocket\r\n"
        b"sec-websocket-accept: s3pPLMBiTxaQ9kYGzzhZRbK+xOo=\r\n\r\n"
    )
    assert server.receive(b"\x81\x00") == [Data(1, b"\x81\x00", False)]


def test_a_refused_websocket_keeps_the_connection() -> None:
    """Its client had to wait, so what comes after is the next request."""
    key = b"Sec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\n"
    server, _ = serve(
        b"GET / HTTP/1.1\r\nHost: a\r\nUpgrade: websocket\r\nConnection: Upgrade\r\n" + key + b"\r\n" + GET
    )
    assert wants(server, "paused")
    server.send_response(1, response(403), True)
    assert not wants(server, "closing")
    assert [type(event) for event in server.resume()] == [Request]


def test_a_refused_connect_ends_the_connection() -> None:
    """What its client sent ahead was meant for the tunnel: it must not be read as a request."""
    server, _ = serve(b"CONNECT a:1 HTTP/1.1\r\nHost: a:1\r\n\r\n" + GET)
    server.send_response(1, response(403), True)
    assert server.closing
    assert server.resume() == []


def test_a_draining_server_says_close() -> None:
    server, _ = serve(GET)
    server.drain()
    server.send_response(1, response(204), True)
    assert server.data_to_send() == b"HTTP/1.1 204 No Content\r\nconnection: close\r\n\r\n"
    assert server.closing


def test_a_draining_server_answers_what_was_pipelined_before() -> None:
    """A client that sent three requests at once could not know that the second would be too late for this worker."""
    server, _ = serve(GET + GET + GET)
    server.drain()
    server.drained()
    for stream_id in (1, 2):
        server.send_response(stream_id, response(204), True)
        assert server.data_to_send() == b"HTTP/1.1 204 No Content\r\n\r\n"
        assert not wants(server, "closing")
        assert [type(event) for event in server.resume()] == [Request]
    server.send_response(3, response(204), True)
    assert server.data_to_send() == b"HTTP/1.1 204 No Content\r\nconnection: close\r\n\r\n"
    assert wants(server, "closing")


def test_a_drained_idle_server_closes() -> None:
    server = Http1ServerCodec(scheme=b"http", limits=LIMITS)
    server.drain()
    assert not wants(server, "closing")
    server.drained()
    assert wants(server, "closing")


def test_one_empty_line_before_a_request_is_forgiven() -> None:
    """RFC 9112 section 2.2."""
    server, events = serve(b"\r\n" + GET)
    assert len(events) == 1
    assert server.failure is None


def test_a_server_opens_no_streams() -> None:
    server = Http1ServerCodec(scheme=b"http", limits=LIMITS)
    assert not server.can_open
    assert not server.ping(b"12345678")
