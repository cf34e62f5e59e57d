"""Floods: cheap frames that would cost us much. Both engines must end the connection, say ENHANCE_YOUR_CALM or another
error, and give the same reason; neither may grow with what is sent."""

from __future__ import annotations

from collections.abc import Callable

import pytest
from hyperframe.frame import RstStreamFrame

from gateway.codec.events import ErrorCode, Refused, Request
from gateway.codec.http2.engine import available_engines
from gateway.codec.http2.floods import EMPTY_FRAMES, RESETS, UNSENT_ACKS
from gateway.codec.limits import FLOOD, STREAM_LIMIT, CodecLimits
from tests.codec_pair import make_server, only, response
from tests.http2_wire import GET, POST, Wire


def pings(wire: Wire) -> list[bytes]:
    return [wire.ping() * (UNSENT_ACKS + 10)]


def settings(wire: Wire) -> list[bytes]:
    return [wire.settings({}) * (UNSENT_ACKS + 10)]


def rapid_resets(wire: Wire) -> list[bytes]:
    return [wire.headers(2 * i + 1, GET) + wire.rst(2 * i + 1, 8) for i in range(RESETS + 600)]


def continuations(wire: Wire) -> list[bytes]:
    return [wire.headers(1, [*GET, (b"x", b"y" * 1000)], pieces=40)]


FLOODS: dict[str, Callable[[Wire], list[bytes]]] = {
    "PING that nobody reads the answers of": pings,
    "SETTINGS that nobody reads the answers of": settings,
    "streams that are opened and reset (CVE-2023-44487)": rapid_resets,
    "CONTINUATION without end (CVE-2024-27316)": continuations,
}


@pytest.mark.parametrize("kind", available_engines())
@pytest.mark.parametrize("what", FLOODS)
def test_a_flood_ends_the_connection(kind: str, what: str) -> None:
    wire = Wire()
    server = make_server(kind)
    server.receive(wire.hello(client=True))
    server.data_to_send()
    for data in FLOODS[what](wire):
        server.receive(data)
    assert server.failure is not None
    assert server.failure.code == FLOOD
    assert server.closing
    assert server.open_streams == 0
    assert wire.read(server.data_to_send())[-1].type == 0x7


@pytest.mark.parametrize("kind", available_engines())
def test_streams_above_the_limit_end_the_connection(kind: str) -> None:
    """Of a client that knows how many we take (RFC 9113 section 5.1.2). It is no flood: an operator looks elsewhere."""
    wire = Wire()
    server = make_server(kind, CodecLimits(concurrent_streams=2))
    server.receive(wire.hello(client=True))
    server.data_to_send()
    server.receive(wire.settings_ack() + b"".join(wire.headers(stream_id, POST) for stream_id in (1, 3)))
    assert server.open_streams == 2
    server.receive(wire.headers(5, POST))
    assert server.failure is not None
    assert server.failure.code == STREAM_LIMIT


@pytest.mark.parametrize("kind", available_engines())
def test_streams_above_a_limit_that_the_client_does_not_know_are_refused_and_counted(kind: str) -> None:
    """It sent them before it heard of the limit: they may come again (RFC 9113 section 8.7), and the others go on. What
    the gateway refuses shows in its metrics, whichever engine refuses it."""
    wire = Wire()
    server = make_server(kind, CodecLimits(concurrent_streams=2))
    events = server.receive(wire.hello(client=True) + b"".join(wire.headers(i, POST) for i in (1, 3, 5, 7)))
    assert [event.stream_id for event in only(events, Request)] == [1, 3]
    assert [(event.stream_id, event.code) for event in only(events, Refused)] == [(5, STREAM_LIMIT), (7, STREAM_LIMIT)]
    resets = [frame for frame in wire.read(server.data_to_send()) if isinstance(frame, RstStreamFrame)]
    assert [(frame.stream_id, frame.error_code) for frame in resets] == [(5, 7), (7, 7)]
    server.reset(1, ErrorCode.REFUSED_STREAM)
    assert [frame.stream_id for frame in wire.read(server.data_to_send()) if isinstance(frame, RstStreamFrame)] == [1]
    events = server.receive(wire.headers(9, POST) + wire.settings_ack())
    assert [type(event) for event in events] == [Request]
    assert server.open_streams == 2
    server.receive(wire.headers(11, POST))
    assert server.failure is not None
    assert server.failure.code == STREAM_LIMIT


def test_empty_data_frames_end_the_connection_on_h2() -> None:
    """CVE-2019-9518. libnghttp2 counts these as glitches, by time; the h2 codec counts them itself."""
    wire = Wire()
    server = make_server("h2")
    server.receive(wire.hello(client=True) + wire.headers(1, POST))
    server.receive(wire.data(1, b"") * (EMPTY_FRAMES + 1))
    assert server.failure is not None
    assert server.failure.code == FLOOD


@pytest.mark.parametrize("kind", available_engines())
def test_busy_connections_are_no_flood(kind: str) -> None:
    """Pings whose answers are read, and many cancelled streams among many good ones, are everyday traffic."""
    wire = Wire()
    server = make_server(kind)
    server.receive(wire.hello(client=True))
    for i in range(1_500):
        stream_id = 4 * i + 1
        server.receive(wire.headers(stream_id, GET, end_stream=True))
        server.send_response(stream_id, response(204), True)
        server.receive(wire.headers(stream_id + 2, POST) + wire.rst(stream_id + 2, 8) + wire.ping())
        server.data_to_send()
    assert server.failure is None
    assert server.open_streams == 0
