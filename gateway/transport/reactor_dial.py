"""Opens TCP connections without a task for each: the reactor says when one is there.

An endpoint is mostly on this machine or an address next to it. To the former the kernel connects while `connect` runs,
so that a second call already says so, and a new TCP connection costs no turn of any loop. Only names need a task.
"""

from __future__ import annotations

import errno
import os
import socket
from collections.abc import Callable
from functools import lru_cache
from typing import Final, TypeAlias

import trio

from discovery.address import parse_host_port
from gateway.transport.deadlines import Deadline
from gateway.transport.dial import NoAnswerInTime, resolve
from gateway.transport.reactor import WRITE, Reactor
from gateway.transport.resolver import Place

Done: TypeAlias = Callable[[socket.SocketType | OSError], None]
"""Called once: with a connected non-blocking socket, or with why there is none."""

# An endpoint's address is read for each connection.
ADDRESSES_KEPT: Final = 4_096
_BEGUN: Final = errno.EINPROGRESS
_UNDER_WAY: Final = (errno.EINPROGRESS, errno.EALREADY)
_CONNECTED: Final = (0, errno.EISCONN)
_STREAM: Final = socket.SOCK_STREAM | socket.SOCK_NONBLOCK
_TCP: Final = socket.IPPROTO_TCP
_NO_DELAY: Final = socket.TCP_NODELAY


def start_dial(reactor: Reactor, nursery: trio.Nursery, address: str, timeout_s: float, done: Done) -> None:
    """Connects to "host:port". `done` may be called at once with a socket; with an error it is called later."""
    dial = _Dial(reactor, address, timeout_s, done)
    place = place_of(address)
    if place is not None:
        dial.begin([place])
    else:
        dial.limit()
        nursery.start_soon(dial.look_up)


@lru_cache(maxsize=ADDRESSES_KEPT)
def place_of(address: str) -> Place | None:
    """Where "host:port" is if the host is an IP address.

    >>> place_of("127.0.0.1:80"), place_of("localhost:80")
    ((<AddressFamily.AF_INET: 2>, ('127.0.0.1', 80)), None)
    """
    try:
        where = parse_host_port(address)
    except ValueError:
        return None
    if where.ip is None:
        return None
    return (socket.AF_INET if where.ip.version == 4 else socket.AF_INET6), (where.host, where.port)


class _Dial:
    """One connection that is being opened: to the first of the address's places that accepts it."""

    def __init__(self, reactor: Reactor, address: str, timeout_s: float, done: Done) -> None:
        self._reactor = reactor
        self._address = address
        self._done: Done | None = done
        self._places: list[Place] = []
        self._trying: Place = (socket.AF_INET, ("", 0))
        self._errors: list[str] = []
        self._sock: socket.SocketType | None = None
        self._gives_up_at = reactor.now + timeout_s
        self._deadline: Deadline | None = None
        """None as long as nothing is waited for."""

    def limit(self) -> None:
        """From here on it takes time."""
        if self._deadline is None:
            self._deadline = self._reactor.call_at(self._gives_up_at, self._give_up)

    async def look_up(self) -> None:
        """For a name."""
        try:
            places = await resolve(self._address)
        except OSError as error:
            self._end(error)
        else:
            if self._done is not None:
                self.begin([*places])
        self._reactor.flush()

    def begin(self, places: list[Place]) -> None:
        self._places = places
        self._try_next()

    def _try_next(self) -> None:
        while self._places:
            family, sockaddr = self._trying = self._places.pop(0)
            try:
                sock = self._sock = socket.SocketType(family, _STREAM)
            except OSError as error:
                # No descriptors are left.
                self._errors.append(str(error))
                continue
            sock.setsockopt(_TCP, _NO_DELAY, 1)
            code = sock.connect_ex(sockaddr)
            if code == _BEGUN:
                code = sock.connect_ex(sockaddr)
            if code in _CONNECTED:
                return self._end(sock)
            if code in _UNDER_WAY:
                self.limit()
                return self._reactor.register(sock.fileno(), WRITE, self._ready)
            self._failed(sock, code)
        failure = OSError("; ".join(self._errors) or f"{self._address} has no address")
        # Who asked is not told before it knows that it has asked.
        if self._deadline is not None:
            self._deadline.cancel()
        self._deadline = self._reactor.call_at(self._reactor.now, lambda: self._end(failure))
        return None

    def _ready(self, flags: int) -> None:
        sock = self._sock
        assert sock is not None
        # Asked, not taken from the flags: these may be those of a socket that had this number when the turn began.
        code = sock.connect_ex(self._trying[1])
        if code in _UNDER_WAY:
            return
        self._reactor.unregister(sock.fileno())
        if code in _CONNECTED:
            self._end(sock)
        else:
            self._failed(sock, code)
            self._try_next()

    def _failed(self, sock: socket.SocketType, code: int) -> None:
        _, (host, port) = self._trying
        self._errors.append(f"{host}:{port}: {os.strerror(code)}")
        sock.close()
        self._sock = None

    def _give_up(self) -> None:
        if self._sock is not None:
            self._reactor.unregister(self._sock.fileno())
            self._sock.close()
        self._end(NoAnswerInTime(f"{self._address} did not answer"))

    def _end(self, result: socket.SocketType | OSError) -> None:
        done, self._done = self._done, None
        if self._deadline is not None:
            self._deadline.cancel()
        if done is not None:
            done(result)
