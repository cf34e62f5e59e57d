"""Whose bytes go first on a tunnel, in both directions: small requests and answers before bulk, bulk in turns."""

from __future__ import annotations

from collections import Counter
from typing import cast

import pytest
from hyperframe.frame import DataFrame, HeadersFrame

from gateway.codec.events import Data, ErrorCode, Event, Trailers
from gateway.codec.http2.bodies import BULK_BYTES, TURN_BYTES, TURNS
from gateway.codec.http2.engine import available_engines
from gateway.codec.interface import Codec, TunnelCodec
from gateway.codec.limits import CodecLimits
from gateway.codec.output import OUTPUT_BYTES
from tests.codec_pair import ENGINE_PAIRS, Pair, connect, make_client, only, request, response
from tests.http2_wire import Wire

UPLOAD_BYTES = 200_000


class Way:
    """One direction of a tunnel: requests' bodies or answers' bodies. What was read is given back at once, as it is
    where the link is the bottleneck."""

    def __init__(self, kinds: str, direction: str) -> None:
        self.pair = Pair(kinds, CodecLimits())
        self.pair.pump()
        self._up = direction == "up"
        self.sender: Codec = self.pair.client if self._up else self.pair.server
        self.receiver: Codec = self.pair.server if self._up else self.pair.client
        self.codec = cast(TunnelCodec, self.sender)

    def open(self, count: int) -> list[int]:
        """Streams whose body goes this way."""
        client, server = self.pair.client, self.pair.server
        stream_ids = [client.send_request(request(b"POST"), not self._up) for _ in range(count)]
        self.pair.pump()
        if not self._up:
            for stream_id in stream_ids:
                server.send_response(stream_id, response(), False)
            self.pair.pump()
        return stream_ids

    def link_takes(self) -> list[Data]:
        """What one call of the driver's brings to the other side: the link takes so much and not more."""
        events: list[Event] = self.receiver.receive(self.sender.data_to_send())
        for event in only(events, Data):
            self.receiver.consumed(event.stream_id, len(event.data))
        while data := self.receiver.data_to_send():
            self.sender.receive(data)
        return only(events, Data)


@pytest.fixture(params=[(kinds, direction) for kinds in ENGINE_PAIRS for direction in ("up", "down")], ids="-".join)
def way(request: pytest.FixtureRequest) -> Way:
    return Way(*request.param)


def bytes_by_stream(events: list[Data]) -> Counter[int]:
    counter: Counter[int] = Counter()
    for event in events:
        counter[event.stream_id] += len(event.data)
    return counter


