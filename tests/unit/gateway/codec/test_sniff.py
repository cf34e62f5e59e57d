"""Telling HTTP/2 from HTTP/1.1 by the first bytes, however they are cut."""

from __future__ import annotations

import pytest

from gateway.codec.events import Event, Request
from gateway.codec.http2.frames import PREFACE
from gateway.codec.sniff import SniffingServerCodec
from tests.codec_pair import make_client, make_server, only, request, response


def sniffing() -> SniffingServerCodec:
    return SniffingServerCodec(http1=make_server("http1"), http2=lambda: make_server("h2"))


@pytest.mark.parametrize("kind", ["http1", "h2"])
@pytest.mark.parametrize("piece", [1, 5, 24, 100_000])
def test_both_are_understood(kind: str, piece: int) -> None:
    server, client = sniffing(), make_client(kind)
    client.send_request(request(), True)
    data = client.data_to_send()
    events: list[Event] = []
    for start in range(0, len(data), piece):
        events += server.receive(data[start : start + piece])
    assert only(events, Request) == [Request(1, request(), True)]
    server.send_response(1, response(204), True)
    assert client.receive(server.data_to_send()) != []
    assert server.failure is None


def test_a_preface_that_goes_wrong_is_http1s_to_refuse() -> None:
    server = sniffing()
    assert server.receive(PREFACE[:16]) == []
    assert server.receive(b"x" + b"\r\n\r\n") == []
    assert server.failure is not None
    assert server.data_to_send().startswith(b"HTTP/1.1 505 ")


def test_a_client_that_says_nothing() -> None:
    """It closes like any idle connection."""
    server = sniffing()
    assert server.data_to_send() == b""
    assert server.receive(b"PRI") == []
    assert server.receive_eof() == []
    assert server.closing


def test_a_server_may_send_before_it_has_read() -> None:
    """Draining an undecided connection closes it."""
    server = sniffing()
    server.drain()
    server.drained()
    assert server.closing
    assert not server.can_open
    assert server.resume() == []
    assert server.open_streams == 0
