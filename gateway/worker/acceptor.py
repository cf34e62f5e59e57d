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
from typing import Any, Final, TypeAlias, cast

from gateway.transport.idle import prepare_accepted
from gateway.transport.listeners import BACKLOG
from gateway.transport.reactor import Reactor

log = logging.getLogger("isthmus.acceptor")

# Connections taken from one socket before the others are looked at.
ACCEPTS_PER_TURN: Final = 16
# What the queue of a socket that is given up may hold: see `listeners.BACKLOG`.
BACKLOG_TURNS: Final = BACKLOG // ACCEPTS_PER_TURN
# After running out of descriptors: others may end meanwhile.
EXHAUSTED_PAUSE_S: Final = 0.05
_EXHAUSTED: Final = (errno.EMFILE, errno.ENFILE, errno.ENOBUFS, errno.ENOMEM)
# One worker is woken for what comes to a socket that all of them have, not all of them.
SHARED_INTEREST: Final = select.EPOLLIN | select.EPOLLEXCLUSIVE

Accepted: TypeAlias = Callable[[socket.SocketType, str], None]
"""Told of a connection, which is its own from then on, and its client: "ip:port"."""


class Acceptor:
    """Calls `accepted(sock, client)` for each connection of the sockets that were added."""

    def __init__(self, reactor: Reactor) -> None:
        self._reactor = reactor
        self._doors: dict[int, _Door] = {}

    def add(self, listener: socket.socket, accepted: Accepted) -> None:
        listener.setblocking(False)
        # Whoever opened it has done so as well, for those who were in its queue before it came here; unless that was
        # an earlier version.
        prepare_accepted(listener)
        door = self._doors[listener.fileno()] = _Door(self._reactor, listener, accepted)
        door.open()

    def remove(self, listener: socket.socket, *, last: bool = False) -> None:
        """Stops accepting and closes this process's copy of the socket. `last`: nobody else keeps one, so what waits in
        its queue is taken before."""
        door = self._doors.pop(listener.fileno(), None)
        if door is not None:
            door.close()
            for _ in range(BACKLOG_TURNS if last else 0):
                if door.accept() < ACCEPTS_PER_TURN:
                    break
            listener.close()


class _Door:
    """One listening socket."""

    def __init__(self, reactor: Reactor, listener: socket.socket, accepted: Accepted) -> None:
        self._reactor = reactor
        self._accepted = accepted
        self._descriptor = listener.fileno()
        # `listener.family` makes a member of an enumeration of it each time that it is asked for.
        self._family = int(listener.family)
        # What `listener.accept` calls, without the interpreted class that it then puts around each connection.
        self._accept: Callable[[], tuple[int, Any]] = cast(Any, listener)._accept
        self._closed = False

    def open(self) -> None:
        if not self._closed:
            self._reactor.register(self._descriptor, SHARED_INTEREST, self._ready)

    def close(self) -> None:
        self._closed = True
        self._reactor.unregister(self._descriptor)

    def _ready(self, flags: int) -> None:
        if self.accept() < 0:
            self._reactor.unregister(self._descriptor)
            self._reactor.call_at(self._reactor.now + EXHAUSTED_PAUSE_S, self.open)

    def accept(self) -> int:
        """How many have come, up to `ACCEPTS_PER_TURN`; below zero when the process has no descriptor left."""
        for count in range(ACCEPTS_PER_TURN):
            try:
                descriptor, address = self._accept()
            except BlockingIOError:
                return count
            except OSError as error:
                if error.errno in _EXHAUSTED:
                    log.warning("cannot accept a connection: %s; raise the limit of open files", error)
                    return -1
                continue  # The client was gone before it was accepted (accept(2): ECONNABORTED and the like).
            sock = socket.SocketType(self._family, socket.SOCK_STREAM, 0, descriptor)
            try:
                sock.setblocking(False)
                self._accepted(sock, _shown(address[0], address[1]))
            except OSError:
                sock.close()  # The client was gone already.
            except Exception:
                # One connection's trouble must not take the listening socket with it.
                log.exception("an accepted connection failed in a way that nobody foresaw; it is closed")
                self._reactor.defects += 1
                sock.close()
        return ACCEPTS_PER_TURN


def _shown(host: str, port: int) -> str:
    """As a `HostPort` is written."""
    return f"[{host}]:{port}" if ":" in host else f"{host}:{port}"
