"""The one task that waits for all sockets, and the worker's clock."""

from __future__ import annotations

import logging
import socket
import time
from collections.abc import Callable, Iterator
from contextlib import ExitStack

import pytest
import trio

from gateway.transport.reactor import READ, TURNS_LIMIT_S, WRITE, Reactor
from gateway.transport.ready import SLICE


@pytest.fixture
def pair() -> Iterator[tuple[socket.socket, socket.socket]]:
    ours, theirs = socket.socketpair()
    ours.setblocking(False)
    with ours, theirs:
        yield ours, theirs


class Sender:
    """Something to flush."""

    def __init__(self, reactor: Reactor, *, again: int = 0, broken: bool = False) -> None:
        self.flushed = 0
        self.aborted = False
        self._reactor = reactor
        self._again = again
        self._broken = broken

    def flush(self) -> None:
        self.flushed += 1
        if self._broken:
            raise RuntimeError("a defect")
        if self.flushed <= self._again:
            self._reactor.touch(self)

    def abort(self) -> None:
        self.aborted = True


async def run_until(reactor: Reactor, done: trio.Event) -> None:
    async with trio.open_nursery() as nursery:
        nursery.start_soon(reactor.run)
        with trio.fail_after(20):
            await done.wait()
        nursery.cancel_scope.cancel()


async def test_a_ready_socket_is_handled_and_what_it_touched_is_flushed(
    pair: tuple[socket.socket, socket.socket],
) -> None:
    """One turn: read, then flush once, however often something was touched."""
    ours, theirs = pair
    reactor, done = Reactor(), trio.Event()
    sender = Sender(reactor)
    seen: list[bytes] = []

    def readable(flags: int) -> None:
        seen.append(ours.recv(100))
        reactor.touch(sender)
        done.set()

    reactor.register(ours.fileno(), READ, readable)
    theirs.send(b"hello")
    await run_until(reactor, done)
    assert seen == [b"hello"]
    assert sender.flushed == 1


async def test_what_has_ended_is_handled_first(pair: tuple[socket.socket, socket.socket]) -> None:
    """A request and the end of the connection that it would be given to may come in one turn, the request first."""
    ours, theirs = pair
    other, far = socket.socketpair()
    reactor = Reactor()
    seen: list[str] = []
    with other, far:
        reactor.register(ours.fileno(), READ, lambda flags: seen.append("a request"))
        reactor.register(other.fileno(), READ, lambda flags: seen.append("an end"))
        theirs.send(b"x")
        far.close()
        reactor.turn(0)
    assert seen == ["an end", "a request"]


async def test_interest_can_change_and_end(pair: tuple[socket.socket, socket.socket]) -> None:
    """A socket is reported for what is waited for, and not at all once it is unregistered."""
    ours, theirs = pair
    reactor, done = Reactor(), trio.Event()
    flags_seen: list[int] = []

    def ready(flags: int) -> None:
        flags_seen.append(flags)
        reactor.unregister(ours.fileno())
        reactor.unregister(ours.fileno())
        done.set()

    theirs.send(b"waits")
    reactor.register(ours.fileno(), READ, ready)
    reactor.modify(ours.fileno(), WRITE)
    await run_until(reactor, done)
    assert flags_seen == [WRITE]


async def test_a_handler_that_raises_costs_its_own_socket_only(
    pair: tuple[socket.socket, socket.socket], caplog: pytest.LogCaptureFixture
) -> None:
    ours, theirs = pair
    other, far = socket.socketpair()
    reactor, done = Reactor(), trio.Event()

    def broken(flags: int) -> None:
        raise RuntimeError("a defect")

    def fine(flags: int) -> None:
        other.recv(10)
        done.set()

    with other, far, caplog.at_level(logging.CRITICAL + 1, "isthmus.reactor"):
        reactor.register(ours.fileno(), READ, broken)
        reactor.register(other.fileno(), READ, fine)
        theirs.send(b"x")
        async with trio.open_nursery() as nursery:
            nursery.start_soon(reactor.run)
            with trio.fail_after(20):
                while not reactor.defects:
                    await trio.lowlevel.checkpoint()
                far.send(b"y")
                await done.wait()
            nursery.cancel_scope.cancel()
    assert reactor.defects == 1


def test_flushing_goes_on_while_flushing_touches(caplog: pytest.LogCaptureFixture) -> None:
    """Giving a window back makes the source dirty in the middle of a flush."""
    reactor = Reactor()
    again, broken, last = Sender(reactor, again=2), Sender(reactor, broken=True), Sender(reactor)
    for sender in (again, broken, last):
        reactor.touch(sender)
    with caplog.at_level(logging.CRITICAL + 1, "isthmus.reactor"):
        reactor.flush()
    assert (again.flushed, broken.flushed, last.flushed) == (3, 1, 1)
    assert broken.aborted
    assert not last.aborted


async def test_deadlines_come_in_order_and_cancelled_ones_do_not(autojump_clock: trio.testing.MockClock) -> None:
    reactor = Reactor()
    happened: list[tuple[str, float]] = []

    def note(name: str) -> None:
        happened.append((name, trio.current_time() - began))

    async with trio.open_nursery() as nursery:
        began = trio.current_time()
        nursery.start_soon(reactor.keep_time)
        await trio.testing.wait_all_tasks_blocked()
        reactor.call_at(began + 2, lambda: note("second"))
        reactor.call_at(began + 1, lambda: note("first"))
        reactor.call_at(began + 1.5, lambda: note("never")).cancel()
        await trio.sleep(3)
        nursery.cancel_scope.cancel()
    assert [name for name, _ in happened] == ["first", "second"]
    assert [when for _, when in happened] == pytest.approx([1, 2])


