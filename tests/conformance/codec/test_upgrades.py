"""Upgrades: `Upgrade` on HTTP/1.1 and an extended CONNECT on HTTP/2 are one thing to the request path."""

from __future__ import annotations

import pytest
from hyperframe.frame import DataFrame, HeadersFrame

from gateway.codec.events import Data, Header, Refused, Request, RequestHead, Reset, Response
from gateway.codec.http2.engine import available_engines
from gateway.codec.http2.extended_connect import TAKES_UPGRADES
from gateway.codec.interface import Codec
from tests.codec_pair import (
    ENGINE_PAIRS,
    HTTP_PAIRS,
    Pair,
    body_of,
    connect,
    make_client,
    make_server,
    only,
    request,
    response,
    wants,
)
from tests.http2_wire import GET, Wire

# As clients ask: container engines, kubectl, RFC 9298, browsers, and somebody with a protocol of his own.
ASKED = {
    "websocket": connect(b"websocket", b"GET"),
    "hijack": connect(b"tcp", b"POST"),
    "exec": connect(b"SPDY/3.1", b"POST"),
    "udp": connect(b"connect-udp", b"GET"),
    "one of several": connect(b"foo/2, foo, bar", b"GET"),
    "another method": connect(b"foo", b"DELETE"),
}


def open_pair(kind: str) -> Pair:
    """A pair that has exchanged what a connection begins with."""
    pair = Pair(kind)
    pair.pump()
    return pair


@pytest.fixture(params=HTTP_PAIRS)
def pair(request: pytest.FixtureRequest) -> Pair:
    return open_pair(request.param)


@pytest.fixture(params=ASKED)
def asked(request: pytest.FixtureRequest) -> RequestHead:
    return ASKED[request.param]


def test_what_is_asked_for_arrives_as_it_was_asked(pair: Pair, asked: RequestHead) -> None:
    """Its tokens in their order and spelling, and its method."""
    pair.client.send_request(asked, False)
    assert pair.take_server() == [Request(1, asked, False)]


def test_bytes_follow_an_acceptance_both_ways(pair: Pair, asked: RequestHead) -> None:
    """The answer keeps its own fields; each direction ends by itself, and nothing is left then."""
    pair.client.send_request(asked, False)
    pair.pump()
    accepted = response(101, [(b"sec-websocket-protocol", b"chat")])
    chosen = asked.protocol.split(b", ")[-1]
    if chosen != asked.protocol:
        accepted.headers.append((b"upgrade", chosen))
    pair.server.send_response(1, accepted, False)
    pair.server.send_data(1, b"\x81\x02hi", False)
    events = pair.take_client()
    assert events[0] == Response(1, accepted, False)
    assert body_of(events) == b"\x81\x02hi"
    pair.client.send_data(1, b"HTTP/1.1 101 is no answer here\r\n\r\n", True)
    events = pair.take_server()
    assert body_of(events) == b"HTTP/1.1 101 is no answer here\r\n\r\n"
    assert only(events, Data)[-1].end_stream
    pair.server.send_data(1, b"bye", True)
    events = pair.take_client()
    assert body_of(events) == b"bye"
    assert only(events, Data)[-1].end_stream
    assert only(events, Reset) == []
    assert pair.client.open_streams == pair.server.open_streams == 0


@pytest.mark.parametrize("status", [200, 202, 226, 302, 400, 426, 501])
def test_any_other_answer_is_an_ordinary_one(pair: Pair, asked: RequestHead, status: int) -> None:
    """2xx too: a server that ignores an upgrade answers as if nobody had asked for one."""
    pair.client.send_request(asked, False)
    pair.pump()
    ordinary = response(status, [(b"content-length", b"2"), (b"x", b"1")])
    pair.server.send_response(1, ordinary, False)
    pair.server.send_data(1, b"no", True)
    events = pair.take_client()
    assert events[0] == Response(1, ordinary, False)
    assert body_of(events) == b"no"
    pair.client.send_data(1, b"", True)
    pair.pump()
    assert pair.client.open_streams == pair.server.open_streams == 0
    assert wants(pair.client, "can_open")


