"""TCP as a codec: the corners that the contract suite does not reach."""

from __future__ import annotations

from gateway.codec.events import Data, Request, Response
from gateway.codec.limits import CodecLimits
from gateway.codec.tcp import TcpClientCodec, TcpServerCodec
from tests.codec_pair import connect, response, wants

LIMITS = CodecLimits(stream_window=1_000)


def test_the_request_comes_once() -> None:
    server = TcpServerCodec(authority=b"ledger.shop:5432", limits=LIMITS)
    (event,) = server.resume()
    assert isinstance(event, Request)
    assert event.head.authority == b"ledger.shop:5432"
    assert server.resume() == []
    assert server.receive(b"x") == [Data(1, b"x", False)]


def test_the_request_comes_before_the_first_bytes() -> None:
    server = TcpServerCodec(authority=b"a:1", limits=LIMITS)
    assert [type(event) for event in server.receive(b"x")] == [Request, Data]


def test_nothing_is_read_before_somebody_listens() -> None:
    """The answer to the request comes from `resume`, so that it does not need a byte of the server."""
    client = TcpClientCodec(limits=LIMITS)
    assert wants(client, "paused")
    assert client.resume() == []
    assert wants(client, "can_open")
    client.send_request(connect(), False)
    assert not wants(client, "can_open")
    assert not wants(client, "paused")
    assert client.resume() == [Response(1, response(), False)]
    assert client.resume() == []


def test_bytes_that_are_not_consumed_pause_the_reading() -> None:
    server = TcpServerCodec(authority=b"a:1", limits=LIMITS)
    server.receive(bytes(1_000))
    assert wants(server, "paused")
    server.consumed(1, 1_000)
    assert not wants(server, "paused")


def test_both_ends_close_the_connection() -> None:
    server = TcpServerCodec(authority=b"a:1", limits=LIMITS)
    assert server.receive_eof()[-1] == Data(1, b"", True)
    assert server.receive_eof() == []
    assert not wants(server, "closing")
    server.send_response(1, response(), False)
    server.send_data(1, b"bye", False)
    server.send_trailers(1, [(b"x", b"1")])
    assert wants(server, "closing")
    assert server.data_to_send() == b"bye"
    assert wants(server, "half_closed")


def test_an_answer_without_a_body_ends_our_side() -> None:
    server = TcpServerCodec(authority=b"a:1", limits=LIMITS)
    server.resume()
    server.send_informational(1, response(103))
    server.send_response(1, response(200), True)
    assert server.half_closed
    assert server.data_to_send() == b""


def test_a_reset_connection_says_nothing_more() -> None:
    server = TcpServerCodec(authority=b"a:1", limits=LIMITS)
    server.resume()
    server.reset(1, 8)
    assert server.closing
    assert server.receive(b"x") == []
    assert server.receive_eof() == []
    server.send_data(1, b"x", True)
    assert server.data_to_send() == b""
    assert not server.ping(b"12345678")
