"""The reactor: one task that waits for all sockets of a worker, and the worker's clock.

Every socket is registered once in an epoll of its own; the event loop waits for that epoll. What is ready is handled in
one turn, connection by connection, and then every connection that has something to say is flushed once, so that what
came in together goes out together. Compared with a task for each connection this saves a system call and two task
switches for each chunk, and the small writes: see docs/performance.md.

Handlers are synchronous and must not raise; one that does loses its socket and nobody else's.
"""

from __future__ import annotations

import logging
import select
from collections.abc import Callable
from typing import Protocol

import trio

from gateway.deadlines import Deadline, Deadlines

log = logging.getLogger("isthmus.reactor")

READ = select.EPOLLIN | select.EPOLLRDHUP
WRITE = select.EPOLLOUT
EVENTS_PER_TURN = 256
# Of those that are ready, so many are handled before the shared connections are looked at again.
EVENTS_PER_SLICE = 32
READ_BYTES = 262_144
# What one turn reads, shared by the sockets that are ready, and the least and most that a socket gets. Without it a
# thousand downloads would make turns of hundreds of megabytes, and a small request waits for a turn on every hop.
TURN_BYTES = 4_194_304
LEAST_SHARE_BYTES = 32_768
MOST_SHARE_BYTES = 1_048_576
# Turns in a row, and seconds, before other tasks (handshakes, control messages, probes) are let in.
TURNS_IN_A_ROW = 8
TURNS_LIMIT_S = 0.02


class Flushable(Protocol):
    def flush(self) -> None:
        """Sends what is waiting, and ends what has ended."""
        ...

    def abort(self) -> None: ...


class Reactor:
    """`now` is the time of the present turn, in seconds of the event loop's clock: one reading serves all that a turn
    does."""

    def __init__(self) -> None:
        self.now = 0.0
        self.buffer = memoryview(bytearray(READ_BYTES))
        """What connections read into, one after the other: nobody keeps it beyond one call."""
        self.share_bytes = MOST_SHARE_BYTES
        """What a socket may read in this turn."""
        self.defects = 0
        """What raised and should not have."""
        self._epoll = select.epoll()
        self._shared_epoll = select.epoll()
        self._shared: set[int] = set()
        self._handlers: dict[int, Callable[[int], None]] = {}
        self._dirty: list[Flushable] = []
        self._deadlines = Deadlines()
        self._deadline_added = trio.Event()

    # Sockets.

    def register(self, descriptor: int, interest: int, handler: Callable[[int], None], *, shared: bool = False) -> None:
        """Calls `handler(flags)` in each turn in which one of `interest` holds. `shared`: many depend on this one (a
        tunnel), so it never waits for all the others that are ready."""
        self._handlers[descriptor] = handler
        self._epoll.register(descriptor, interest)
        if shared:
            self._shared.add(descriptor)
            self._shared_epoll.register(descriptor, interest)

    def modify(self, descriptor: int, interest: int) -> None:
        self._epoll.modify(descriptor, interest)
        if descriptor in self._shared:
            self._shared_epoll.modify(descriptor, interest)

    def unregister(self, descriptor: int) -> None:
        # When the worker ends, the reactor's task may do so before those that close their connections.
        if self._handlers.pop(descriptor, None) is not None and not self._epoll.closed:
            self._epoll.unregister(descriptor)
            if descriptor in self._shared:
                self._shared.remove(descriptor)
                self._shared_epoll.unregister(descriptor)

    # What is to be sent.

    def touch(self, connection: Flushable) -> None:
        """`connection` will be flushed at the end of the turn. The caller keeps it from being added twice."""
        self._dirty.append(connection)

    def flush(self) -> None:
        """Ends a turn. Who touches connections from a task of its own calls this when it is done."""
        # Flushing one connection may give another one's window back, which makes that one dirty again.
        while self._dirty:
            dirty, self._dirty = self._dirty, []
            for connection in dirty:
                try:
                    connection.flush()
                except Exception:
                    self.unforeseen(connection)

    def unforeseen(self, connection: Flushable) -> None:
        """Call it in an `except`: a defect of ours costs one connection, and is seen in the log and in the metrics."""
        self.defects += 1
        log.exception("a connection failed in a way that nobody foresaw; it is closed: %r", connection)
        connection.abort()

    # Time.

    def call_at(self, when: float, action: Callable[[], None]) -> Deadline:
        """Calls `action` at `when`, in a turn of its own."""
        first = when < self._deadlines.next()
        deadline = self._deadlines.add(when, action)
        if first:
            self._deadline_added.set()
        return deadline

    def _run_deadlines(self) -> None:
        for action in self._deadlines.due(self.now):
            try:
                action()
            except Exception:
                self.defects += 1
                log.exception("a deadline failed in a way that nobody foresaw")

    async def keep_time(self) -> None:
        """The task behind `call_at`."""
        while True:
            self._deadline_added = trio.Event()
            self.now = trio.current_time()
            self._run_deadlines()
            self.flush()
            with trio.move_on_at(self._deadlines.next()):
                await self._deadline_added.wait()

    # Turns.

    async def run(self) -> None:
        """The task that waits for sockets."""
        poll, turns = self._epoll.poll, 0
        self.now = began = trio.current_time()
        try:
            while True:
                ready = poll(0, EVENTS_PER_TURN)
                if not ready:
                    turns = 0
                    await trio.lowlevel.wait_readable(self._epoll.fileno())
                    began = trio.current_time()
                    continue
                self.now = trio.current_time()
                self.share_bytes = max(LEAST_SHARE_BYTES, min(MOST_SHARE_BYTES, TURN_BYTES // len(ready)))
                self._handle(ready[:EVENTS_PER_SLICE])
                for start in range(EVENTS_PER_SLICE, len(ready), EVENTS_PER_SLICE):
                    if trio.current_time() - began > TURNS_LIMIT_S:
                        # A turn in which hundreds of bodies are read takes tenths of a second.
                        turns = 0
                        await trio.lowlevel.checkpoint()
                        self.now = began = trio.current_time()
                    self._handle(self._shared_epoll.poll(0))
                    self._handle(ready[start : start + EVENTS_PER_SLICE])
                turns += 1
                if turns >= TURNS_IN_A_ROW or self.now - began > TURNS_LIMIT_S:
                    turns = 0
                    await trio.lowlevel.checkpoint()
                    began = trio.current_time()
        finally:
            self._epoll.close()
            self._shared_epoll.close()

    def _handle(self, ready: list[tuple[int, int]]) -> None:
        for descriptor, flags in ready:
            handler = self._handlers.get(descriptor)
            if handler is None:
                continue
            try:
                handler(flags)
            except Exception:
                self.defects += 1
                log.exception("a socket's handler failed in a way that nobody foresaw; the socket is dropped")
                self.unregister(descriptor)
        self.flush()