def test_a_connection_goes_on_after_an_ordinary_answer(pair: Pair, asked: RequestHead) -> None:
    """What comes next on it is the next request, and its answer that one's."""
    for number in (1, 2):
        stream_id = pair.client.send_request(asked, False)
        (begun,) = only(pair.take_server(), Request)
        pair.server.send_response(stream_id, response(204), True)
        (answer,) = only(pair.take_client(), Response)
        assert (begun.head, answer.head.status, answer.stream_id) == (asked, 204, stream_id), number
        pair.client.send_data(stream_id, b"", True)


@pytest.mark.parametrize("kind", ENGINE_PAIRS)
def test_an_http2_client_has_no_method_to_ask_with(kind: str) -> None:
    """RFC 8441 as browsers and others speak it."""
    pair = open_pair(kind)
    pair.client.send_request(connect(b"connect-udp"), False)
    assert pair.take_server() == [Request(1, connect(b"connect-udp"), False)]


# What a client may not ask for, or not so.
IMPOSSIBLE = {
    "HTTP/2 in the clear": [(b":protocol", b"h2c")],
    "another HTTP": [(b":protocol", b"HTTP/3.0")],
    "TLS": [(b":protocol", b"TLS/1.2")],
    "two at once": [(b":protocol", b"foo, bar")],
    "a line": [(b":protocol", b"foo bar")],
    "no token": [(b":protocol", b"foo/1/2")],
    "another than is offered": [(b":protocol", b"foo"), (b"isthmus-upgrade", b"bar, foo")],
    "an offer that is none": [(b":protocol", b"foo"), (b"isthmus-upgrade", b"foo;")],
    "a request line for a method": [(b":protocol", b"foo"), (b"isthmus-method", b"GET /admin")],
    "HEAD": [(b":protocol", b"foo"), (b"isthmus-method", b"HEAD")],
    "CONNECT": [(b":protocol", b"foo"), (b"isthmus-method", b"CONNECT")],
    "a websocket with POST": [(b":protocol", b"websocket"), (b"isthmus-method", b"POST")],
}


@pytest.mark.parametrize("engine", available_engines())
@pytest.mark.parametrize("what", IMPOSSIBLE)
def test_what_cannot_be_asked_is_refused(engine: str, what: str) -> None:
    """It would be written into a request of HTTP/1.1: it must be what it says. The connection goes on."""
    wire, server = Wire(), make_server(engine)
    protocol, *fields = IMPOSSIBLE[what]
    head = [(b":method", b"CONNECT"), protocol, *GET[1:], *fields]
    events = server.receive(wire.hello(client=True) + wire.headers(1, head) + wire.headers(3, GET, end_stream=True))
    assert [event.stream_id for event in only(events, Request)] == [3]
    assert [event.stream_id for event in only(events, Refused)] == [1]


def asked_of(engine: str, settings: dict[int, int] | None, asked: RequestHead) -> tuple[Codec, Wire, list[Header]]:
    """A client that has asked a server with these SETTINGS, None if they have not come, and what the server reads."""
    client, wire = make_client(engine), Wire()
    if settings is not None:
        client.receive(wire.hello(client=False, settings=settings))
    client.send_request(asked, False)
    (head,) = (frame for frame in wire.read(client.data_to_send()) if isinstance(frame, HeadersFrame))
    ended = "END_STREAM" in head.flags
    fields = [field for field in head.fields if field[0] in SHOWN]  # type: ignore[attr-defined]
    return client, wire, [*fields, *([(b"end", b"")] if ended else [])]


SHOWN = (b":method", b":protocol", b"isthmus-method", b"isthmus-upgrade")
GATEWAY = {0x8: 1, TAKES_UPGRADES: 1}
ORDINARY = [(b":method", b"POST"), (b"end", b"")]


