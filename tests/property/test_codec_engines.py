"""ngh2 and h2 say the same of the same traffic. What they may differ in is listed in `gateway.codec.http2.engine`.

Random frames, right and wrong, go to both engines, one at a time, with the same commands in between. Each step's events
must be equal, until one of the engines ends the connection.
"""

from __future__ import annotations

from collections.abc import Callable

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from gateway.codec.events import Data, ErrorCode, Event, Header, Refused, Request, Reset, Writable
from gateway.codec.http2.engine import available_engines
from gateway.codec.http2.extended_connect import TAKES_UPGRADES
from gateway.codec.http2.frames import END_HEADERS, HEADERS
from gateway.codec.interface import Codec
from gateway.codec.limits import CodecLimits
from tests.codec_pair import connect, make_client, make_server, request, response
from tests.http2_wire import GET, POST, Wire

pytestmark = pytest.mark.skipif(len(available_engines()) < 2, reason="ngh2 has no wheel here")

LIMITS = CodecLimits(stream_window=65_536, connection_window=262_144)

Frame = Callable[[Wire], bytes]
Command = Callable[["Twins"], None]

stream_ids = st.sampled_from([1, 3, 5])
OK: list[Header] = [(b":status", b"200")]

request_blocks = st.sampled_from(
    [
        GET,
        POST,
        [*GET, (b"cookie", b"a=1"), (b"cookie", b"b=2")],
        [*POST, (b"content-length", b"3")],
        [*GET, (b"connection", b"close")],
        [*GET, (b"X", b"1")],
        [*GET, (b"host", b"b")],
        [(b":method", b"CONNECT"), (b":authority", b"a:1")],
        [(b":method", b"CONNECT"), (b":protocol", b"websocket"), *GET[1:]],
        [(b":method", b"CONNECT"), (b":protocol", b"foo"), *GET[1:], (b"isthmus-upgrade", b"foo, bar")],
        [(b":method", b"CONNECT"), (b":protocol", b"h2c"), *GET[1:]],
        [(b":method", b"HEAD"), *GET[1:]],
        [(b"x", b"1"), *GET],
        GET[1:],
    ]
)
response_blocks = st.sampled_from(
    [
        OK,
        [*OK, (b"content-length", b"3")],
        [(b":status", b"501"), (b"isthmus-status", b"200")],
        [(b":status", b"101")],
        [(b":status", b"103"), (b"link", b"x")],
        [(b":status", b"204")],
        [*OK, (b"connection", b"close")],
        [(b"x", b"1")],
    ]
)


def headers(blocks: st.SearchStrategy[list[Header]]) -> st.SearchStrategy[Frame]:
    return st.builds(
        lambda sid, block, end, pieces: lambda wire: wire.headers(sid, block, end_stream=end, pieces=pieces),
        stream_ids,
        blocks,
        st.booleans(),
        st.integers(1, 3),
    )


data: st.SearchStrategy[Frame] = st.builds(
    lambda sid, size, end, pad: lambda wire: wire.data(sid, b"x" * size, end_stream=end, padding=pad),
    stream_ids,
    st.sampled_from([0, 1, 3, 1_000, 16_384]),
    st.booleans(),
    st.sampled_from([0, 0, 9]),
)
trailers: st.SearchStrategy[Frame] = st.builds(
    lambda sid: lambda wire: wire.headers(sid, [(b"x-sum", b"1")], end_stream=True), stream_ids
)
resets: st.SearchStrategy[Frame] = st.builds(
    lambda sid, code: lambda wire: wire.rst(sid, code), stream_ids, st.sampled_from([0, 2, 7, 8])
)
control: st.SearchStrategy[Frame] = st.one_of(
    st.builds(
        lambda sid, size: lambda wire: wire.window(sid, size),
        st.sampled_from([0, 1, 3]),
        st.sampled_from([1, 70_000]),
    ),
    st.just(lambda wire: wire.ping()),
    st.builds(lambda size: lambda wire: wire.settings({0x4: size}), st.sampled_from([0, 1_000, 100_000])),
    st.just(lambda wire: wire.settings({0x8: 1, TAKES_UPGRADES: 1})),
    st.builds(lambda last: lambda wire: wire.goaway(last), st.sampled_from([0, 1, 3, 0x7FFFFFFF])),
    st.just(lambda wire: b"\0\0\x05\x02\0\0\0\0\x01" + bytes([0, 0, 0, 0, 16])),
    st.just(lambda wire: b"\0\0\x03\xee\0\0\0\0\x01abc"),
)


