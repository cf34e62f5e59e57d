"""TCP load of our own: bulk bytes in both directions, and new connections, in one thread that waits for all sockets.

The other end is the endpoint that `endpoint_server.py` calls tcp. What it says of each stream is checked, so that
bytes that were lost are not counted as fast.
"""

from __future__ import annotations

import select
import socket
import time
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager

import msgspec

from tests.bench.rig.contender import BenchError

_CHUNK_BYTES = 1 << 18
_ENDLESS = 1 << 62
_CONNECT_TIMEOUT_S = 5.0
_DRAIN_TIMEOUT_S = 20.0
_QUIET_TIMEOUT_S = 10.0

Address = tuple[str, int]


class Moved(msgspec.Struct, frozen=True):
    """What went through. `count` is bytes, or connections."""

    count: int
    elapsed_s: float

    @property
    def per_s(self) -> float:
        return self.count / self.elapsed_s


def download(address: Address, connections: int, seconds: float) -> Moved:
    """Reads as fast as it comes, on so many connections at once. Raises BenchError if one ends or nothing comes."""
    buffer = bytearray(_CHUNK_BYTES)
    received = 0
    with _connected(address, connections) as sockets, _watching(sockets, select.EPOLLIN) as wait:
        for sock in sockets.values():
            sock.sendall(_ENDLESS.to_bytes(8, "big"))
        began = now = time.perf_counter()
        while now < began + seconds:
            for sock in wait():
                size = sock.recv_into(buffer)
                if size == 0:
                    raise BenchError(f"a download from {address} ended after {received} bytes on all connections")
                received += size
            now = time.perf_counter()
    return Moved(received, now - began)


def upload(address: Address, connections: int, seconds: float) -> Moved:
    """Writes as fast as it goes, then ends the streams and counts what the endpoint says it got. Raises BenchError."""
    chunk = bytes(_CHUNK_BYTES)
    with _connected(address, connections) as sockets, _watching(sockets, select.EPOLLOUT) as wait:
        sent = dict.fromkeys(sockets, 0)
        for sock in sockets.values():
            sock.sendall(bytes(8))
        began = now = time.perf_counter()
        while now < began + seconds:
            for sock in wait():
                sent[sock.fileno()] += sock.send(chunk)
            now = time.perf_counter()
        for number, sock in sockets.items():
            sock.shutdown(socket.SHUT_WR)
            sock.settimeout(_DRAIN_TIMEOUT_S)
            got = int.from_bytes(_read_exactly(sock, 8), "big")
            if got != sent[number]:
                raise BenchError(f"{address} got {got} of {sent[number]} bytes")
        return Moved(sum(sent.values()), time.perf_counter() - began)


def connect_again_and_again(address: Address, at_once: int, seconds: float) -> Moved:
    """`at_once` clients connect, ask for one byte, read it and the end, close, and begin again. Raises BenchError."""
    done = 0
    buffer = bytearray(16)
    with ExitStack() as stack:
        epoll = stack.enter_context(select.epoll())
        sockets: dict[int, socket.socket] = {}
        received: dict[int, int] = {}
        stack.callback(_close_all, sockets)

        def begin() -> None:
            # On loopback the kernel answers at once, so that connecting and sending need no waiting.
            sock = _connect(address)
            sock.sendall((1).to_bytes(8, "big"))
            sockets[sock.fileno()], received[sock.fileno()] = sock, 0
            epoll.register(sock.fileno(), select.EPOLLIN)

        began = now = time.perf_counter()
        for _ in range(at_once):
            begin()
        while now < began + seconds:
            ready = epoll.poll(_QUIET_TIMEOUT_S)
            if not ready:
                raise BenchError(f"{address} was silent for {_QUIET_TIMEOUT_S:g} s")
            for number, _ in ready:
                size = sockets[number].recv_into(buffer)
                received[number] += size
                if size:
                    continue
                if received[number] != 1:
                    raise BenchError(f"a connection to {address} ended after {received[number]} bytes in place of 1")
                sockets.pop(number).close()
                done += 1
                begin()
            now = time.perf_counter()
    return Moved(done, now - began)


def check_tcp(address: Address) -> None:
    """A stream in each direction arrives whole, and the end of it as well. Raises BenchError."""
    size = 3_000_000
    with _connected(address, 1) as sockets:
        (sock,) = sockets.values()
        sock.settimeout(_DRAIN_TIMEOUT_S)
        sock.sendall(size.to_bytes(8, "big"))
        _read_exactly(sock, size)
        if sock.recv(1):
            raise BenchError(f"more bytes came from {address} than were asked for")
    upload(address, 1, 0.1)


def _close_all(sockets: dict[int, socket.socket]) -> None:
    for sock in sockets.values():
        sock.close()


@contextmanager
def _connected(address: Address, count: int) -> Iterator[dict[int, socket.socket]]:
    """So many non-blocking connections, by file number."""
    with ExitStack() as stack:
        sockets = [stack.enter_context(_connect(address)) for _ in range(count)]
        for sock in sockets:
            sock.setblocking(False)
        yield {sock.fileno(): sock for sock in sockets}


def _connect(address: Address) -> socket.socket:
    try:
        return socket.create_connection(address, timeout=_CONNECT_TIMEOUT_S)
    except OSError as error:
        raise BenchError(f"{address} can't be connected to: {error}") from error


@contextmanager
def _watching(sockets: dict[int, socket.socket], events: int) -> Iterator[Callable[[], list[socket.socket]]]:
    """Gives what waits until some of them are ready, and returns those."""
    with select.epoll() as epoll:
        for number in sockets:
            epoll.register(number, events)

        def wait() -> list[socket.socket]:
            ready = epoll.poll(_QUIET_TIMEOUT_S)
            if not ready:
                raise BenchError(f"nothing moved for {_QUIET_TIMEOUT_S:g} s")
            return [sockets[number] for number, _ in ready]

        yield wait


def _read_exactly(sock: socket.socket, size: int) -> bytes:
    data = bytearray()
    while len(data) < size:
        try:
            more = sock.recv(min(_CHUNK_BYTES, size - len(data)))
        except OSError as error:
            raise BenchError(f"{len(data)} of {size} bytes came, and then: {error!r}") from error
        if not more:
            raise BenchError(f"the stream ended after {len(data)} of {size} bytes")
        data += more
    return bytes(data)
