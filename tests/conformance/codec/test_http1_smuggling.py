"""Shapes of HTTP/1.1 that two parsers may read differently: each is refused, byte for byte, and the connection ends.

A gateway that reads a message's end elsewhere than the next hop does lets one client speak inside another's
connection. What is refused here never reaches the events.
"""

from __future__ import annotations

import random

import pytest

from gateway.codec.events import Data, Request, Reset, Response
from gateway.codec.http1.client import Http1ClientCodec
from gateway.codec.http1.server import Http1ServerCodec
from tests.codec_pair import LIMITS, body_of, only, request, response

HOST = b"Host: a\r\n"

# What a client sends, and the status that it gets.
REFUSED: dict[str, tuple[bytes, int]] = {
    # RFC 9112 section 6: how long the body is.
    "length and coding": (
        b"POST / HTTP/1.1\r\nHost: a\r\nContent-Length: 3\r\nTransfer-Encoding: chunked\r\n\r\n",
        400,
    ),
    "coding and length": (
        b"POST / HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: chunked\r\nContent-Length: 3\r\n\r\n",
        400,
    ),
    "two lengths": (b"POST / HTTP/1.1\r\nHost: a\r\nContent-Length: 3\r\nContent-Length: 4\r\n\r\n", 400),
    "two equal lengths": (b"POST / HTTP/1.1\r\nHost: a\r\nContent-Length: 3\r\nContent-Length: 3\r\n\r\n", 400),
    "a list of lengths": (b"POST / HTTP/1.1\r\nHost: a\r\nContent-Length: 3, 3\r\n\r\n", 400),
    "a signed length": (b"POST / HTTP/1.1\r\nHost: a\r\nContent-Length: +3\r\n\r\n", 400),
    "a hexadecimal length": (b"POST / HTTP/1.1\r\nHost: a\r\nContent-Length: 0x3\r\n\r\n", 400),
    "an empty length": (b"POST / HTTP/1.1\r\nHost: a\r\nContent-Length: \r\n\r\n", 400),
    "a length beyond 64 bits": (b"POST / HTTP/1.1\r\nHost: a\r\nContent-Length: 18446744073709551617\r\n\r\n", 400),
    "another coding": (b"POST / HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: xchunked\r\n\r\n", 400),
    "two codings": (b"POST / HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: gzip, chunked\r\n\r\n", 501),
    "chunked twice": (b"POST / HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: chunked, chunked\r\n\r\n", 400),
    "chunked not last": (b"POST / HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: chunked, gzip\r\n\r\n", 400),
    "two coding fields": (
        b"POST / HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: gzip\r\nTransfer-Encoding: chunked\r\n\r\n",
        501,
    ),
    "coding in HTTP/1.0": (b"POST / HTTP/1.0\r\nHost: a\r\nTransfer-Encoding: chunked\r\n\r\n", 400),
    "coding after a vertical tab": (b"POST / HTTP/1.1\r\nHost: a\r\nTransfer-Encoding:\x0bchunked\r\n\r\n", 400),
    # Section 2.2 and 5: where lines and names end.
    "space before the colon": (b"GET / HTTP/1.1\r\nHost : a\r\n\r\n", 400),
    "tab before the colon": (b"GET / HTTP/1.1\r\nHost: a\r\nTransfer-Encoding\t: chunked\r\n\r\n", 400),
    "folded line": (b"GET / HTTP/1.1\r\nHost: a\r\nX: 1\r\n Y: 2\r\n\r\n", 400),
    "folded with a tab": (b"GET / HTTP/1.1\r\nHost: a\r\nX: 1\r\n\tY: 2\r\n\r\n", 400),
    "line before the first field": (b"GET / HTTP/1.1\r\n Host: a\r\n\r\n", 400),
    "bare LF between fields": (b"GET / HTTP/1.1\r\nHost: a\nX: 1\r\n\r\n", 400),
    "bare LF at the end": (b"GET / HTTP/1.1\r\nHost: a\n\n", 400),
    "bare CR in a value": (b"GET / HTTP/1.1\r\nHost: a\r\nX: 1\rY: 2\r\n\r\n", 400),
    "NUL in a value": (b"GET / HTTP/1.1\r\nHost: a\r\nX: \0\r\n\r\n", 400),
    "no colon": (b"GET / HTTP/1.1\r\nHost: a\r\nX\r\n\r\n", 400),
    "no name": (b"GET / HTTP/1.1\r\nHost: a\r\n: 1\r\n\r\n", 400),
    "space in a name": (b"GET / HTTP/1.1\r\nHost: a\r\nX Y: 1\r\n\r\n", 400),
    "parenthesis in a name": (b"GET / HTTP/1.1\r\nHost: a\r\nX(): 1\r\n\r\n", 400),
    # Section 3: the first line.
    "two spaces": (b"GET  / HTTP/1.1\r\nHost: a\r\n\r\n", 400),
    "space in the target": (b"GET /a b HTTP/1.1\r\nHost: a\r\n\r\n", 400),
    "tab for a space": (b"GET\t/ HTTP/1.1\r\nHost: a\r\n\r\n", 400),
    "space at the end": (b"GET / HTTP/1.1 \r\nHost: a\r\n\r\n", 400),
    "HTTP/0.9": (b"GET /\r\n\r\n", 400),
    "HTTP/1.2": (b"GET / HTTP/1.2\r\nHost: a\r\n\r\n", 505),
    "HTTP/2.0": (b"GET / HTTP/2.0\r\nHost: a\r\n\r\n", 505),
    "lower case version": (b"GET / http/1.1\r\nHost: a\r\n\r\n", 400),
    "another protocol": (b"GET / RTSP/1.0\r\nHost: a\r\n\r\n", 400),
    "unknown method": (b"BREW / HTTP/1.1\r\nHost: a\r\n\r\n", 501),
    "method is no token": (b"G@T / HTTP/1.1\r\nHost: a\r\n\r\n", 400),
    "fragment": (b"GET /#a HTTP/1.1\r\nHost: a\r\n\r\n", 400),
    "relative target": (b"GET a HTTP/1.1\r\nHost: a\r\n\r\n", 400),
    "star without OPTIONS": (b"GET * HTTP/1.1\r\nHost: a\r\n\r\n", 400),
    "another scheme": (b"GET ftp://a/ HTTP/1.1\r\nHost: a\r\n\r\n", 400),
    "userinfo in the target": (b"GET http://u@a/ HTTP/1.1\r\nHost: a\r\n\r\n", 400),
    "CONNECT to a path": (b"CONNECT / HTTP/1.1\r\nHost: a\r\n\r\n", 400),
    "CONNECT without a port": (b"CONNECT a HTTP/1.1\r\nHost: a\r\n\r\n", 400),
    "CONNECT with a body": (b"CONNECT a:1 HTTP/1.1\r\nHost: a:1\r\nContent-Length: 3\r\n\r\n", 400),
    # Section 3.2: Host.
    "no host": (b"GET / HTTP/1.1\r\n\r\n", 400),
    "two hosts": (b"GET / HTTP/1.1\r\nHost: a\r\nHost: a\r\n\r\n", 400),
    "a list of hosts": (b"GET / HTTP/1.1\r\nHost: a, b\r\n\r\n", 400),
    "host with a path": (b"GET / HTTP/1.1\r\nHost: a/b\r\n\r\n", 400),
    "host with userinfo": (b"GET / HTTP/1.1\r\nHost: u@a\r\n\r\n", 400),
    "bad host beside an absolute target": (b"GET http://a/ HTTP/1.1\r\nHost: a b\r\n\r\n", 400),
    # Limits and expectations.
    "a large head": (b"GET / HTTP/1.1\r\nHost: a\r\nX: " + b"y" * LIMITS.header_bytes, 431),
    "a large target": (b"GET /" + b"y" * LIMITS.header_bytes, 431),
    "many fields": (b"GET / HTTP/1.1\r\nHost: a\r\n" + b"X: 1\r\n" * LIMITS.header_count + b"\r\n", 431),
    "another expectation": (b"GET / HTTP/1.1\r\nHost: a\r\nExpect: a-miracle\r\n\r\n", 417),
    "websocket without a key": (
        b"GET / HTTP/1.1\r\nHost: a\r\nConnection: upgrade\r\nUpgrade: websocket\r\n\r\n",
        400,
    ),
    "not HTTP at all": (b"\x16\x03\x01\x02\x00", 400),
}

