"""Tunnels: CONNECT and raw TCP are one thing to the request path, so one suite runs over all of them."""

from __future__ import annotations

import pytest

from gateway.codec.events import Data, ErrorCode, Request, RequestHead, Reset, Response
from tests.codec_pair import ALL_PAIRS, LIMITS, Pair, body_of, connect, only, response, wants


@pytest.fixture(params=ALL_PAIRS)
def pair(request: pytest.FixtureRequest) -> Pair:
    return Pair(request.param)


def open_tunnel(pair: Pair, head: RequestHead) -> int:
    """A tunnel that both sides know to be open. Returns its stream."""
    pair.client.send_request(head, False)
    (event,) = only(pair.take_server(), Request)
    pair.server.send_response(event.stream_id, response(), False)
    (answer,) = only(pair.take_client(), Response)
    assert answer == Response(event.stream_id, response(), False)
    return event.stream_id


def test_a_connect_names_its_authority_and_nothing_else(pair: Pair) -> None:
    """RFC 9113 section 8.5; a virtual IP's TCP connection says the same without a word on the wire."""
    pair.client.send_request(connect(), False)
    (event,) = pair.take_server()
    assert event == Request(1, connect(), False)


def test_bytes_go_both_ways(pair: Pair) -> None:
    stream_id = open_tunnel(pair, connect())
    pair.client.send_data(stream_id, b"ping", False)
    assert pair.take_server() == [Data(stream_id, b"ping", False)]
    pair.server.send_data(stream_id, b"pong", False)
    assert pair.take_client() == [Data(stream_id, b"pong", False)]


def test_each_direction_ends_by_itself(pair: Pair) -> None:
    """A half-close is passed on: the other direction still carries what it likes, and then all is closed."""
    stream_id = open_tunnel(pair, connect())
    pair.server.send_data(stream_id, b"all I have", True)
    events = pair.take_client()
    assert body_of(events) == b"all I have"
    assert only(events, Data)[-1].end_stream
    pair.client.send_data(stream_id, b"still here", False)
    assert body_of(pair.take_server()) == b"still here"
    pair.client.send_data(stream_id, b"", True)
    assert only(pair.take_server(), Data)[-1].end_stream
    assert pair.client.open_streams == pair.server.open_streams == 0
    assert only(pair.take_client(), Reset) == []


def test_half_closed_waits_for_the_last_byte() -> None:
    """The driver shuts the socket's sending side down when this is true: not before everything was handed out."""
    for kind in ("tcp", "http1"):
        pair = Pair(kind)
        stream_id = open_tunnel(pair, connect())
        pair.client.send_data(stream_id, b"last", True)
        assert not wants(pair.client, "half_closed")
        assert pair.client.data_to_send() == b"last"
        assert wants(pair.client, "half_closed")
        assert not pair.client.closing


def test_a_tunnel_stops_at_the_window(pair: Pair) -> None:
    stream_id = open_tunnel(pair, connect())
    total = LIMITS.stream_window * 8
    pair.client.send_data(stream_id, bytes(total), True)
    received = 0
    while received < total:
        held = len(body_of(pair.take_server()))
        assert 0 < held < total
        received += held
        pair.server.consumed(stream_id, held)


def test_a_refused_tunnel_says_so(pair: Pair) -> None:
    """On TCP the only way to say it is to end the connection."""
    pair.client.send_request(connect(), False)
    (event,) = only(pair.take_server(), Request)
    pair.server.send_response(event.stream_id, response(503, [(b"content-length", b"0")]), True)
    events = pair.take_client()
    if isinstance(pair.client, type(Pair("tcp").client)):
        assert pair.server.closing
        assert only(events, Data)[-1].end_stream
    else:
        assert only(events, Response)[0].head.status == 503


def test_a_reset_tunnel_ends(pair: Pair) -> None:
    """Raw TCP has no word for it: there the driver closes the socket."""
    stream_id = open_tunnel(pair, connect())
    pair.client.reset(stream_id, ErrorCode.CANCEL)
    events = pair.take_server()
    assert events in ([Reset(stream_id, ErrorCode.CANCEL)], [Data(stream_id, b"", True)])
    assert pair.client.open_streams == 0


@pytest.mark.parametrize("kind", [kind for kind in ALL_PAIRS if kind != "http1"])
def test_bytes_follow_a_connect_at_once(kind: str) -> None:
    """A new TCP connection through a tunnel costs no round trip: its bytes need not wait for the answer."""
    pair = Pair(kind)
    pair.client.send_request(connect(), False)
    pair.client.send_data(1, b"first", False)
    events = pair.take_server()
    assert only(events, Request)
    assert body_of(events) == b"first"


def test_http1_bytes_wait_until_the_tunnel_is_there() -> None:
    """On HTTP/1.1 they might be read as another request, so neither side lets them through before the answer."""
    pair = Pair("http1")
    pair.client.send_request(connect(), False)
    pair.client.send_data(1, b"first", False)
    assert pair.client.queued(1) == 5
    assert only(pair.take_server(), Data) == []
    pair.server.send_response(1, response(), False)
    assert body_of(pair.take_server()) == b"first"


def test_a_tcp_server_may_speak_first() -> None:
    """The request is there before any byte of the client, and the response before any byte of the server."""
    pair = Pair("tcp")
    assert pair.server.resume() == [Request(1, connect(), False)]
    pair.client.send_request(connect(), False)
    assert pair.client.resume() == [Response(1, response(), False)]
    pair.server.send_data(1, b"220 ready", False)
    assert body_of(pair.take_client()) == b"220 ready"
