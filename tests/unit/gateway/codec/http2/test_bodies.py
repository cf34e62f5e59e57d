"""Whose body is sent next on one HTTP/2 connection, whichever engine frames it."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence

from hypothesis import given
from hypothesis import strategies as st

from gateway.codec.events import Header
from gateway.codec.http2.bodies import BULK_BYTES, TURN_BYTES, TURNS, Bodies

ROOM = 10 * TURN_BYTES


class Engine:
    """Keeps what it is given, as far as each stream's window goes."""

    def __init__(self, window: int = 1 << 30) -> None:
        self.windows: dict[int, int] = {}
        self.sent: list[tuple[int, bytes]] = []
        self.ended: dict[int, Sequence[Header] | None] = {}
        self._window = window

    def body_window(self, stream_id: int) -> int:
        return self.windows.setdefault(stream_id, self._window)

    def send_body(self, stream_id: int, data: bytes, end_stream: bool) -> None:
        assert 0 < len(data) <= self.windows[stream_id]
        assert stream_id not in self.ended
        self.windows[stream_id] -= len(data)
        self.sent.append((stream_id, data))
        if end_stream:
            self.ended[stream_id] = None

    def send_last(self, stream_id: int, trailers: Sequence[Header]) -> None:
        assert stream_id not in self.ended
        self.ended[stream_id] = trailers

    def order(self) -> list[int]:
        return [stream_id for stream_id, _ in self.sent]

    def sizes(self) -> Counter[int]:
        sizes: Counter[int] = Counter()
        for stream_id, data in self.sent:
            sizes[stream_id] += len(data)
        return sizes


def test_prompt_goes_before_bulk() -> None:
    bodies, engine = Bodies(), Engine()
    bodies.put(1, bytes(BULK_BYTES))
    bodies.put(3, b"small")
    bodies.send(ROOM, ROOM, engine)
    assert engine.order() == [3, 1]
    assert not bodies.waiting


