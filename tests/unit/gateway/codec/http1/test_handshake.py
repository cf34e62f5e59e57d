"""Upgrades on HTTP/1.1, byte for byte: what is asked for and what is not, and who may say yes."""

from __future__ import annotations

import random

import pytest

from gateway.codec.events import Data, Event, Request, Reset, Response
from gateway.codec.http1.client import Http1ClientCodec
from gateway.codec.http1.server import Http1ServerCodec
from gateway.codec.limits import CodecLimits
from tests.codec_pair import body_of, connect, only, request, response, wants

LIMITS = CodecLimits(stream_window=1_000)
GET = b"GET / HTTP/1.1\r\nHost: a\r\n\r\n"


def serve(data: bytes) -> tuple[Http1ServerCodec, list[Event]]:
    server = Http1ServerCodec(scheme=b"http", limits=LIMITS)
    return server, server.receive(data)


def asking(upgrade: bytes, method: bytes = b"GET", extra: bytes = b"") -> bytes:
    line = b"%b / HTTP/1.1\r\nHost: a\r\nConnection: Upgrade\r\nUpgrade: %b\r\n" % (method, upgrade)
    return line + extra + b"\r\n"


def client_of(protocol: bytes, method: bytes = b"GET") -> tuple[Http1ClientCodec, bytes]:
    client = Http1ClientCodec(limits=LIMITS, rng=random.Random(1))
    client.send_request(connect(protocol, method), False)
    return client, client.data_to_send()


def test_a_hijack() -> None:
    """As Docker's clients ask for it. The length of a body that is empty would mean nothing in front of the bytes."""
    server, (event,) = serve(asking(b"tcp", b"POST", b"Content-Length: 0\r\nX: 1\r\n"))
    assert isinstance(event, Request)
    head = event.head
    assert (head.method, head.protocol, head.upgrade_method) == (b"CONNECT", b"tcp", b"POST")
    assert (head.headers, event.end_stream) == ([(b"x", b"1")], False)
    server.send_response(1, response(101, [(b"content-type", b"application/vnd.docker.raw-stream")]), False)
    assert server.data_to_send() == (
        b"HTTP/1.1 101 Switching Protocols\r\nconnection: upgrade\r\nupgrade: tcp\r\n"
        b"content-type: application/vnd.docker.raw-stream\r\n\r\n"
    )
    assert server.receive(GET) == [Data(1, GET, False)]


@pytest.mark.parametrize(
    ("upgrade", "offered"),
    [
        (b"SPDY/3.1", b"SPDY/3.1"),
        (b"foo,bar", b"foo, bar"),
        (b" , h2c ,\tfoo/2, ", b"foo/2"),
        (b"TLS/1.0, HTTP/2.0, foo, H2C", b"foo"),
        (b"foo\r\nUpgrade: bar", b"foo, bar"),
    ],
)
def test_what_is_passed_on_of_an_offer(upgrade: bytes, offered: bytes) -> None:
    """In the client's order and spelling, and without what is this connection's own matter."""
    _, (event,) = serve(asking(upgrade))
    assert isinstance(event, Request)
    assert event.head.protocol == offered


@pytest.mark.parametrize(
    "data",
    [
        asking(b"foo", b"POST", b"Content-Length: 3\r\n") + b"abc",
        asking(b"foo", b"POST", b"Transfer-Encoding: chunked\r\n") + b"0\r\n\r\n",
        asking(b"foo", b"HEAD"),
        asking(b"foo").replace(b"1.1", b"1.0"),
        asking(b"foo").replace(b"Connection: Upgrade\r\n", b""),
        asking(b"foo", b"OPTIONS").replace(b" / ", b" * "),
        asking(b"h2c"),
        asking(b"TLS/1.2"),
        asking(b"HTTP/3.0"),
        asking(b"foo bar"),
        asking(b"foo, a b"),
        asking(b","),
        asking(b""),
        asking(b"websocket", b"POST"),
        asking(b"websocket", b"GET", b"Content-Length: 3\r\n") + b"abc",
    ],
)
def test_an_upgrade_may_be_ignored(data: bytes) -> None:
    """What cannot be passed on is left out, and the request is an ordinary one, whose connection goes on."""
    server, events = serve(data)
    (event,) = only(events, Request)
    assert (event.head.protocol, event.head.method) == (b"", data[: data.index(b" ")])
    server.send_response(1, response(204), True)
    assert server.data_to_send().startswith(b"HTTP/1.1 204 No Content\r\n")
    assert wants(server, "closing") is (b"HTTP/1.0" in data)


@pytest.mark.parametrize("upgrade", [b"tcp", b"foo, bar"])
@pytest.mark.parametrize("status", [200, 403])
def test_what_follows_a_declined_upgrade_is_the_next_request(upgrade: bytes, status: int) -> None:
    """Its client had to wait for an answer. What is no request is refused, as anywhere."""
    for after, kind in ((GET, Request), (b"raw bytes\r\n\r\n", None)):
        server, _ = serve(asking(upgrade) + after)
        assert wants(server, "paused")
        server.send_response(1, response(status), True)
        assert [type(event) for event in server.resume()] == ([kind] if kind else [])
        assert wants(server, "closing") is (kind is None)


@pytest.mark.parametrize("chosen", [b"baz", b"foo, bar", b"foo/2"])
def test_nobody_is_told_that_he_speaks_what_he_did_not_ask_for(chosen: bytes) -> None:
    """Another gateway may say what it likes: the connection ends without a word."""
    server, _ = serve(asking(b"foo, bar"))
    server.send_response(1, response(101, [(b"upgrade", chosen)]), False)
    assert server.data_to_send() == b""
    assert server.closing


