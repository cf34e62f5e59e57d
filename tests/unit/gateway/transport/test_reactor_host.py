"""The reactor as the host of the event loop: both go on, in one thread, and neither waits for the other's quiet."""

from __future__ import annotations

import socket
import threading
from collections.abc import Iterator

import pytest
import trio

from gateway.transport.reactor import READ, WRITE, Reactor
from gateway.transport.reactor_host import host

DEADLINE_S = 10.0


@pytest.fixture
def pair() -> Iterator[tuple[socket.socket, socket.socket]]:
    ours, theirs = socket.socketpair()
    ours.setblocking(False)
    theirs.setblocking(False)
    with ours, theirs:
        yield ours, theirs


def test_sockets_tasks_and_deadlines_go_on_in_one_thread(pair: tuple[socket.socket, socket.socket]) -> None:
    """A task writes, the reactor's handler hears it and wakes the task, whose deadline the reactor then keeps."""
    ours, theirs = pair
    reactor = Reactor()
    threads = {threading.get_ident()}
    heard: list[bytes] = []

    async def main() -> None:
        said, due = trio.Event(), trio.Event()

        def readable(flags: int) -> None:
            heard.append(ours.recv(100))
            threads.add(threading.get_ident())
            said.set()

        reactor.register(ours.fileno(), READ, readable)
        with trio.fail_after(DEADLINE_S):
            for _ in range(3):
                said = trio.Event()
                theirs.send(b"x")
                await said.wait()
                threads.add(threading.get_ident())
            reactor.call_at(trio.current_time() + 0.02, due.set)
            await due.wait()
        reactor.unregister(ours.fileno())

    host(reactor, main)
    assert heard == [b"x", b"x", b"x"]
    assert len(threads) == 1


def test_tasks_wait_for_their_own(pair: tuple[socket.socket, socket.socket]) -> None:
    """What is not the reactor's wakes its task as ever: a socket, a thread's end, a timer."""
    ours, theirs = pair
    seen: list[bytes] = []

    async def main() -> None:
        with trio.fail_after(DEADLINE_S):
            async with trio.open_nursery() as nursery:
                nursery.start_soon(trio.to_thread.run_sync, lambda: theirs.send(b"from a thread"))
                await trio.lowlevel.wait_readable(ours)
            seen.append(ours.recv(100))
            await trio.sleep(0.02)

    host(Reactor(), main)
    assert seen == [b"from a thread"]


def test_a_handler_may_start_tasks(pair: tuple[socket.socket, socket.socket]) -> None:
    """As an acceptor does for handshakes."""
    ours, _ = pair
    reactor, began = Reactor(), trio.Event()

    async def task() -> None:
        began.set()

    async def main() -> None:
        async with trio.open_nursery() as nursery:

            def writable(flags: int) -> None:
                reactor.unregister(ours.fileno())
                nursery.start_soon(task)

            reactor.register(ours.fileno(), WRITE, writable)
            with trio.fail_after(DEADLINE_S):
                await began.wait()

    host(reactor, main)
    assert began.is_set()


def test_a_busy_reactor_lets_tasks_in(pair: tuple[socket.socket, socket.socket]) -> None:
    """A socket that is always ready, as under load, keeps no probe or handshake waiting."""
    ours, _ = pair
    reactor, turns = Reactor(), 0

    async def main() -> None:
        def writable(flags: int) -> None:
            nonlocal turns
            turns += 1

        reactor.register(ours.fileno(), WRITE, writable)
        with trio.fail_after(DEADLINE_S):
            for _ in range(20):
                await trio.lowlevel.checkpoint()
            await trio.sleep(0.01)
        reactor.unregister(ours.fileno())

    host(reactor, main)
    # One for each of the checkpoints at least, or they were not alternating.
    assert turns >= 20


def test_what_a_task_raises_comes_out(pair: tuple[socket.socket, socket.socket]) -> None:
    """A worker whose task fails must end, and be seen to fail."""

    async def main() -> None:
        raise ValueError("a defect")

    with pytest.raises(ValueError, match="a defect"):
        host(Reactor(), main)
