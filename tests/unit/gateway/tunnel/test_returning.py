"""Who waits for a cluster that was lost a moment ago, and for how long."""

from __future__ import annotations

from collections.abc import Callable

from gateway.tunnel.returning import RETURN_S, Returning


class Clock:
    """Calls what is due when told so."""

    def __init__(self) -> None:
        self.now = 100.0
        self.due: list[tuple[float, Callable[[], None]]] = []
        self.returning = Returning(lambda when, action: self.due.append((when, action)))
        self.woken: list[str] = []

    def wait(self, name: str) -> None:
        self.returning.wait("west", lambda: self.woken.append(name))

    def run(self, seconds: float = 0.0) -> None:
        self.now += seconds
        due = [action for when, action in self.due if when <= self.now]
        self.due = [(when, action) for when, action in self.due if when > self.now]
        for action in due:
            action()
        if due:
            self.run()

    def expected(self) -> bool:
        return self.returning.expects("west", self.now)


def test_nobody_is_expected_who_was_never_there() -> None:
    """A cluster that could not be reached so far may be away for days: its requests are refused at once."""
    clock = Clock()
    assert not clock.expected()
    clock.returning.settle("west", clock.now)
    assert not clock.expected()


def test_who_waits_is_woken_when_it_is_back() -> None:
    """Not within the call that says so: that one is in the middle of something."""
    clock = Clock()
    clock.returning.lost("west", clock.now)
    clock.wait("first")
    clock.wait("second")
    assert clock.expected()
    clock.returning.settle("west", clock.now)
    assert not clock.woken
    clock.run()
    assert clock.woken == ["first", "second"]
    assert not clock.expected()
    clock.run(RETURN_S)
    assert clock.woken == ["first", "second"]


def test_nobody_waits_for_long() -> None:
    """If it does not come back, those who wait hear so."""
    clock = Clock()
    clock.returning.lost("west", clock.now)
    clock.wait("one")
    clock.run(RETURN_S / 2)
    assert not clock.woken
    clock.run(RETURN_S / 2)
    assert clock.woken == ["one"]
    assert not clock.expected()


def test_one_that_comes_and_goes_is_expected_anew() -> None:
    """What was armed for the first time does not end the second."""
    clock = Clock()
    clock.returning.lost("west", clock.now)
    clock.run(RETURN_S / 2)
    clock.returning.settle("west", clock.now)
    clock.returning.lost("west", clock.now)
    clock.wait("one")
    clock.run(RETURN_S / 2)
    assert clock.expected()
    assert not clock.woken
    clock.run(RETURN_S / 2)
    assert clock.woken == ["one"]