def mutated(frames: st.SearchStrategy[Frame]) -> st.SearchStrategy[Frame]:
    """A frame with one byte changed. Its length is left alone: what follows would be read at the wrong place. So is
    the end of a header block: libnghttp2 refuses some blocks before that end comes, h2 when it has come."""

    def change(frame: Frame, at: int, value: int) -> Frame:
        def build(wire: Wire) -> bytes:
            out = bytearray(frame(wire))
            ends_block = out[4] & END_HEADERS if out[3] == HEADERS else END_HEADERS
            first = 9 + int.from_bytes(out[:3], "big")
            out[3 + at % (first - 3)] = value
            if out[3] == HEADERS:
                out[4] = out[4] & ~END_HEADERS | ends_block
            return bytes(out)

        return build

    return st.builds(change, frames, st.integers(0, 40), st.sampled_from([0, 1, 3, 4, 5, 8, 9, 0x20, 0x7F, 0x82, 0xFF]))


server_commands: st.SearchStrategy[Command] = st.one_of(
    st.builds(
        lambda sid, size, end: lambda twins: twins.answer(sid, size, end),
        stream_ids,
        st.sampled_from([None, 0, 5, 80_000]),
        st.booleans(),
    ),
    st.builds(
        lambda sid, end: lambda twins: twins.go_on(sid, end),
        stream_ids,
        st.booleans(),
    ),
    st.builds(lambda sid: lambda twins: twins.command(lambda codec: codec.reset(sid, ErrorCode.CANCEL)), stream_ids),
    st.builds(lambda sid: lambda twins: twins.command(lambda codec: codec.consumed(sid, 1_000)), stream_ids),
)
client_commands: st.SearchStrategy[Command] = st.one_of(
    st.builds(lambda end: lambda twins: twins.command(lambda codec: _ask(codec, end)), st.booleans()),
    st.builds(
        lambda method: lambda twins: twins.command(lambda codec: _ask_upgrade(codec, method)),
        st.sampled_from([b"", b"POST"]),
    ),
    st.builds(lambda sid: lambda twins: twins.command(lambda codec: codec.reset(sid, ErrorCode.CANCEL)), stream_ids),
    st.builds(
        lambda sid, size, end: lambda twins: twins.command(lambda codec: codec.send_data(sid, bytes(size), end)),
        stream_ids,
        st.sampled_from([0, 5, 80_000]),
        st.booleans(),
    ),
    st.builds(lambda sid: lambda twins: twins.command(lambda codec: codec.consumed(sid, 1_000)), stream_ids),
)


def _ask(codec: Codec, end: bool) -> None:
    if codec.can_open:
        codec.send_request(request(b"POST"), end)


def _ask_upgrade(codec: Codec, method: bytes) -> None:
    if codec.can_open:
        codec.send_request(connect(b"foo, bar", method), False)


def normal(events: list[Event]) -> list[Event]:
    """What is compared. The codes of resets for malformed messages, what a refusal says for people, and the number of
    `Writable` are free."""
    out: list[Event] = []
    for event in events:
        if isinstance(event, Writable):
            continue
        if isinstance(event, Refused):
            event = Refused(event.stream_id, event.code, "")
        if isinstance(event, Reset) and event.code in (ErrorCode.INTERNAL_ERROR, 5):
            event = Reset(event.stream_id, ErrorCode.PROTOCOL_ERROR)
        out.append(event)
    return out