@pytest.mark.parametrize("engine", available_engines())
@pytest.mark.parametrize(
    ("settings", "asked", "said"),
    [
        (
            GATEWAY,
            connect(b"foo, bar", b"POST"),
            [
                (b":method", b"CONNECT"),
                (b":protocol", b"foo"),
                (b"isthmus-method", b"POST"),
                (b"isthmus-upgrade", b"foo, bar"),
            ],
        ),
        # A gateway from before this would ask its endpoint for a WebSocket, and an endpoint might refuse what it need
        # not know.
        ({0x8: 1}, connect(b"tcp", b"POST"), ORDINARY),
        ({0x8: 1}, connect(b"websocket, foo", b"GET"), [(b":method", b"CONNECT"), (b":protocol", b"websocket")]),
        ({0x8: 1}, connect(b"connect-udp", b"GET"), [(b":method", b"CONNECT"), (b":protocol", b"connect-udp")]),
        # Its client speaks HTTP/2, and meant it.
        ({0x8: 1}, connect(b"tcp"), [(b":method", b"CONNECT"), (b":protocol", b"tcp")]),
        # RFC 8441 section 3 forbids it there.
        ({}, connect(b"tcp", b"POST"), ORDINARY),
        ({}, connect(b"websocket", b"GET"), [(b":method", b"GET"), (b"end", b"")]),
        ({}, connect(b"websocket"), [(b":method", b"GET"), (b"end", b"")]),
        (None, connect(b"tcp", b"POST"), ORDINARY),
        (None, connect(b"websocket", b"GET"), [(b":method", b"CONNECT"), (b":protocol", b"websocket")]),
    ],
)
def test_a_server_is_asked_for_what_it_takes(
    engine: str, settings: dict[int, int] | None, asked: RequestHead, said: list[Header]
) -> None:
    """What it can't be asked for is left out, and the request is an ordinary one."""
    assert asked_of(engine, settings, asked)[2] == said


@pytest.mark.parametrize("engine", available_engines())
def test_what_is_asked_without_an_upgrade_is_answered_without(engine: str) -> None:
    """What the caller sends for a tunnel that is not asked for stays here, and the answer accepts nothing."""
    client, wire, _ = asked_of(engine, {}, connect(b"foo", b"POST"))
    client.send_data(1, b"GET /admin HTTP/1.1", True)
    assert not [frame for frame in wire.read(client.data_to_send()) if isinstance(frame, DataFrame)]
    answer = wire.headers(1, [(b":status", b"200"), (b"x", b"1")]) + wire.data(1, b"ok", end_stream=True)
    assert client.receive(answer) == [Response(1, response(200, [(b"x", b"1")]), False), Data(1, b"ok", True)]
    assert client.open_streams == 0


@pytest.mark.parametrize("engine", available_engines())
def test_any_2xx_of_http2_accepts(engine: str) -> None:
    """RFC 8441 section 5, from an endpoint or a gateway that knows nothing of ours."""
    client, wire, _ = asked_of(engine, {0x8: 1}, connect(b"websocket", b"GET"))
    events = client.receive(wire.headers(1, [(b":status", b"201"), (b"x", b"1")]))
    assert events == [Response(1, response(101, [(b"x", b"1")]), False)]


@pytest.mark.parametrize("engine", available_engines())
@pytest.mark.parametrize("said", [b"", b"101", b"20", b"2000", b"2x0", b"404", b"299"])
def test_only_a_2xx_is_restored(engine: str, said: bytes) -> None:
    """From any server: 501 is itself unless it stands for an answer that HTTP/2 could not give."""
    client, wire, _ = asked_of(engine, {0x8: 1}, connect(b"websocket", b"GET"))
    (event,) = client.receive(wire.headers(1, [(b":status", b"501"), (b"isthmus-status", said)], end_stream=True))
    assert isinstance(event, Response)
    assert event.head.status == (299 if said == b"299" else 501)


@pytest.mark.parametrize("engine", available_engines())
def test_no_informational_101_in_http2(engine: str) -> None:
    """RFC 9113 section 8.6: there is none. It would be passed on to a client of HTTP/1.1, who would believe it."""
    client, wire = make_client(engine), Wire()
    client.receive(wire.hello(client=False))
    client.send_request(request(), True)
    client.data_to_send()
    events = client.receive(wire.headers(1, [(b":status", b"101"), (b"x", b"1")]))
    assert [type(event) for event in events] == [Reset]
