"""Clients that make one request each and keep their connections."""

from __future__ import annotations

import resource
import socket
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager

from tests.bench.rig.contender import BenchError, MissingProgram

_TIMEOUT_S = 10.0
_FILES_BESIDES = 1000


@contextmanager
def idle_connections(address: tuple[str, int], authority: str, count: int) -> Iterator[None]:
    """So many HTTP/1.1 connections, each after one GET that was answered with 200. Raises BenchError."""
    request = f"GET / HTTP/1.1\r\nhost: {authority}\r\n\r\n".encode()
    with ExitStack() as stack:
        for number in range(count):
            try:
                sock = stack.enter_context(socket.create_connection(address, timeout=_TIMEOUT_S))
                sock.sendall(request)
                answer = _read_answer(sock)
            except OSError as error:
                raise BenchError(f"client {number + 1} of {count} at {address}: {error!r}") from error
            if not answer.startswith(b"HTTP/1.1 200"):
                raise BenchError(f"client {number + 1} of {count} at {address} got {answer[:200]!r}")
        yield


def _read_answer(sock: socket.socket) -> bytes:
    """Head and body of a response with a content-length."""
    data = b""
    while True:
        more = sock.recv(65_536)
        if not more:
            raise OSError(f"the connection ended after {data[:200]!r}")
        data += more
        head, end, body = data.partition(b"\r\n\r\n")
        fields = dict(line.lower().split(b":", 1) for line in head.split(b"\r\n")[1:])
        if end and len(body) >= int(fields.get(b"content-length", b"0")):
            return data


def allow_files(connections: int, services: int) -> None:
    """Raises this process's limit of open files, which those that it starts inherit.

    Raises MissingProgram if the system does not allow as many as a gateway with so many clients and listeners needs.
    """
    wanted = connections + 2 * services + _FILES_BESIDES
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    if hard != resource.RLIM_INFINITY and hard < wanted:
        raise MissingProgram(f"a process may open {hard} files here, and {wanted} are needed: ulimit -Hn {wanted}")
    if soft != resource.RLIM_INFINITY and soft < wanted:
        resource.setrlimit(resource.RLIMIT_NOFILE, (wanted, hard))
