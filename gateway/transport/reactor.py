"""The reactor: waits for all sockets of a worker, and is the worker's clock.

Every socket is registered once in an epoll of its own; the reactor waits for it as the event loop's host
(`reactor_host`), or as one task of an event loop that has other hosts. What is ready is handled in
one turn, connection by connection, and then every connection that has something to say is flushed once, so that what
came in together goes out together. Compared with a task for each connection this saves a system call and two task
switches for each chunk, and the small writes: see docs/performance.md.

Handlers are synchronous and must not raise; one that does loses its socket and nobody else's. One may be called for
nothing: a socket that another handler opens in a turn may get the number of one that was ready in it and is closed.
"""

from __future__ import annotations

import logging
import select
from collections.abc import Callable
from typing import Final, Protocol

import trio

from gateway.transport.deadlines import Clock, Deadline, Deadlines
from gateway.transport.ready import SLICE, Ready

log = logging.getLogger("isthmus.reactor")

READ: Final = select.EPOLLIN | select.EPOLLRDHUP
WRITE: Final = select.EPOLLOUT
# The far end has ended its direction, or the connection.
_END: Final = select.EPOLLRDHUP | select.EPOLLHUP | select.EPOLLERR
EVENTS_PER_TURN: Final = 256
# While some wait for their turn: what is new shall be seen at once, behind however many that are ready all the time.
EVENTS_WHILE_WAITING: Final = 4_096
READ_BYTES: Final = 262_144
# What HTTP/2 and TLS add to so many bytes, and the record that is there in part: so much comes in one piece.
FRAMING_BYTES: Final = 65_536
# What one turn reads, shared by the sockets that are ready, and the least and most that a socket gets. Without it a
# thousand downloads would make turns of hundreds of megabytes, and a small request waits for a turn on every hop.
TURN_BYTES: Final = 4_194_304
LEAST_SHARE_BYTES: Final = 32_768
MOST_SHARE_BYTES: Final = 1_048_576
# Turns in a row, and seconds, before other tasks (handshakes, control messages, probes) are let in.
TURNS_IN_A_ROW: Final = 8
TURNS_LIMIT_S: Final = 0.02
# By more than this a deadline is late only where the process had no time for anything.
LATE_S: Final = 0.1


class Flushable(Protocol):
    def flush(self) -> None:
        """Sends what is waiting, and ends what has ended."""
        ...

    def abort(self) -> None: ...


class Reactor(Clock):
    """`now` is the time of the present turn, in seconds of the event loop's clock: one reading serves all that a turn
    does."""

    def __init__(self) -> None:
        self.now = 0.0
        self.buffer = memoryview(bytearray(READ_BYTES + FRAMING_BYTES))
        """What connections read into, one after the other: nobody keeps it beyond one call."""
        self.share_bytes = MOST_SHARE_BYTES
        """What a socket may read in this turn."""
        self.defects = 0
        """What raised and should not have."""
        self.turns = trio.Lock()
        """For what takes milliseconds and may come by the hundred (handshakes): one at a time, and the reactor's turns
        between."""
        self._epoll = select.epoll()
        self._shared: set[int] = set()
        self._handlers: dict[int, Callable[[int], None]] = {}
        self._dirty: list[Flushable] = []
        self._ready = Ready()
        """What is ready and was not handled yet."""
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

    def modify(self, descriptor: int, interest: int) -> None:
        self._epoll.modify(descriptor, interest)
        self._ready.drop(descriptor)

    def unregister(self, descriptor: int) -> None:
        # When the worker ends, the reactor's task may do so before those that close their connections.
        if self._handlers.pop(descriptor, None) is not None and not self._epoll.closed:
            self._epoll.unregister(descriptor)
            self._shared.discard(descriptor)
            self._ready.forget(descriptor)

    def forget(self, descriptor: int) -> None:
        """For a socket that the caller closes at once and that nobody else has: closing takes it out of an epoll."""
        self._handlers.pop(descriptor, None)
        self._shared.discard(descriptor)
        self._ready.forget(descriptor)

    def leave(self, descriptor: int) -> None:
        """Its handler goes before it has read all that there is: others go before the rest of it."""
        self._ready.unfinished.add(descriptor)

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
        """The task behind `call_at`, where the event loop is the host."""
        while True:
            self._deadline_added = trio.Event()
            self.keep_deadlines()
            with trio.move_on_at(self._deadlines.next()):
                await self._deadline_added.wait()

    def keep_deadlines(self) -> float:
        """Does what is due. Returns for how many seconds there is nothing more to do, or -1 if for ever."""
        now = self.now = trio.current_time()
        due_at = self._deadlines.next()
        if due_at <= now:
            if now - due_at > LATE_S and not self._epoll.closed:
                # What came while this process stood still may be what the deadline is about.
                self.turn(0)
            self._run_deadlines()
            self.flush()
            due_at = self._deadlines.next()
        return -1.0 if due_at == float("inf") else max(0.0, due_at - now)

    # Turns.

    def turn(self, wait_s: float) -> bool:
        """Handles what is ready, or a slice of it; returns whether there was anything. Waits so long for something to
        come, without end if that is below zero. What is left of a large turn is the next one, so that others get in
        between."""
        waiting = len(self._ready)
        if waiting:
            ready = self._epoll.poll(0, EVENTS_WHILE_WAITING)
        else:
            ready = self._epoll.poll(wait_s, EVENTS_PER_TURN)
            if not ready:
                return False
        self.now = trio.current_time()
        count = max(len(ready), waiting)
        self.share_bytes = max(LEAST_SHARE_BYTES, min(MOST_SHARE_BYTES, TURN_BYTES // count))
        if waiting or count > SLICE:
            ready = self._ready.take(ready, self._shared)
        elif self._ready.unfinished:
            self._ready.all_handled(ready)
        self._handle(ready)
        return True

    async def run(self) -> None:
        """The task that waits for sockets, where the event loop is the host."""
        turns, began = 0, trio.current_time()
        self.now = began
        try:
            while True:
                if not self.turn(0):
                    turns = 0
                    await trio.lowlevel.wait_readable(self._epoll.fileno())
                    began = trio.current_time()
                    continue
                turns += 1
                if turns >= TURNS_IN_A_ROW or trio.current_time() - began > TURNS_LIMIT_S:
                    turns = 0
                    await trio.lowlevel.checkpoint()
                    began = trio.current_time()
        finally:
            self.close()

    def close(self) -> None:
        self._epoll.close()

    def _handle(self, ready: list[tuple[int, int]]) -> None:
        # Ends first: what begins in this turn shall not be given to a connection that has ended in it.
        for descriptor, flags in ready:
            if flags & _END:
                self._call(descriptor, flags)
        for descriptor, flags in ready:
            if not flags & _END:
                self._call(descriptor, flags)
        self.flush()

    def _call(self, descriptor: int, flags: int) -> None:
        handler = self._handlers.get(descriptor)
        if handler is None:
            return
        try:
            handler(flags)
        except Exception:
            self.defects += 1
            log.exception("a socket's handler failed in a way that nobody foresaw; the socket is dropped")
            self.unregister(descriptor)