CHUNKED = b"POST / HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: chunked\r\n\r\n"

BAD_CHUNKS: dict[str, tuple[bytes, int]] = {
    "no number": (b"x\r\n", 400),
    "empty size": (b"\r\n", 400),
    "signed size": (b"+3\r\nabc\r\n", 400),
    "0x before the size": (b"0x3\r\nabc\r\n", 400),
    "underscore in the size": (b"1_0\r\n", 400),
    "space before the size": (b" 3\r\nabc\r\n", 400),
    "space after the size": (b"3 \r\nabc\r\n", 400),
    "size beyond 60 bits": (b"1000000000000000\r\n", 400),
    "size ends with a bare LF": (b"3\nabc\r\n", 400),
    "bare CR in an extension": (b"3;a\rb\r\nabc\r\n", 400),
    "chunk longer than its size": (b"3\r\nabcd\r\n", 400),
    "chunk ends with a bare LF": (b"3\r\nabc\n", 400),
    "chunk ends with a bare CR": (b"3\r\nabc\r0", 400),
    "endless extension": (b"3;" + b"a" * 2_000, 400),
    "trailer is no field": (b"0\r\nX\r\n\r\n", 400),
    "trailer with a space before the colon": (b"0\r\nX : 1\r\n\r\n", 400),
    "trailer line with a bare LF": (b"0\r\nX: 1\n\r\n", 400),
    "folded trailer": (b"0\r\nX: 1\r\n Y: 2\r\n\r\n", 400),
    "many trailers": (b"0\r\n" + b"X: 1\r\n" * (LIMITS.header_count + 1) + b"\r\n", 431),
    "large trailers": (b"0\r\nX: " + b"y" * LIMITS.header_bytes, 431),
}


