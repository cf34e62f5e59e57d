"""Flow control over HTTP/2: a slow stream stops its own sender, and nobody else on the connection."""

from __future__ import annotations

import msgspec
import pytest
from hyperframe.frame import GoAwayFrame, WindowUpdateFrame

from gateway.codec.events import Data, ErrorCode, Request
from gateway.codec.http2.engine import available_engines
from gateway.codec.limits import CodecLimits
from tests.codec_pair import ENGINE_PAIRS, Pair, body_of, make_server, only, request, response
from tests.http2_wire import POST, Wire

# The connection's window is the size of eight streams' windows, so that a few slow streams would fill it.
LIMITS = CodecLimits(stream_window=65_536, connection_window=524_288)


@pytest.fixture(params=ENGINE_PAIRS)
def pair(request: pytest.FixtureRequest) -> Pair:
    pair = Pair(request.param, LIMITS)
    pair.pump()
    return pair


def open_streams(pair: Pair, count: int) -> list[int]:
    stream_ids = [pair.client.send_request(request(), True) for _ in range(count)]
    pair.take_server()
    for stream_id in stream_ids:
        pair.server.send_response(stream_id, response(), False)
    return stream_ids


def test_slow_streams_never_hold_the_connection(pair: Pair) -> None:
    """Forty streams hold five connection windows' worth of bytes, and one more still gets its megabyte."""
    slow = open_streams(pair, 40)
    for stream_id in slow:
        pair.server.send_data(stream_id, bytes(100_000), False)
    held = body_of(pair.take_client())
    assert len(held) == 40 * LIMITS.stream_window
    (quick,) = open_streams(pair, 1)
    pair.server.send_data(quick, bytes(1_000_000), True)
    received = 0
    while received < 1_000_000:
        size = len(body_of(pair.take_client(), quick))
        assert size > 0
        received += size
        pair.client.consumed(quick, size)
    assert all(pair.server.queued(stream_id) == 100_000 - LIMITS.stream_window for stream_id in slow)


@pytest.mark.parametrize("kinds", ENGINE_PAIRS)
def test_what_a_connection_may_make_us_hold_ends(kinds: str) -> None:
    """A thousand streams times their windows would be 256 MiB for one client. Past the widest window the connection
    waits, and goes on when what is held is read."""
    limits = msgspec.structs.replace(LIMITS, widest_window=1_048_576)
    pair = Pair(kinds, limits)
    pair.pump()
    slow = open_streams(pair, 40)
    for stream_id in slow:
        pair.server.send_data(stream_id, bytes(60_000), True)
    held = sum(len(event.data) for event in only(pair.take_client(), Data))
    assert LIMITS.connection_window <= held <= limits.widest_window
    received = 0
    while received < 40 * 60_000:
        events = only(pair.take_client(), Data) if received else []
        size = sum(len(event.data) for event in events) if received else held
        assert size > 0
        received += size
        for stream_id in slow:
            pair.client.consumed(stream_id, 60_000)
    assert pair.client.failure is None


def test_slow_streams_go_on_when_they_are_read(pair: Pair) -> None:
    """What was held is given back in full: every byte arrives at last, and the connection is as good as new."""
    slow = open_streams(pair, 20)
    for stream_id in slow:
        pair.server.send_data(stream_id, bytes(200_000), True)
    received = dict.fromkeys(slow, 0)
    while any(size < 200_000 for size in received.values()):
        events = only(pair.take_client(), Data)
        assert events
        for event in events:
            received[event.stream_id] += len(event.data)
            pair.client.consumed(event.stream_id, len(event.data))
    assert set(received.values()) == {200_000}
    assert pair.client.open_streams == pair.server.open_streams == 0


def test_many_bodies_one_after_the_other(pair: Pair) -> None:
    """The connection's window is given back for ever, not for the first few windows' worth."""
    for _ in range(40):
        (stream_id,) = open_streams(pair, 1)
        pair.server.send_data(stream_id, bytes(60_000), True)
        size = len(body_of(pair.take_client()))
        assert size == 60_000
        pair.client.consumed(stream_id, size)


def test_bodies_that_are_never_consumed_and_reset(pair: Pair) -> None:
    """Whoever gives a stream up gives its bytes back: 100 cancelled downloads must not shut the connection."""
    for _ in range(100):
        (stream_id,) = open_streams(pair, 1)
        pair.server.send_data(stream_id, bytes(100_000), False)
        assert len(body_of(pair.take_client())) == LIMITS.stream_window
        pair.client.reset(stream_id, ErrorCode.CANCEL)
        pair.pump()
    (stream_id,) = open_streams(pair, 1)
    pair.server.send_data(stream_id, bytes(1_000), True)
    assert len(body_of(pair.take_client())) == 1_000


