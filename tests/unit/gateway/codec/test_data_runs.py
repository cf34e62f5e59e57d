"""Body bytes that came together are handed on together."""

from __future__ import annotations

from gateway.codec.data_runs import DataRuns
from gateway.codec.events import Data, Event, PingAck, Trailers


def test_parts_of_streams_that_take_turns() -> None:
    """Each stream's bytes are one event in their order, before anything of it that came later; others stay apart."""
    runs = DataRuns()
    events: list[Event] = []
    runs.add(events, 1, b"a", False)
    runs.add(events, 3, b"x", False)
    events.append(PingAck(b"12345678"))
    runs.add(events, 1, b"b", False)
    runs.add(events, 3, b"", True)
    runs.add(events, 1, b"c", False)
    events.append(Trailers(1, []))
    runs.join()
    assert events == [Data(1, b"abc", False), Data(3, b"x", True), PingAck(b"12345678"), Trailers(1, [])]


def test_nothing_is_added_to_what_was_handed_on() -> None:
    """After a call is over its events are somebody else's."""
    runs = DataRuns()
    first: list[Event] = []
    runs.add(first, 1, b"a", False)
    runs.join()
    second: list[Event] = []
    runs.add(second, 1, b"b", True)
    runs.join()
    assert first == [Data(1, b"a", False)]
    assert second == [Data(1, b"b", True)]


def test_a_part_alone_is_not_copied() -> None:
    """Most bodies come in one piece."""
    runs = DataRuns()
    events: list[Event] = []
    data = b"a" * 100
    runs.add(events, 1, data, False)
    runs.add(events, 1, b"", True)
    runs.join()
    assert isinstance(events[0], Data)
    assert events[0].data is data
