"""What is a message in HTTP/2, and what is none (RFC 9113 section 8.1), said by a hand-written peer to both engines."""

from __future__ import annotations

import pytest
from hpack import NeverIndexedHeaderTuple
from hyperframe.frame import GoAwayFrame, HeadersFrame, RstStreamFrame

from gateway.codec.events import (
    Data,
    ErrorCode,
    Header,
    Refused,
    Request,
    RequestHead,
    Reset,
    Trailers,
)
from gateway.codec.headers import HEADER_LIMIT
from gateway.codec.http2.engine import available_engines
from tests.codec_pair import LIMITS, only, request
from tests.http2_peer import Peer
from tests.http2_wire import GET, POST

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


@pytest.mark.parametrize("status", [b"204", b"304"])
def test_a_response_without_a_body_brings_none(client: Peer, status: bytes) -> None:
    """DATA of a response that can have no body is malformed (RFC 9113 section 8.1.1, RFC 9110 section 6.4.1)."""
    stream_id = client.codec.send_request(request(), True)
    client.said()
    assert len(client.tell(client.wire.headers(stream_id, [(b":status", status)]))) == 1
    (event,) = client.tell(client.wire.data(stream_id, b"x"))
    assert isinstance(event, Reset)
    assert not client.codec.closing


def test_trailers_end_a_request(server: Peer) -> None:
    events = server.tell(
        server.wire.headers(1, POST),
        server.wire.data(1, b"x"),
        server.wire.headers(1, [(b"x-sum", b"1")], end_stream=True),
    )
    assert events[1:] == [Data(1, b"x", False), Trailers(1, [(b"x-sum", b"1")])]


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
