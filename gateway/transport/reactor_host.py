"""The reactor as the host of the event loop: who waits for the sockets of a worker.

An event loop that wakes one task for each socket that becomes ready takes more steps for the waking than most sockets'
handlers take for the work (measured: docs/performance.md). So in a worker the reactor itself waits for its sockets and
its deadlines, and trio is its guest (`trio.lowlevel.start_guest_run`): trio waits for what its own tasks wait for in a
thread, and rings when there is something. Their turns and the reactor's go on in one thread, one after the other.
"""

from __future__ import annotations

import os
from collections import deque
from collections.abc import Awaitable, Callable
from typing import Any

import trio

from gateway.transport.reactor import READ, Reactor


def host(reactor: Reactor, async_fn: Callable[..., Awaitable[object]], *args: object) -> None:
    """Runs `async_fn(*args)` in trio until it ends, and `reactor` as its host. Raises what it raises."""
    ticks: deque[Callable[[], object]] = deque()
    ended: list[Any] = []
    bell = os.eventfd(0, os.EFD_NONBLOCK | os.EFD_CLOEXEC)

    def ring(tick: Callable[[], object]) -> None:
        ticks.append(tick)
        os.eventfd_write(bell, 1)

    def heard(flags: int) -> None:
        os.eventfd_read(bell)

    reactor.register(bell, READ, heard)
    trio.lowlevel.start_guest_run(
        async_fn,
        *args,
        run_sync_soon_threadsafe=ring,
        run_sync_soon_not_threadsafe=ticks.append,
        done_callback=ended.append,
    )
    try:
        _alternate(reactor, ticks, ended)
    finally:
        reactor.close()
        os.close(bell)
    ended[0].unwrap()


def _alternate(reactor: Reactor, ticks: deque[Callable[[], object]], ended: list[Any]) -> None:
    """A tick of trio's tasks and a turn of the reactor in turns, so that neither ever waits for all of the other."""
    while True:
        wait_s = reactor.keep_deadlines()
        if ticks:
            wait_s = 0.0
            ticks.popleft()()
            if ended:
                return
        reactor.turn(wait_s)
