"""Accepting connections from the listening sockets that all workers share.

A gateway listens on one virtual IP for each service, so there may be thousands of listening sockets: they cost a
registration each, and no task. Whichever worker comes first accepts, and one that dies takes nothing with it that was
not accepted yet.
"""

from __future__ import annotations

import errno
import logging
import select
import socket
from collections.abc import Callable

from discovery.address import HostPort
from gateway.transport.idle import prepare_accepted
from gateway.transport.listeners import BACKLOG
from gateway.transport.reactor import Reactor

log = logging.getLogger("isthmus.acceptor")

# Connections taken from one socket before the others are looked at.
ACCEPTS_PER_TURN = 16
# What the queue of a socket that is given up may hold: see `listeners.BACKLOG`.
BACKLOG_TURNS = BACKLOG // ACCEPTS_PER_TURN
# After running out of descriptors: others may end meanwhile.
EXHAUSTED_PAUSE_S = 0.05
_EXHAUSTED = (errno.EMFILE, errno.ENFILE, errno.ENOBUFS, errno.ENOMEM)
# One worker is woken for what comes to a socket that all of them have, not all of them.
SHARED_INTEREST = select.EPOLLIN | select.EPOLLEXCLUSIVE


class Acceptor:
    """Calls `accepted(sock, peer)` for each connection of the sockets that were added."""

    def __init__(self, reactor: Reactor) -> None:
        self._reactor = reactor
        self._listeners: dict[int, tuple[socket.socket, Callable[[socket.socket, str], None]]] = {}

    def add(self, listener: socket.socket, accepted: Callable[[socket.socket, str], None]) -> None:
        listener.setblocking(False)
        # Whoever opened it has done so as well, for those who were in its queue before it came here; unless that was
        # an earlier version.
        prepare_accepted(listener)
        descriptor = listener.fileno()
        entry = self._listeners[descriptor] = (listener, accepted)

        def ready(flags: int) -> None:
            if self._accept(listener, accepted) < 0:
                self._reactor.unregister(descriptor)
                self._reactor.call_at(self._reactor.now + EXHAUSTED_PAUSE_S, lambda: resume())

        def resume() -> None:
            if self._listeners.get(descriptor) is entry:
                self._reactor.register(descriptor, SHARED_INTEREST, ready)

        resume()

    def remove(self, listener: socket.socket, *, last: bool = False) -> None:
        """Stops accepting and closes this process's copy of the socket. `last`: nobody else keeps one, so what waits in
        its queue is taken before."""
        accepted = self._listeners.pop(listener.fileno(), None)
        if accepted is not None:
            self._reactor.unregister(listener.fileno())
            for _ in range(BACKLOG_TURNS if last else 0):
                if self._accept(listener, accepted[1]) < ACCEPTS_PER_TURN:
                    break
            listener.close()

    def _accept(self, listener: socket.socket, accepted: Callable[[socket.socket, str], None]) -> int:
        """How many have come, up to `ACCEPTS_PER_TURN`; below zero when the process has no descriptor left."""
        for count in range(ACCEPTS_PER_TURN):
            try:
                sock, address = listener.accept()
            except BlockingIOError:
                return count
            except OSError as error:
                if error.errno in _EXHAUSTED:
                    log.warning("cannot accept a connection: %s; raise the limit of open files", error)
                    return -1
                continue  # The client was gone before it was accepted (accept(2): ECONNABORTED and the like).
            try:
                sock.setblocking(False)
                accepted(sock, str(HostPort(*address[:2])))
            except OSError:
                sock.close()  # The client was gone already.
            except Exception:
                # One connection's trouble must not take the listening socket with it.
                log.exception("an accepted connection failed in a way that nobody foresaw; it is closed")
                self._reactor.defects += 1
                sock.close()
        return ACCEPTS_PER_TURN