def test_streams_that_end_while_their_bytes_are_held(pair: Pair) -> None:
    """A stream's end is not the end of its bytes: they may be consumed later, and count until then."""
    stream_ids = open_streams(pair, 30)
    for stream_id in stream_ids:
        pair.server.send_data(stream_id, bytes(60_000), True)
    assert len(body_of(pair.take_client())) == 30 * 60_000
    assert pair.client.open_streams == 0
    for stream_id in stream_ids:
        pair.client.consumed(stream_id, 60_000)
        pair.client.consumed(stream_id, 60_000)
    (last,) = open_streams(pair, 1)
    pair.server.send_data(last, bytes(60_000), True)
    assert len(body_of(pair.take_client())) == 60_000


def test_what_came_of_a_body_together_is_one_event(pair: Pair) -> None:
    """What a gateway does for an event is paid by its bytes: a window in four DATA frames, between those of another
    stream, is one chunk of the body, and its end comes with it."""
    first, second = open_streams(pair, 2)
    body = bytes(range(256)) * 192
    for stream_id in (first, second):
        pair.server.send_data(stream_id, body, True)
    sent = b""
    while data := pair.server.data_to_send():
        sent += data
    # As it comes from TLS: a part of a buffer that is written over by what comes next.
    lent = bytearray(sent)
    events = only(pair.client.receive(memoryview(lent)), Data)
    lent[:] = bytes(len(lent))
    assert sorted(events, key=lambda event: event.stream_id) == [Data(first, body, True), Data(second, body, True)]


@pytest.mark.parametrize("kind", available_engines())
def test_frames_that_are_cut_by_a_reset_are_not_lost_to_the_window(kind: str) -> None:
    """A stream is often given up in the middle of a DATA frame. The engine forgets that half frame; the connection's
    window must not."""
    wire = Wire()
    server = make_server(kind, LIMITS)
    server.receive(wire.hello(client=True))
    server.data_to_send()
    server.receive(wire.settings_ack() + wire.headers(1, POST))
    window = LIMITS.connection_window
    for stream_id in range(3, 123, 2):
        server.receive(wire.headers(stream_id, POST))
        frame = wire.data(stream_id, bytes(40_000))
        assert only(server.receive(frame[:30_000]), Data) == []
        server.reset(stream_id, ErrorCode.CANCEL)
        window += _increments(wire, server.data_to_send())
        assert server.receive(frame[30_000:]) == []
        window += _increments(wire, server.data_to_send()) - 40_000
        assert window >= 40_000, f"the client's view of the window is shut at stream {stream_id}"
        # A little traffic on another stream is what lets the codec notice.
        server.receive(wire.data(1, b"x"))
        server.consumed(1, 1)
        window += _increments(wire, server.data_to_send()) - 1
    assert server.failure is None


def test_a_connection_whose_window_is_worn_out_retires() -> None:
    """Half frames lost to resets add up on a tunnel that lives for months. Before they can shut the window the codec
    asks for a new connection, with a GOAWAY that lets the present streams end."""
    wire = Wire()
    server = make_server("ngh2", msgspec.structs.replace(LIMITS, widest_window=1 << 30))
    server.receive(wire.hello(client=True))
    server.data_to_send()
    server.receive(wire.settings_ack() + wire.headers(1, POST))
    stream_id = 3
    while not server.closing and stream_id < 40_000:
        server.receive(wire.headers(stream_id, POST) + wire.data(stream_id, bytes(65_000))[:64_000])
        server.reset(stream_id, ErrorCode.CANCEL)
        server.data_to_send()
        server.receive(bytes(1_009) + wire.data(1, b"x"))
        server.consumed(1, 1)
        frames = wire.read(server.data_to_send())
        if any(isinstance(frame, GoAwayFrame) for frame in frames):
            break
        stream_id += 2
    assert server.failure is None
    assert 10_000 < stream_id < 40_000
    assert body_of(server.receive(wire.data(1, b"the rest", end_stream=True))) == b"the rest"
    server.send_response(1, response(), True)
    server.data_to_send()
    assert server.closing
    assert server.failure is None


def _increments(wire: Wire, data: bytes) -> int:
    """What WINDOW_UPDATE frames in `data` give the connection."""
    return sum(
        frame.window_increment
        for frame in wire.read(data)
        if isinstance(frame, WindowUpdateFrame) and frame.stream_id == 0
    )


@pytest.mark.parametrize("kind", available_engines())
def test_a_sender_that_ignores_the_window_is_stopped(kind: str) -> None:
    """Memory is bounded by force: more than the stream's window is an error, of the stream or the connection."""
    wire = Wire()
    server = make_server(kind, LIMITS)
    server.receive(wire.hello(client=True) + wire.settings_ack())
    events = server.receive(wire.headers(1, POST))
    server.data_to_send()
    assert only(events, Request)
    received = 0
    for _ in range(6):
        events = server.receive(wire.data(1, bytes(16_384)))
        server.data_to_send()
        received += len(body_of(events))
    assert received <= LIMITS.stream_window
    assert server.open_streams == 0
