"""The heap of what will happen: in order, cheap to cancel, never long for nothing."""

from __future__ import annotations

import gc
import weakref
from collections.abc import Callable

from hypothesis import given
from hypothesis import strategies as st

from gateway.transport.deadlines import FEW, Deadline, Deadlines


@given(st.lists(st.tuples(st.integers(0, 50), st.booleans()), max_size=300), st.integers(0, 60))
def test_what_is_due_happens_in_order_and_once(made: list[tuple[int, bool]], now: int) -> None:
    """Against the plain definition: all that was not cancelled and whose time has come, in the order of times."""
    deadlines = Deadlines()
    happened: list[int] = []
    held: list[Deadline] = []

    def note(i: int) -> Callable[[], None]:
        return lambda: happened.append(i)

    for i, (when, _) in enumerate(made):
        held.append(deadlines.add(when, note(i)))
    for (_, cancelled), deadline in zip(made, held, strict=True):
        if cancelled:
            deadline.cancel()
    for action in deadlines.due(now):
        action()
    wanted = sorted((when, i) for i, (when, cancelled) in enumerate(made) if not cancelled and when <= now)
    assert happened == [i for _, i in wanted]
    assert list(deadlines.due(now)) == []
    left = [when for when, cancelled in made if not cancelled and when > now]
    assert deadlines.next() <= min(left, default=float("inf"))
    for deadline in held:
        deadline.cancel()
    assert len(deadlines) <= FEW + 1, "also those that have happened may be cancelled"


def test_the_heap_does_not_grow_with_requests_that_ended() -> None:
    """Each makes a deadline five minutes ahead and ends at once: a second of traffic would be kept for five minutes."""
    deadlines, longest = Deadlines(), 0
    running = [deadlines.add(300.0, lambda: None) for _ in range(500)]
    for i in range(20_000):
        running.append(deadlines.add(300.0 + i / 100, lambda: None))
        running.pop(0).cancel()
        longest = max(longest, len(deadlines))
    assert longest <= 2 * 501 + FEW


class Request:
    def expire(self) -> None: ...


def test_a_cancelled_deadline_keeps_nothing_alive() -> None:
    """It stays in the heap for a while; what it would have called does not."""
    deadlines, request = Deadlines(), Request()
    deadline = deadlines.add(300.0, request.expire)
    seen = weakref.ref(request)
    deadline.cancel()
    del request
    gc.collect()
    assert seen() is None
    assert len(deadlines) == 1


def test_what_is_added_while_others_happen() -> None:
    """A deadline that makes itself anew, at once and later."""
    deadlines = Deadlines()
    happened: list[int] = []

    def again() -> None:
        happened.append(len(happened))
        if len(happened) < 3:
            deadlines.add(1.0, again)
        for _ in range(3 * FEW):
            deadlines.add(9.0, again).cancel()

    deadlines.add(0.0, again)
    for action in deadlines.due(5.0):
        action()
    assert happened == [0, 1, 2]