def refusal(status: int) -> bytes:
    """The status line that a refused client reads."""
    return b"HTTP/1.1 %d " % status


@pytest.mark.parametrize("what", REFUSED)
@pytest.mark.parametrize("piece", [100_000, 7])
def test_a_request_is_refused(what: str, piece: int) -> None:
    """In one piece and in small ones: no event, the right status, `connection: close`, and nothing more is read."""
    data, status = REFUSED[what]
    server = Http1ServerCodec(scheme=b"http", limits=LIMITS)
    for start in range(0, len(data), piece):
        assert server.receive(data[start : start + piece]) == []
    assert server.failure is not None
    answer = server.data_to_send()
    assert answer.startswith(refusal(status))
    reason = server.failure.code.encode()
    assert answer.endswith(b"\r\nconnection: close\r\ncontent-length: 0\r\nisthmus-reason: %b\r\n\r\n" % reason)
    assert server.closing
    assert server.receive(b"GET / HTTP/1.1\r\nHost: a\r\n\r\n") == []
    assert server.data_to_send() == b""


@pytest.mark.parametrize("what", BAD_CHUNKS)
@pytest.mark.parametrize("piece", [100_000, 1])
def test_a_broken_body_resets_its_request(what: str, piece: int) -> None:
    """The request has begun, so its exchange is told, once; the client reads why; nothing looks like an end."""
    data, status = BAD_CHUNKS[what]
    server = Http1ServerCodec(scheme=b"http", limits=LIMITS)
    (begun,) = server.receive(CHUNKED)
    assert isinstance(begun, Request)
    events = []
    for start in range(0, len(data), piece):
        events += server.receive(data[start : start + piece])
    assert len(only(events, Reset)) == 1
    assert not any(event.end_stream for event in only(events, Data))
    assert server.data_to_send().startswith(refusal(status))
    assert server.closing


def test_what_comes_after_a_refused_request_is_not_read() -> None:
    """The classic attack: the rest would be taken for the next request."""
    server = Http1ServerCodec(scheme=b"http", limits=LIMITS)
    data, _ = REFUSED["length and coding"]
    assert server.receive(data + b"0\r\n\r\nGET /admin HTTP/1.1\r\nHost: a\r\n\r\n") == []
    assert server.resume() == []


def test_a_request_after_a_broken_one_waits_for_the_first_answer() -> None:
    """Pipelined: the good first request is answered before the broken second one ends the connection."""
    server = Http1ServerCodec(scheme=b"http", limits=LIMITS)
    events = server.receive(b"GET / HTTP/1.1\r\nHost: a\r\n\r\nGET / HTTP/1.1\r\nHost : a\r\n\r\n")
    assert len(events) == 1
    assert server.failure is None
    server.send_response(1, response(204), True)
    assert server.resume() == []
    out = server.data_to_send()
    assert out.startswith(b"HTTP/1.1 204 No Content\r\n\r\nHTTP/1.1 400 Bad Request\r\n")
    assert server.closing


BAD_RESPONSES: dict[str, bytes] = {
    "length and coding": b"HTTP/1.1 200 OK\r\nContent-Length: 3\r\nTransfer-Encoding: chunked\r\n\r\n",
    "two lengths": b"HTTP/1.1 200 OK\r\nContent-Length: 3\r\nContent-Length: 4\r\n\r\n",
    "another coding": b"HTTP/1.1 200 OK\r\nTransfer-Encoding: gzip\r\n\r\n",
    "coding in HTTP/1.0": b"HTTP/1.0 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n",
    "bare LF": b"HTTP/1.1 200 OK\nContent-Length: 3\n\nabc",
    "folded line": b"HTTP/1.1 200 OK\r\nX: 1\r\n 2\r\n\r\n",
    "no status": b"HTTP/1.1 OK\r\n\r\n",
    "two digits": b"HTTP/1.1 20 OK\r\n\r\n",
    "another version": b"HTTP/2.0 200 OK\r\n\r\n",
    "not HTTP at all": b"SSH-2.0-OpenSSH_9.0\r\n\r\n",
    "an upgrade that nobody asked for": b"HTTP/1.1 101 Switching\r\nConnection: upgrade\r\nUpgrade: x\r\n\r\n",
    "a large head": b"HTTP/1.1 200 OK\r\nX: " + b"y" * LIMITS.header_bytes,
    "many fields": b"HTTP/1.1 200 OK\r\n" + b"X: 1\r\n" * (LIMITS.header_count + 1) + b"\r\n",
}