@pytest.mark.parametrize("piece_bytes", [4_000, UPLOAD_BYTES])
def test_what_is_small_goes_before_bulk(way: Way, piece_bytes: int) -> None:
    """A hundred streams have all that their windows take to send, and the link is full. What comes then for another
    stream goes with the next bytes: not behind a frame of each of them, and not behind all that they ever have."""
    *bulk, small = way.open(101)
    for stream_id in bulk:
        for _ in range(UPLOAD_BYTES // piece_bytes):
            way.sender.send_data(stream_id, bytes(piece_bytes), False)
    way.link_takes()
    way.sender.send_data(small, b"small", True)
    assert Data(small, b"small", True) in way.link_takes()


def test_a_small_body_waits_for_no_upload_that_goes_on(way: Way) -> None:
    """A few uploads have more to send each time: the first of them must not have the link for itself."""
    bulk = way.open(3)
    (small,) = way.open(1)
    for stream_id in bulk:
        way.sender.send_data(stream_id, bytes(UPLOAD_BYTES), False)
    for _ in range(5):
        way.sender.send_data(small, b"message", False)
        events = way.link_takes()
        assert Data(small, b"message", False) in events
        for stream_id, size in bytes_by_stream([event for event in events if event.stream_id != small]).items():
            way.sender.send_data(stream_id, bytes(size), False)


def test_bulk_takes_turns(way: Way) -> None:
    """None of many waits for the whole of another: each gets its first turn before one gets its third."""
    bulk = way.open(50)
    for stream_id in bulk:
        way.sender.send_data(stream_id, bytes(UPLOAD_BYTES), False)
    received: Counter[int] = Counter()
    while len(received) < len(bulk):
        received += bytes_by_stream(way.link_takes())
    assert max(received.values()) <= 2 * OUTPUT_BYTES // TURNS


def test_bulk_has_its_share(way: Way) -> None:
    """Small bodies without end, more than the link takes, and a download: it goes on, and they have most of the
    link."""
    bulk, *small_ones = way.open(801)
    way.sender.send_data(bulk, bytes(UPLOAD_BYTES), False)
    received: Counter[int] = Counter()
    for begin in range(0, 800, 100):
        for stream_id in small_ones[begin : begin + 100]:
            way.sender.send_data(stream_id, bytes(BULK_BYTES - 1), True)
        received += bytes_by_stream(way.link_takes())
    assert received[bulk] == UPLOAD_BYTES
    small = received.total() - received[bulk]
    assert small > 8 * OUTPUT_BYTES // 2


def test_small_bodies_that_wait_for_each_other_all_arrive(way: Way) -> None:
    """More of them than one call takes, of streams that go on: each stream's bytes stay in their order."""
    stream_ids = way.open(100)
    received: dict[int, bytes] = dict.fromkeys(stream_ids, b"")
    sent: dict[int, bytes] = dict.fromkeys(stream_ids, b"")
    for number in range(6):
        for stream_id in stream_ids:
            piece = bytes([number]) * 3_000
            sent[stream_id] += piece
            way.sender.send_data(stream_id, piece, number == 5)
        for event in way.link_takes():
            received[event.stream_id] += event.data
    while events := way.link_takes():
        for event in events:
            received[event.stream_id] += event.data
    assert received == sent
    assert way.pair.client.queued(stream_ids[0]) == way.pair.server.queued(stream_ids[0]) == 0


def test_what_had_bulk_to_send_may_be_quick_again(way: Way) -> None:
    """A TCP stream or a WebSocket that carried a file carries key strokes next. While it has nothing to send its turn
    comes and goes."""
    talker, *bulk = way.open(20)
    for stream_id in (talker, *bulk):
        way.sender.send_data(stream_id, bytes(BULK_BYTES), False)
    for _ in range(5):
        received = bytes_by_stream(way.link_takes())
        for stream_id in bulk:
            missing = 4 * TURN_BYTES - way.sender.queued(stream_id)
            if received[stream_id] or missing > 0:
                way.sender.send_data(stream_id, bytes(missing), False)
    way.sender.send_data(talker, b"key", False)
    assert Data(talker, b"key", False) in way.link_takes()


def test_who_had_its_bulk_sent_does_not_jump_the_queue(way: Way) -> None:
    """A download that comes in small pieces is bulk all the same: with each piece it waits for its turn."""
    bulk = way.open(40)
    for stream_id in bulk:
        way.sender.send_data(stream_id, bytes(TURN_BYTES), False)
    first = {event.stream_id for event in way.link_takes()}
    for stream_id in first:
        way.sender.send_data(stream_id, b"piece", False)
    assert not first & {event.stream_id for event in way.link_takes()}


def test_the_end_comes_behind_what_waits(way: Way) -> None:
    """An end and trailers that are said while bytes wait for their turn or their window come after them."""
    ended, with_trailers = way.open(2)
    for stream_id in (ended, with_trailers):
        way.sender.send_data(stream_id, bytes(2 * UPLOAD_BYTES), False)
    way.sender.send_data(ended, b"", True)
    way.sender.send_trailers(with_trailers, [(b"x-sum", b"1")])
    received: Counter[int] = Counter()
    events: list[Event] = []
    for _ in range(20):
        events += way.receiver.receive(way.sender.data_to_send())
        for event in only(events[-4:], Data):
            way.receiver.consumed(event.stream_id, len(event.data))
        way.sender.receive(way.receiver.data_to_send())
    received = bytes_by_stream(only(events, Data))
    assert received == {ended: 2 * UPLOAD_BYTES, with_trailers: 2 * UPLOAD_BYTES}
    assert [event.stream_id for event in only(events, Data) if event.end_stream] == [ended]
    assert only(events, Trailers) == [Trailers(with_trailers, [(b"x-sum", b"1")])]
    assert events.index(Trailers(with_trailers, [(b"x-sum", b"1")])) > max(
        at for at, event in enumerate(events) if isinstance(event, Data) and event.stream_id == with_trailers
    )


def test_what_waits_of_a_stream_that_is_reset_is_dropped(way: Way) -> None:
    """By either side: nothing of it is sent later, and nothing is counted as waiting."""
    first, second, other = way.open(3)
    for stream_id in (first, second, other):
        way.sender.send_data(stream_id, bytes(UPLOAD_BYTES), False)
    way.sender.reset(first, ErrorCode.CANCEL)
    way.receiver.reset(second, ErrorCode.CANCEL)
    way.sender.receive(way.receiver.data_to_send())
    assert way.sender.queued(first) == way.sender.queued(second) == 0
    received: Counter[int] = Counter()
    while events := way.link_takes():
        received += bytes_by_stream(events)
    assert received == {other: UPLOAD_BYTES}


@pytest.mark.parametrize("kinds", ENGINE_PAIRS)
def test_a_tunnelled_connection_goes_before_uploads(kinds: str) -> None:
    """A TCP stream's bytes towards the peer, a WebSocket's messages: DATA like a body's, and in a hurry."""
    way = Way(kinds, "up")
    bulk = way.open(10)
    for stream_id in bulk:
        way.sender.send_data(stream_id, bytes(UPLOAD_BYTES), False)
    for head in (connect(), connect(b"websocket")):
        stream_id = way.pair.client.send_request(head, False)
        way.pair.client.send_data(stream_id, b"hello", False)
        assert Data(stream_id, b"hello", False) in way.link_takes()


@pytest.mark.parametrize("kind", available_engines())
def test_bulk_whose_head_has_to_wait(kind: str) -> None:
    """The server lowered how many streams it takes before a request went out. Its body follows its head, whenever that
    is; others go on meanwhile."""
    wire = Wire()
    client = make_client(kind)
    client.receive(wire.hello(client=False) + wire.settings_ack())
    first = client.send_request(request(b"POST"), False)
    wire.read(client.data_to_send())
    late = client.send_request(request(b"POST"), False)
    client.send_data(late, bytes(20_000), True)
    client.receive(wire.settings({0x3: 1}))
    client.send_data(first, bytes(20_000), True)
    seen = data_frames(wire, client)
    assert seen[first] == 20_000
    client.receive(wire.headers(first, [(b":status", b"200")], end_stream=True))
    seen += data_frames(wire, client)
    assert seen == {first: 20_000, late: 20_000}


def data_frames(wire: Wire, codec: Codec) -> Counter[int]:
    """All that it has to say: bytes of DATA by stream, each behind its head."""
    sizes: Counter[int] = Counter()
    while data := codec.data_to_send():
        for frame in wire.read(data):
            if isinstance(frame, DataFrame):
                sizes[frame.stream_id] += len(frame.data)
            elif isinstance(frame, HeadersFrame):
                assert not sizes[frame.stream_id]
    return sizes


@pytest.mark.parametrize("piece_bytes", [16_384, 65_536])
def test_a_thin_link_is_given_little(way: Way, piece_bytes: int) -> None:
    """What the codec gave can't be overtaken. Small bodies and bulk share what little it gives at a time, and a piece
    below a quarter of that is the last."""
    way.codec.output_bytes = piece_bytes
    *bulk, small = way.open(10)
    for stream_id in bulk:
        way.sender.send_data(stream_id, bytes(UPLOAD_BYTES), False)
    sent = [way.sender.data_to_send()]
    way.sender.send_data(small, b"small", True)
    while sent[-1]:
        sent.append(way.sender.data_to_send())
    assert max(map(len, sent)) <= piece_bytes + 8_192 + 9
    assert all(len(data) >= piece_bytes // 4 for data in sent[:-2])
    way.receiver.receive(sent[0])
    assert Data(small, b"small", True) in way.receiver.receive(sent[1])


def test_bulk_has_its_share_of_a_thin_link(way: Way) -> None:
    """Also where small bodies that came before fill many pieces."""
    way.codec.output_bytes = 16_384
    bulk, *small_ones = way.open(801)
    way.sender.send_data(bulk, bytes(UPLOAD_BYTES), False)
    received: Counter[int] = Counter()
    for stream_id in small_ones[:100]:
        way.sender.send_data(stream_id, bytes(BULK_BYTES - 1), True)
    for stream_id in small_ones[100:]:
        way.sender.send_data(stream_id, bytes(1_000), True)
        received += bytes_by_stream(way.link_takes())
        if received[bulk] == UPLOAD_BYTES:
            break
    assert received[bulk] == UPLOAD_BYTES
    assert received.total() < 6 * UPLOAD_BYTES