def test_a_stream_whose_small_pieces_add_up_is_bulk() -> None:
    bodies, engine = Bodies(), Engine()
    for _ in range(3):
        bodies.put(1, bytes(BULK_BYTES // 2))
    bodies.put(3, b"small")
    bodies.send(ROOM, ROOM, engine)
    assert engine.order()[0] == 3


def test_prompt_leaves_a_share_for_bulk_that_waits() -> None:
    """And takes what bulk has no use for."""
    bodies, engine = Bodies(), Engine()
    bodies.put(1, bytes(TURN_BYTES))
    for stream_id in range(3, 103, 2):
        bodies.put(stream_id, bytes(BULK_BYTES - 1))
    assert bodies.send(ROOM, ROOM - 4 * TURN_BYTES, engine) == ROOM
    assert engine.sizes()[1] == TURN_BYTES


def test_bulk_is_not_starved_where_prompt_had_all() -> None:
    """What prompt had before counts: nothing is left for it here."""
    bodies, engine = Bodies(), Engine()
    bodies.put(1, bytes(ROOM))
    bodies.put(3, b"small")
    bodies.send(ROOM, 0, engine)
    assert engine.order() == [1]


def test_bulk_takes_equal_turns_across_calls() -> None:
    bodies, engine = Bodies(), Engine()
    stream_ids = range(1, 61, 2)
    for stream_id in stream_ids:
        bodies.put(stream_id, bytes(10 * TURN_BYTES))
    for calls in range(1, 13):
        bodies.send(ROOM, ROOM, engine)
        sizes = engine.sizes()
        assert max(sizes.values()) - min(sizes.get(stream_id, 0) for stream_id in stream_ids) <= ROOM // TURNS
        assert sizes.total() == calls * ROOM


def test_one_alone_has_all_the_room_in_one_piece() -> None:
    """A piece for each frame would cost a transfer of gigabytes a call for each 16 KiB."""
    bodies, engine = Bodies(), Engine()
    bodies.put(1, bytes(ROOM))
    bodies.send(ROOM, ROOM, engine)
    assert engine.sent == [(1, bytes(ROOM))]


def test_a_shut_window_is_asked_once_until_it_opens() -> None:
    """A thousand slow readers must cost the others nothing at each call."""
    bodies, engine = Bodies(), Engine(window=100)
    asked: list[int] = []

    class Asked(Engine):
        def body_window(self, stream_id: int) -> int:
            asked.append(stream_id)
            return engine.body_window(stream_id)

        def send_body(self, stream_id: int, data: bytes, end_stream: bool) -> None:
            engine.send_body(stream_id, data, end_stream)

    sink = Asked()
    bodies.put(1, bytes(BULK_BYTES))
    bodies.put(3, bytes(200))
    bodies.send(ROOM, ROOM, sink)
    asked.clear()
    assert not bodies.waiting
    bodies.send(ROOM, ROOM, sink)
    assert asked == []
    assert (bodies.queued(1), bodies.queued(3)) == (BULK_BYTES - 100, 100)
    engine.windows[3] = 1_000
    bodies.opened(3)
    bodies.send(ROOM, ROOM, sink)
    assert bodies.queued(3) == 0
    engine.windows[1] = BULK_BYTES
    bodies.opened(0)
    bodies.send(ROOM, ROOM, sink)
    assert bodies.size == 0


def test_one_whose_window_is_unknown_keeps_its_turn() -> None:
    bodies, engine = Bodies(), Engine()
    engine.windows[1] = -1
    bodies.put(1, bytes(BULK_BYTES))
    bodies.put(3, bytes(BULK_BYTES))
    bodies.send(ROOM, ROOM, engine)
    assert engine.order() == [3]
    engine.windows[1] = BULK_BYTES
    bodies.send(ROOM, ROOM, engine)
    assert engine.order() == [3, 1]


def test_ends_come_with_the_last_bytes() -> None:
    bodies, engine = Bodies(), Engine()
    bodies.put(1, bytes(BULK_BYTES))
    bodies.put(3, b"small")
    assert bodies.end(1, None)
    assert bodies.end(3, [(b"x-sum", b"1")])
    assert not bodies.end(5, None)
    bodies.send(ROOM, ROOM, engine)
    assert engine.ended == {1: None, 3: [(b"x-sum", b"1")]}
    assert not bodies.holds(1)


def test_one_that_is_forgotten_has_no_turn() -> None:
    bodies, engine = Bodies(), Engine(window=100)
    bodies.put(1, bytes(BULK_BYTES))
    bodies.put(3, b"small")
    bodies.put(5, bytes(BULK_BYTES))
    bodies.send(100, 0, engine)
    for stream_id in (1, 3, 7):
        bodies.forget(stream_id)
    bodies.send(ROOM, ROOM, engine)
    assert set(engine.order()) == {1, 5}
    assert bodies.size == BULK_BYTES - 100
    bodies.clear()
    assert bodies.size == 0
    assert not bodies.waiting


sizes = st.one_of(st.integers(1, 100), st.integers(BULK_BYTES - 2, BULK_BYTES + 2), st.integers(1, 3 * TURN_BYTES))
steps = st.lists(
    st.one_of(
        st.tuples(st.just("put"), st.sampled_from([1, 3, 5]), sizes),
        st.tuples(st.just("open"), st.sampled_from([1, 3, 5]), sizes),
        st.tuples(st.just("end"), st.sampled_from([1, 3, 5]), st.just(0)),
        st.tuples(st.just("forget"), st.sampled_from([1, 3, 5]), st.just(0)),
        st.tuples(st.just("send"), st.just(0), st.integers(0, 2 * ROOM)),
    ),
    max_size=60,
)


@given(steps, st.integers(0, ROOM))
def test_every_byte_arrives_in_order_and_nobody_is_forgotten(steps: list[tuple[str, int, int]], share: int) -> None:
    """Whatever is put, opened, ended and given up: no window is overrun, no stream's bytes change places, and when all
    windows are open all that is still wanted goes out within a bounded number of calls."""
    bodies, engine = Bodies(), Engine(window=TURN_BYTES)
    put: dict[int, bytes] = {1: b"", 3: b"", 5: b""}
    over: set[int] = set()
    forgotten: set[int] = set()
    number = 0
    for what, stream_id, size in steps:
        if what == "put" and stream_id not in over:
            number += 1
            put[stream_id] += bytes([number]) * size
            bodies.put(stream_id, bytes([number]) * size)
        elif what == "open":
            engine.windows[stream_id] = engine.body_window(stream_id) + size
            bodies.opened(stream_id)
        elif what == "end" and stream_id not in over:
            over.add(stream_id)
            if not bodies.end(stream_id, None):
                engine.ended[stream_id] = None
        elif what == "forget":
            bodies.forget(stream_id)
            over.add(stream_id)
            forgotten.add(stream_id)
        elif what == "send":
            assert bodies.send(size, share, engine) <= size
    engine.windows = dict.fromkeys(put, 1 << 30)
    bodies.opened(0)
    for _ in range(2 + sum(map(len, put.values())) // TURN_BYTES):
        bodies.send(TURN_BYTES, share, engine)
    assert bodies.size == 0
    for stream_id, expected in put.items():
        arrived = b"".join(data for sent_id, data in engine.sent if sent_id == stream_id)
        assert arrived == expected if stream_id not in forgotten else expected.startswith(arrived)
        assert (stream_id in engine.ended) >= (stream_id in over - forgotten)