@pytest.mark.parametrize("what", BAD_RESPONSES)
def test_a_response_is_refused(what: str) -> None:
    """The request is told by a reset, the connection is not used again."""
    client = Http1ClientCodec(limits=LIMITS, rng=random.Random(1))
    client.send_request(request(), True)
    client.data_to_send()
    events = client.receive(BAD_RESPONSES[what])
    assert [type(event) for event in events] == [Reset]
    assert client.failure is not None
    assert client.closing
    assert not client.can_open


@pytest.mark.parametrize(
    "extra", [b"HTTP/1.1 200 OK\r\nContent-Length: 0\r\n\r\n", b"x", b"HTTP/1.1 408 Request Timeout\r\n\r\n"]
)
def test_bytes_that_answer_nothing_end_the_connection(extra: bytes) -> None:
    """A second answer would be taken for that of the next request: response queue poisoning."""
    client = Http1ClientCodec(limits=LIMITS, rng=random.Random(1))
    client.send_request(request(), True)
    client.data_to_send()
    events = client.receive(b"HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nok" + extra)
    assert events[0] == Response(1, response(200, [(b"content-length", b"2")]), False)
    assert body_of(events) == b"ok"
    assert only(events, Reset) == []
    assert client.failure is not None
    assert client.failure.code == "unasked-response"
    assert not client.can_open


@pytest.mark.parametrize("said", [b"HTTP/1.1 408 Request Timeout\r\nContent-Length: 0\r\n\r\n", b"x", b""])
def test_what_came_before_the_request_left_is_no_answer_to_it(said: bytes) -> None:
    """A server may end a connection that nobody uses with a 408, just when a request is given to it: that request was
    not seen by anybody, and may be sent elsewhere."""
    client = Http1ClientCodec(limits=LIMITS, rng=random.Random(1))
    client.send_request(request(b"POST"), True)
    events = client.receive(said) if said else client.receive_eof()
    (reset,) = events
    assert isinstance(reset, Reset)
    assert reset.unprocessed
    assert (client.failure.code if client.failure else "") == ("unasked-response" if said else "")
    assert client.closing
    assert not client.can_open


def test_a_head_response_with_a_body_ends_the_connection() -> None:
    """Bytes after the head of an answer to HEAD belong to nobody."""
    client = Http1ClientCodec(limits=LIMITS, rng=random.Random(1))
    client.send_request(request(b"HEAD"), True)
    client.data_to_send()
    events = client.receive(b"HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nok")
    assert [type(event) for event in events] == [Response]
    assert client.failure is not None


def test_fields_that_would_split_a_message_are_left_out() -> None:
    """No codec lets CR or LF in; were it so, they still do not get out."""
    client = Http1ClientCodec(limits=LIMITS, rng=random.Random(1))
    client.send_request(request(headers=[(b"x", b"1\r\nHost: b"), (b"y", b"2"), (b"z\r\n", b"3")]), True)
    assert client.data_to_send() == b"GET / HTTP/1.1\r\nhost: payments.shop:80\r\ny: 2\r\n\r\n"


def test_bodies_are_cut_to_their_announced_length() -> None:
    """More than `content-length` would be read as the next message."""
    client = Http1ClientCodec(limits=LIMITS, rng=random.Random(1))
    client.send_request(request(b"POST", headers=[(b"content-length", b"3")]), False)
    client.send_data(1, b"abcGET /admin", True)
    assert client.data_to_send().endswith(b"\r\n\r\nabc")
    server = Http1ServerCodec(scheme=b"http", limits=LIMITS)
    server.receive(b"GET / HTTP/1.1\r\nHost: a\r\n\r\n")
    server.send_response(1, response(200, [(b"content-length", b"3")]), False)
    server.send_data(1, b"abcHTTP/1.1 200", True)
    assert server.data_to_send().endswith(b"\r\n\r\nabc")


def test_a_body_that_ends_early_ends_the_connection() -> None:
    """Less than `content-length`: only the end of the connection can tell the other side."""
    client = Http1ClientCodec(limits=LIMITS, rng=random.Random(1))
    client.send_request(request(b"POST", headers=[(b"content-length", b"3")]), False)
    client.send_data(1, b"ab", True)
    assert client.closing
    server = Http1ServerCodec(scheme=b"http", limits=LIMITS)
    server.receive(b"GET / HTTP/1.1\r\nHost: a\r\n\r\n")
    server.send_response(1, response(200, [(b"content-length", b"3")]), False)
    server.send_data(1, b"ab", True)
    assert server.closing