class Twins:
    """Both engines, told the same."""

    def __init__(self, *, client: bool) -> None:
        make = make_client if client else make_server
        self.codecs = {kind: make(kind, LIMITS) for kind in ("ngh2", "h2")}
        self.wire = Wire()
        self.unanswered: set[int] = set()
        self.answered: set[int] = set()
        self.tell(self.wire.hello(client=not client) + self.wire.settings_ack())

    def tell(self, data: bytes) -> bool:
        """Whether both go on. Their events must have been the same, except when a connection ended."""
        events = {}
        for kind, codec in self.codecs.items():
            codec.data_to_send()
            events[kind] = codec.receive(data)
            codec.data_to_send()
        if any(codec.closing for codec in self.codecs.values()):
            self.check_end(events)
            return False
        assert normal(events["ngh2"]) == normal(events["h2"])
        self.unanswered.update(event.stream_id for event in events["h2"] if isinstance(event, Request))
        assert len({codec.open_streams for codec in self.codecs.values()}) == 1
        return True

    def check_end(self, events: dict[str, list[Event]]) -> None:
        """Where the one ends the connection the other may end the stream: nobody is told of more than that."""
        for kind, codec in self.codecs.items():
            if codec.closing:
                assert codec.open_streams == 0
                continue
            assert all(isinstance(event, Reset | Refused | Data) for event in events[kind]), (kind, events)

    def answer(self, stream_id: int, size: int | None, end: bool) -> None:
        """One response for each request: a second one would be the caller's mistake."""
        if stream_id in self.unanswered:
            self.unanswered.remove(stream_id)
            self.answered.add(stream_id)
            self.command(lambda codec: codec.send_response(stream_id, response(), end and size is None))
            if size is not None:
                self.command(lambda codec: codec.send_data(stream_id, bytes(size), end))

    def go_on(self, stream_id: int, end: bool) -> None:
        """More of a response that has begun."""
        if stream_id in self.answered:
            self.command(lambda codec: codec.send_data(stream_id, b"more", end))

    def command(self, command: Callable[[Codec], None]) -> None:
        for codec in self.codecs.values():
            command(codec)
            codec.data_to_send()


Steps = list[tuple[Frame, None] | tuple[None, Command]]


def drive(twins: Twins, steps: Steps) -> None:
    for frame, command in steps:
        if command is not None:
            command(twins)
        elif frame is not None and not twins.tell(frame(twins.wire)):
            return


def steps_of(frames: st.SearchStrategy[Frame], commands: st.SearchStrategy[Command]) -> st.SearchStrategy[Steps]:
    return st.lists(st.one_of(st.tuples(frames, st.none()), st.tuples(st.none(), commands)), max_size=20)


def traffic(blocks: st.SearchStrategy[list[Header]]) -> st.SearchStrategy[Frame]:
    right = st.one_of(headers(blocks), headers(blocks), data, trailers, resets, control)
    return st.one_of(right, right, right, mutated(right))


@settings(max_examples=150)
@given(steps_of(traffic(request_blocks), server_commands))
def test_servers_say_the_same(steps: Steps) -> None:
    """A server's events depend on the traffic, not on the engine."""
    drive(Twins(client=False), steps)


@settings(max_examples=150)
@given(steps_of(traffic(response_blocks), client_commands))
def test_clients_say_the_same(steps: Steps) -> None:
    """The same for a client, which has two requests under way at first."""
    twins = Twins(client=True)
    twins.command(lambda codec: _ask(codec, True))
    twins.command(lambda codec: _ask(codec, False))
    drive(twins, steps)


@pytest.mark.parametrize("kind", available_engines())
@settings(max_examples=60)
@given(bytes_in=st.binary(max_size=120), at=st.integers(0, 150), client=st.booleans())
def test_no_bytes_make_an_engine_raise(kind: str, bytes_in: bytes, at: int, client: bool) -> None:
    """Garbage in the middle of good traffic: every stream that was begun ends at most once, and nothing raises."""
    wire = Wire()
    codec = make_client(kind, LIMITS) if client else make_server(kind, LIMITS)
    good = wire.hello(client=not client) + wire.headers(1, OK if client else POST) + wire.data(1, b"x" * 40)
    if client:
        codec.send_request(request(), True)
        codec.data_to_send()
    events = codec.receive(good[:at] + bytes_in + good[at:])
    while codec.data_to_send():
        pass
    events += codec.resume() + codec.receive_eof()
    for stream_id in {event.stream_id for event in events if hasattr(event, "stream_id")}:
        own = [event for event in events if getattr(event, "stream_id", None) == stream_id]
        ends = [event for event in own if isinstance(event, Reset)]
        assert len(ends) <= 1
        assert not ends or own[-1] is ends[0]
    assert codec.closing
    assert codec.open_streams == 0
