"""The HTTP/1.1 client's codec: what it writes, byte for byte, and what it takes for an answer."""

from __future__ import annotations

import random

import pytest

from gateway.codec.events import Data, Informational, Reset, Response, Trailers
from gateway.codec.http1.client import Http1ClientCodec
from gateway.codec.limits import CodecLimits
from tests.codec_pair import body_of, connect, request, response, wants

LIMITS = CodecLimits(stream_window=1_000)
OK = b"HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nok"


def client_with(method: bytes = b"GET", *, end_stream: bool = True) -> Http1ClientCodec:
    client = Http1ClientCodec(limits=LIMITS, rng=random.Random(1))
    client.send_request(request(method), end_stream)
    client.data_to_send()
    return client


@pytest.mark.parametrize(
    ("method", "extra"),
    [(b"GET", b""), (b"DELETE", b""), (b"POST", b"content-length: 0\r\n"), (b"PUT", b"content-length: 0\r\n")],
)
def test_a_request_without_a_body(method: bytes, extra: bytes) -> None:
    """RFC 9110 section 8.6: methods that usually have a body say that there is none."""
    client = Http1ClientCodec(limits=LIMITS, rng=random.Random(1))
    client.send_request(request(method, b"/a", [(b"x", b"1")]), True)
    assert client.data_to_send() == method + b" /a HTTP/1.1\r\nhost: payments.shop:80\r\nx: 1\r\n" + extra + b"\r\n"


def test_a_request_body_without_a_length_is_chunked() -> None:
    client = Http1ClientCodec(limits=LIMITS, rng=random.Random(1))
    client.send_request(request(b"POST"), False)
    client.send_data(1, b"hello", False)
    client.send_trailers(1, [(b"x", b"1")])
    assert client.data_to_send().endswith(b"transfer-encoding: chunked\r\n\r\n5\r\nhello\r\n0\r\nx: 1\r\n\r\n")


def test_te_is_named_by_connection() -> None:
    """RFC 9110 section 10.1.4."""
    client = Http1ClientCodec(limits=LIMITS, rng=random.Random(1))
    client.send_request(request(headers=[(b"te", b"trailers")]), True)
    assert b"\r\nte: trailers\r\nconnection: te\r\n" in client.data_to_send()


def test_a_connection_is_used_again() -> None:
    client = client_with()
    assert not wants(client, "can_open")
    assert client.receive(OK) == [
        Response(1, response(200, [(b"content-length", b"2")]), False),
        Data(1, b"ok", True),
    ]
    assert wants(client, "can_open")
    assert client.send_request(request(), True) == 2


@pytest.mark.parametrize(
    "head",
    [
        b"HTTP/1.1 200 OK\r\nConnection: close\r\nContent-Length: 2\r\n\r\nok",
        b"HTTP/1.0 200 OK\r\nContent-Length: 2\r\n\r\nok",
    ],
)
def test_a_connection_that_shall_close_is_not_used_again(head: bytes) -> None:
    client = client_with()
    assert body_of(client.receive(head)) == b"ok"
    assert not client.can_open
    assert client.closing
    assert client.failure is None


def test_http10_may_keep_the_connection() -> None:
    client = client_with()
    client.receive(b"HTTP/1.0 200 OK\r\nConnection: keep-alive\r\nContent-Length: 2\r\n\r\nok")
    assert client.can_open


def test_a_response_until_the_end_of_the_connection() -> None:
    """RFC 9112 section 6.3, item 8. Cut short or whole cannot be told; that is HTTP/1.0's."""
    client = client_with()
    events = client.receive(b"HTTP/1.1 200 OK\r\n\r\nhel") + client.receive(b"lo")
    assert body_of(events) == b"hello"
    assert client.receive_eof() == [Data(1, b"", True)]
    assert client.closing


@pytest.mark.parametrize(
    "begun", [b"", b"HTTP/1.1 200", b"HTTP/1.1 200 OK\r\nContent-Length: 9\r\n\r\nok", b"HTTP/1.1 200 OK\r\n"]
)
def test_a_response_that_breaks_off(begun: bytes) -> None:
    client = client_with()
    events = client.receive(begun) if begun else []
    assert (events + client.receive_eof())[-1] == Reset(1, 8)
    assert not client.can_open


def test_a_chunked_response_with_trailers() -> None:
    client = client_with()
    events = client.receive(
        b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n2\r\nok\r\n0\r\nGrpc-Status: 0\r\n\r\n"
    )
    assert events == [Response(1, response(), False), Data(1, b"ok", False), Trailers(1, [(b"grpc-status", b"0")])]
    assert client.can_open


def test_informational_responses_before_the_final_one() -> None:
    client = client_with()
    events = client.receive(b"HTTP/1.1 100 Continue\r\n\r\nHTTP/1.1 103 Early Hints\r\nLink: x\r\n\r\n" + OK)
    assert events[:2] == [
        Informational(1, response(100)),
        Informational(1, response(103, [(b"link", b"x")])),
    ]
    assert body_of(events) == b"ok"


def test_an_answer_before_the_request_has_ended() -> None:
    """The stream is over and the connection closes: what is still to be sent would reach nobody."""
    client = client_with(b"POST", end_stream=False)
    assert body_of(client.receive(OK)) == b"ok"
    assert client.closing
    client.send_data(1, b"more", True)
    assert client.data_to_send() == b""


def test_bytes_that_are_not_consumed_pause_the_reading() -> None:
    client = client_with()
    client.receive(b"HTTP/1.1 200 OK\r\nContent-Length: 5000\r\n\r\n" + bytes(1_000))
    assert wants(client, "paused")
    client.consumed(1, 500)
    assert not wants(client, "paused")


def test_reset_ends_the_connection_and_says_nothing() -> None:
    client = client_with()
    client.reset(1, 8)
    assert client.closing
    assert client.receive(OK) == []
    assert client.receive_eof() == []


@pytest.mark.parametrize(
    "head",
    [
        b"HTTP/1.1 101 X\r\nConnection: upgrade\r\nUpgrade: websocket\r\nSec-WebSocket-Accept: AAAA\r\n\r\n",
        b"HTTP/1.1 101 X\r\nConnection: upgrade\r\nUpgrade: websocket\r\n\r\n",
    ],
)
def test_a_websocket_must_be_proved(head: bytes) -> None:
    """RFC 6455 section 4.1: a wrong or missing accept is no websocket."""
    client = Http1ClientCodec(limits=LIMITS, rng=random.Random(1))
    client.send_request(connect(b"websocket"), False)
    client.data_to_send()
    assert [type(event) for event in client.receive(head)] == [Reset]
    assert client.failure is not None
    assert client.failure.code == "malformed-upgrade"


def test_websocket_keys_differ() -> None:
    """Each handshake has its own, from the random source that was given."""
    outputs = []
    rng = random.Random(1)
    for _ in range(2):
        client = Http1ClientCodec(limits=LIMITS, rng=rng)
        client.send_request(connect(b"websocket"), False)
        outputs.append(client.data_to_send())
    assert outputs[0] != outputs[1]
    assert (
        b"GET /chat HTTP/1.1\r\nhost: payments.shop:80\r\nconnection: upgrade\r\nupgrade: websocket\r\n" in outputs[0]
    )


def test_a_drained_client_opens_nothing() -> None:
    client = client_with()
    client.drain()
    client.drained()
    assert not wants(client, "closing")
    client.receive(OK)
    assert not wants(client, "can_open")
    assert wants(client, "closing")
