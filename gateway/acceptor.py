"""Accepting connections from many listening sockets with one task.

A gateway listens on one virtual IP for each service, so there may be thousands of listening sockets. They wait in one
epoll of their own, and the event loop waits for that epoll, instead of a task for each socket. All workers share the
sockets: whoever comes first accepts, and one that dies takes nothing with it that was not accepted yet.
"""

from __future__ import annotations

import errno
import logging
import select
import socket
from collections.abc import Callable

import trio

from discovery.address import HostPort

log = logging.getLogger("isthmus.acceptor")

# Connections taken from one socket before the others are looked at.
ACCEPTS_PER_TURN = 16
# After running out of descriptors: others may end meanwhile.
EXHAUSTED_PAUSE_S = 0.05
_EXHAUSTED = (errno.EMFILE, errno.ENFILE, errno.ENOBUFS, errno.ENOMEM)


class Acceptor:
    """Calls `accepted(sock, peer)` for each connection of the sockets that were added."""

    def __init__(self) -> None:
        self._epoll = select.epoll()
        self._listeners: dict[int, tuple[socket.socket, Callable[[socket.socket, str], None]]] = {}

    def add(self, listener: socket.socket, accepted: Callable[[socket.socket, str], None]) -> None:
        listener.setblocking(False)
        self._listeners[listener.fileno()] = (listener, accepted)
        self._epoll.register(listener.fileno(), select.EPOLLIN | select.EPOLLEXCLUSIVE)

    def remove(self, listener: socket.socket) -> None:
        """Stops accepting and closes this process's copy of the socket."""
        if self._listeners.pop(listener.fileno(), None) is not None:
            self._epoll.unregister(listener.fileno())
            listener.close()

    async def run(self) -> None:
        try:
            while True:
                await trio.lowlevel.wait_readable(self._epoll.fileno())
                for descriptor, _ in self._epoll.poll(0, 64):
                    if (entry := self._listeners.get(descriptor)) and not self._accept(*entry):
                        await trio.sleep(EXHAUSTED_PAUSE_S)
        finally:
            self._epoll.close()

    def _accept(self, listener: socket.socket, accepted: Callable[[socket.socket, str], None]) -> bool:
        """False when the process has no descriptor left."""
        for _ in range(ACCEPTS_PER_TURN):
            try:
                sock, address = listener.accept()
            except BlockingIOError:
                return True
            except OSError as error:
                if error.errno in _EXHAUSTED:
                    log.warning("cannot accept a connection: %s; raise the limit of open files", error)
                    return False
                continue  # The client was gone before it was accepted (accept(2): ECONNABORTED and the like).
            sock.setblocking(False)
            sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
            accepted(sock, str(HostPort(*address[:2])))
        return True
