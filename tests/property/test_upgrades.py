"""Whatever is offered, chosen or refused: two gateways between a client and a server of HTTP/1.1 change nothing."""

from __future__ import annotations

import random
import re

import pytest
from hypothesis import given
from hypothesis import strategies as st

from gateway.codec.events import Request, RequestHead, Response, ResponseHead
from gateway.codec.http1.client import Http1ClientCodec
from gateway.codec.http1.server import Http1ServerCodec
from gateway.codec.upgrade import parse_protocols
from tests.codec_pair import ENGINE_PAIRS, LIMITS, Pair, make_server, only

names = st.sampled_from([b"foo", b"Foo", b"bar", b"SPDY", b"tcp", b"h2c", b"TLS", b"HTTP", b"connect-udp", b"a b"])
protocols = st.builds(lambda name, version: name + version, names, st.sampled_from([b"", b"", b"/1.0", b"/3.1"]))
offers = st.lists(protocols, min_size=1, max_size=4).map(b", ".join)
methods = st.sampled_from([b"GET", b"POST", b"DELETE", b"OPTIONS", b"HEAD"])


class Way:
    """A request's way from a client's bytes to a server's, and the answer's way back."""

    def __init__(self, engines: str) -> None:
        self.near = make_server("http1")
        self.tunnel = Pair(engines)
        self.tunnel.pump()
        self.far = Http1ClientCodec(limits=LIMITS, rng=random.Random(1))

    def ask(self, data: bytes) -> bytes:
        (begun,) = only(self.near.receive(data), Request)
        self.tunnel.client.send_request(begun.head, begun.end_stream)
        (arrived,) = only(self.tunnel.take_server(), Request)
        assert arrived.head == begun.head
        self.far.send_request(arrived.head, arrived.end_stream)
        return self.far.data_to_send()

    def answer(self, data: bytes) -> bytes:
        (begun,) = only(self.far.receive(data), Response)
        self.tunnel.server.send_response(1, begun.head, begun.end_stream)
        (arrived,) = only(self.tunnel.take_client(), Response)
        self.near.send_response(1, arrived.head, arrived.end_stream)
        return self.near.data_to_send()


def offered_in(data: bytes) -> bytes:
    """What a server is offered, as it stands there."""
    found = re.search(rb"\r\nupgrade: ([^\r]*)\r\n", data)
    return found[1] if found else b""


@pytest.mark.parametrize("engines", ENGINE_PAIRS)
@given(offers, methods, st.integers(0, 9), st.sampled_from([200, 204, 206, 302, 404, 501]))
def test_an_upgrade_crosses(engines: str, offer: bytes, method: bytes, choice: int, status: int) -> None:
    way = Way(engines)
    line = b"%b /x HTTP/1.1\r\nhost: a\r\n" % method
    asked = way.ask(line + b"connection: upgrade\r\nupgrade: %b\r\n\r\n" % offer)
    assert asked.startswith(line)
    offered = b", ".join(parse_protocols(offer)) if method != b"HEAD" else b""
    assert offered_in(asked) == offered
    if offered and choice < 6:
        chosen = offered.split(b", ")[choice % len(offered.split(b", "))]
        told = way.answer(b"HTTP/1.1 101 X\r\nconnection: upgrade\r\nupgrade: %b\r\nx: 1\r\n\r\n" % chosen.upper())
        assert told.startswith(b"HTTP/1.1 101 ")
        assert offered_in(told).lower() == chosen.lower()
        assert b"\r\nx: 1\r\n" in told
    else:
        told = way.answer(b"HTTP/1.1 %d X\r\ncontent-length: 0\r\nx: 1\r\n\r\n" % status)
        assert told.startswith(b"HTTP/1.1 %d " % status)
        assert b"\r\nx: 1\r\n" in told
        assert offered_in(told) == b""


@given(st.binary(max_size=40), st.booleans())
def test_no_offer_is_written_that_could_not_be_read(offer: bytes, accepted: bool) -> None:
    """What is passed on of any field is a list that means to every reader what it means here."""
    server = Http1ServerCodec(scheme=b"http", limits=LIMITS)
    events = server.receive(b"GET / HTTP/1.1\r\nhost: a\r\nconnection: upgrade\r\nupgrade: %b\r\n\r\n" % offer)
    for begun in only(events, Request):
        assert parse_protocols(begun.head.protocol) == tuple(filter(None, begun.head.protocol.split(b", ")))
        assert isinstance(begun.head, RequestHead)
        server.send_response(1, ResponseHead(101 if accepted and begun.head.protocol else 404, []), False)
        assert server.data_to_send().startswith(b"HTTP/1.1 ")
