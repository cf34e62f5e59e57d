"""Whose turn it is among sockets, when more are ready than one turn should handle."""

from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st

from gateway.transport.ready import LEAST_BULK, SLICE, Ready

READ = 1


def take(ready: Ready, descriptors: range, shared: set[int] | None = None) -> list[int]:
    return [descriptor for descriptor, _ in ready.take([(d, READ) for d in descriptors], shared or set())]


def test_each_gets_its_turn_once_before_any_gets_a_second() -> None:
    """All are ready all the time, as a thousand downloads are: none is read twice while another waits."""
    ready, everybody = Ready(), range(3 * SLICE)
    first = take(ready, everybody)
    second = [descriptor for descriptor, _ in ready.take([], set())]
    assert len(first) == len(second) == SLICE
    assert not set(first) & set(second)
    assert len(ready) == SLICE


def test_shared_ones_never_wait() -> None:
    ready = Ready()
    taken = take(ready, range(3 * SLICE), shared={3 * SLICE - 1})
    assert taken[0] == 3 * SLICE - 1
    assert 3 * SLICE - 1 in take(ready, range(3 * SLICE - 1, 3 * SLICE), shared={3 * SLICE - 1})


def test_what_was_left_unfinished_goes_behind() -> None:
    ready = Ready()
    ready.unfinished.update(range(3 * SLICE))
    take(ready, range(3 * SLICE))
    assert take(ready, range(1_000, 1_001))[0] == 1_000


def test_bulk_goes_on_however_much_else_is_ready() -> None:
    """Small requests without end must not stop a download."""
    ready = Ready()
    ready.unfinished.update(range(LEAST_BULK))
    taken = take(ready, range(10 * SLICE))
    assert set(range(LEAST_BULK)) <= set(taken)


def test_one_that_was_read_to_its_end_is_no_bulk_any_more() -> None:
    """A kept connection that carried a download carries a small answer next."""
    ready = Ready()
    ready.unfinished.update(range(3 * SLICE))
    handled = take(ready, range(3 * SLICE))
    assert not ready.unfinished & set(handled)
    ready.all_handled([(descriptor, READ) for descriptor in range(3 * SLICE)])
    assert not ready.unfinished


def test_one_that_is_dropped_has_no_turn() -> None:
    ready = Ready()
    ready.unfinished.add(0)
    first = take(ready, range(3 * SLICE))
    waiting = set(range(3 * SLICE)) - set(first)
    for descriptor in waiting:
        ready.drop(descriptor)
    assert not len(ready)


def test_one_that_is_forgotten_leaves_no_mark() -> None:
    """Its descriptor may be that of a small request's connection next."""
    ready = Ready()
    ready.unfinished.add(0)
    take(ready, range(3 * SLICE))
    waiting = len(ready)
    ready.unfinished.add(3 * SLICE - 1)
    ready.forget(3 * SLICE - 1)
    assert not ready.unfinished
    assert len(ready) == waiting - 1


@given(
    st.lists(st.sets(st.integers(0, 200), max_size=200), max_size=10),
    st.sets(st.integers(0, 200)),
    st.sets(st.integers(0, 200)),
)
def test_nobody_is_forgotten(polls: list[set[int]], bulk: set[int], shared: set[int]) -> None:
    """Whatever is ready and whatever brings bulk: who was ready is handled within a bounded number of slices."""
    ready = Ready()
    handled: set[int] = set()
    for poll in polls:
        handled.update(descriptor for descriptor, _ in ready.take([(d, READ) for d in sorted(poll)], shared))
        ready.unfinished.update(bulk)
    for _ in range(201 // LEAST_BULK + 1):
        handled.update(descriptor for descriptor, _ in ready.take([], shared))
    assert handled == set().union(*polls)
    assert not len(ready)