def test_the_choice_is_told_as_it_was_offered() -> None:
    """Case does not matter (RFC 9110 section 7.8), but to some it does."""
    server, _ = serve(asking(b"Foo, BAR/1"))
    server.send_response(1, response(101, [(b"upgrade", b"bar/1")]), False)
    assert b"\r\nupgrade: BAR/1\r\n" in server.data_to_send()


def test_a_choice_that_is_not_told_is_the_first() -> None:
    """HTTP/2 between the gateways, or to the endpoint, names but one."""
    server, _ = serve(asking(b"foo, bar"))
    server.send_response(1, response(101), False)
    assert b"\r\nupgrade: foo\r\n" in server.data_to_send()


@pytest.mark.parametrize(
    ("method", "length"), [(b"GET", b""), (b"POST", b"content-length: 0\r\n"), (b"DELETE", b""), (b"", b"")]
)
def test_what_a_server_is_asked(method: bytes, length: bytes) -> None:
    """An HTTP/2 client has no method: RFC 8441 section 5 makes it a GET."""
    line = (method or b"GET") + b" /chat HTTP/1.1\r\nhost: payments.shop:80\r\n"
    _, out = client_of(b"SPDY/3.1, foo", method)
    assert out == line + b"connection: upgrade\r\nupgrade: SPDY/3.1, foo\r\n" + length + b"\r\n"


def test_an_upgrade_has_no_body() -> None:
    """HTTP/2 may say a length with an extended CONNECT. The server would wait for a body, and take the bytes that come
    through the tunnel, or the next request, for it."""
    client = Http1ClientCodec(limits=LIMITS, rng=random.Random(1))
    head = connect(b"foo", b"POST")
    head.headers = [(b"content-length", b"40"), (b"te", b"trailers"), (b"x", b"1")]
    client.send_request(head, False)
    client.send_data(1, b"GET /admin HTTP/1.1\r\n\r\n", False)
    assert client.data_to_send() == (
        b"POST /chat HTTP/1.1\r\nhost: payments.shop:80\r\nx: 1\r\n"
        b"connection: upgrade\r\nupgrade: foo\r\ncontent-length: 0\r\n\r\n"
    )
    client.receive(b"HTTP/1.1 200 OK\r\nContent-Length: 0\r\n\r\n")
    assert client.data_to_send() == b""
    assert wants(client, "can_open")


@pytest.mark.parametrize(
    ("accepted", "fields"),
    [
        (b"Upgrade: foo\r\nConnection: upgrade\r\nContent-Length: 3\r\nX: 1\r\n", [(b"x", b"1"), (b"upgrade", b"Foo")]),
        (b"Upgrade: BAR\r\nConnection: upgrade\r\nTransfer-Encoding: chunked\r\n", [(b"upgrade", b"bar")]),
    ],
)
def test_an_acceptance(accepted: bytes, fields: list[tuple[bytes, bytes]]) -> None:
    """What a 1xx says of a body means nothing (RFC 9110 section 8.6)."""
    client, _ = client_of(b"Foo, bar")
    events = client.receive(b"HTTP/1.1 101 X\r\n" + accepted + b"\r\nHTTP/1.1 101 X\r\n\r\n")
    assert events == [Response(1, response(101, fields), False), Data(1, b"HTTP/1.1 101 X\r\n\r\n", False)]
    assert not wants(client, "can_open")


@pytest.mark.parametrize(
    "head",
    [
        b"Connection: upgrade\r\nUpgrade: baz\r\n",
        b"Connection: upgrade\r\nUpgrade: foo, bar\r\n",
        b"Connection: upgrade\r\nUpgrade: foo/1\r\n",
        b"Connection: upgrade\r\nUpgrade: websocket\r\n",
        b"Connection: upgrade\r\nUpgrade: h2c\r\n",
        b"Connection: upgrade\r\n",
        b"Upgrade: foo\r\nUpgrade: bar\r\n",
    ],
)
def test_only_what_was_asked_for_can_be_accepted(head: bytes) -> None:
    client, _ = client_of(b"foo, bar")
    assert [type(event) for event in client.receive(b"HTTP/1.1 101 X\r\n" + head + b"\r\nraw")] == [Reset]
    assert client.failure is not None
    # llhttp wants both fields of an answer 101.
    both = b"Connection" in head and b"Upgrade" in head
    assert client.failure.code == ("malformed-upgrade" if both else "malformed-head")
    assert client.closing


def test_a_websocket_among_others_is_proved() -> None:
    """Whichever is chosen, it is what it should be."""
    client, out = client_of(b"foo, websocket")
    assert b"\r\nupgrade: foo, websocket\r\nsec-websocket-key: " in out
    bare = b"HTTP/1.1 101 X\r\nConnection: upgrade\r\nUpgrade: websocket\r\n\r\n"
    assert [type(event) for event in client.receive(bare)] == [Reset]
    client, _ = client_of(b"foo, websocket")
    (event,) = client.receive(bare.replace(b"websocket", b"foo"))
    assert event == Response(1, response(101, [(b"upgrade", b"foo")]), False)


def test_a_connection_is_used_again_after_an_ordinary_answer() -> None:
    client, _ = client_of(b"foo")
    events = client.receive(b"HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nok")
    assert body_of(events) == b"ok"
    assert wants(client, "can_open")
    assert client.send_request(request(), True) == 2


def test_a_connect_that_is_refused_ends_its_connection() -> None:
    """A proxy might have taken bytes for the tunnel."""
    client = Http1ClientCodec(limits=LIMITS, rng=random.Random(1))
    client.send_request(connect(), False)
    client.receive(b"HTTP/1.1 403 No\r\nContent-Length: 0\r\n\r\n")
    assert client.closing