async def test_what_came_while_the_loop_stood_still_is_read_before_time_is_judged(
    pair: tuple[socket.socket, socket.socket],
) -> None:
    """A process that was stopped for seconds finds both: an answer that came in time, and the deadline for it."""
    ours, theirs = pair
    reactor = Reactor()
    seen: list[str] = []

    def read(flags: int) -> None:
        ours.recv(10)
        seen.append("the answer")

    reactor.register(ours.fileno(), READ, read)
    theirs.send(b"x")
    reactor.call_at(trio.current_time() - 3.0, lambda: seen.append("too late"))
    reactor.keep_deadlines()
    assert seen == ["the answer", "too late"]
    reactor.call_at(trio.current_time() - 3.0, lambda: seen.append("at the end"))
    reactor.close()
    reactor.keep_deadlines()
    assert seen[2:] == ["at the end"]


async def test_a_long_turn_lets_others_in() -> None:
    """Hundreds of bodies that are read in one turn must not keep probes and handshakes waiting until its end."""
    reactor, handled, others = Reactor(), 0, trio.Event()
    handled_before = 0
    pairs = [socket.socketpair() for _ in range(4 * SLICE)]

    def ready_of(sock: socket.socket) -> Callable[[int], None]:
        def ready(flags: int) -> None:
            nonlocal handled
            sock.recv(10)
            handled += 1
            busy_until = time.perf_counter() + 2 * TURNS_LIMIT_S / SLICE
            while time.perf_counter() < busy_until:
                pass

        return ready

    async def other() -> None:
        """Waits for the turn to begin, and then for its own turn."""
        nonlocal handled_before
        while not handled:
            await trio.lowlevel.checkpoint()
        handled_before = handled
        others.set()

    with ExitStack() as stack:
        for ours, theirs in pairs:
            stack.enter_context(ours)
            stack.enter_context(theirs)
            theirs.send(b"x")
            reactor.register(ours.fileno(), READ, ready_of(ours))
        async with trio.open_nursery() as nursery:
            nursery.start_soon(other)
            await run_until(reactor, others)
            nursery.cancel_scope.cancel()
    assert 0 < handled_before < len(pairs)


async def test_what_has_just_come_goes_before_what_has_more_every_time() -> None:
    """A small answer beside hundreds of downloads is read in the next turn, not after a part of each of them."""
    reactor = Reactor()
    read: list[int] = []

    def bulk(descriptor: int) -> Callable[[int], None]:
        def ready(flags: int) -> None:
            read.append(descriptor)
            reactor.leave(descriptor)

        return ready

    with ExitStack() as stack:
        pairs = [socket.socketpair() for _ in range(8 * SLICE)]
        for ours, theirs in pairs:
            stack.enter_context(ours)
            stack.enter_context(theirs)
            theirs.send(b"more than is read")
            reactor.register(ours.fileno(), READ, bulk(ours.fileno()))
        while len(set(read)) < len(pairs):
            assert reactor.turn(0)
        small, far = socket.socketpair()
        stack.enter_context(small)
        stack.enter_context(far)
        reactor.register(small.fileno(), READ, lambda flags: read.append(-len(small.recv(10))))
        far.send(b"small")
        before = len(read)
        assert reactor.turn(0)
        assert -5 in read[before:]
        assert len(read) - before <= SLICE
        reactor.close()


async def test_one_that_is_gone_is_not_handled_in_its_turn() -> None:
    """It waited among others; its descriptor may belong to another connection by then."""
    reactor = Reactor()
    handled: list[tuple[int, int]] = []

    def noting(descriptor: int) -> Callable[[int], None]:
        return lambda flags: handled.append((descriptor, flags))

    with ExitStack() as stack:
        pairs = [socket.socketpair() for _ in range(SLICE + 2)]
        for ours, theirs in pairs:
            stack.enter_context(ours)
            stack.enter_context(theirs)
            theirs.send(b"x")
            reactor.register(ours.fileno(), READ, noting(ours.fileno()))
        assert reactor.turn(0)
        first = {descriptor for descriptor, _ in handled}
        left = {ours.fileno() for ours, _ in pairs} - first
        assert left
        for descriptor in first | left:
            reactor.unregister(descriptor)
        for descriptor in left:
            reactor.register(descriptor, WRITE, noting(descriptor))
        handled.clear()
        assert reactor.turn(0)
        assert set(handled) == {(descriptor, WRITE) for descriptor in left}
        reactor.close()


async def test_a_socket_that_is_registered_anew_is_not_taken_for_bulk() -> None:
    """It was left before it was empty, and unregistered. What has its descriptor next waits behind no bulk."""
    reactor = Reactor()
    read: list[int] = []

    def bulk(descriptor: int) -> Callable[[int], None]:
        def ready(flags: int) -> None:
            read.append(descriptor)
            reactor.leave(descriptor)

        return ready

    with ExitStack() as stack:
        pairs = [socket.socketpair() for _ in range(8 * SLICE)]
        for ours, theirs in pairs:
            stack.enter_context(ours)
            stack.enter_context(theirs)
            theirs.send(b"more than is read")
            reactor.register(ours.fileno(), READ, bulk(ours.fileno()))
        while len(set(read)) < len(pairs):
            assert reactor.turn(0)
        again = read[-1]
        reactor.unregister(again)
        reactor.register(again, READ, lambda flags: read.append(-1))
        before = len(read)
        assert reactor.turn(0)
        assert -1 in read[before:]
        reactor.close()
