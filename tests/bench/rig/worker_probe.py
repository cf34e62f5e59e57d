"""Asks a worker's local HTTP listener for services by name, on one connection, and tells what it said."""

from __future__ import annotations

import re
import socket
import time

from discovery.model import ServiceName
from tests.bench.rig.contender import BenchError
from tests.bench.rig.signed_catalog import PORT

NO_ROUTE = 404
_PAUSE_S = 0.001
_TIMEOUT_S = 30.0


class WorkerProbe:
    """A client. Answers are small, have a length, and come in order."""

    def __init__(self, address: tuple[str, int]) -> None:
        self._address = address
        self._connect()

    def _connect(self) -> None:
        self._socket = socket.create_connection(self._address, timeout=_TIMEOUT_S)
        self._socket.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)

    def status_of(self, name: ServiceName) -> int:
        """The status that a request for this service is answered with."""
        self._socket.sendall(b"GET / HTTP/1.1\r\nHost: %b:%d\r\n\r\n" % (name.fqdn.encode(), PORT))
        answer = b""
        while b"\r\n\r\n" not in answer:
            answer += self._read()
        head, _, body = answer.partition(b"\r\n\r\n")
        length = re.search(rb"(?i)content-length: *(\d+)", head)
        if length is None:
            raise BenchError(f"an answer without a length: {head[:200]!r}")
        missing = int(length[1]) - len(body)
        while missing > 0:
            missing -= len(self._read())
        if b"connection: close" in head.lower():
            self.close()
            self._connect()
        return int(head.split(b" ")[1])

    def wait_for(self, name: ServiceName, wanted: int, timeout_s: float) -> float:
        """When (by the machine's clock) a request was first answered with `wanted`. Raises BenchError."""
        give_up_at = time.monotonic() + timeout_s
        while (status := self.status_of(name)) != wanted:
            if time.monotonic() > give_up_at:
                raise BenchError(f"{name} is answered with {status}, not {wanted}, {timeout_s:g} s after it should be")
            time.sleep(_PAUSE_S)
        return time.monotonic()

    def _read(self) -> bytes:
        data = self._socket.recv(65_536)
        if not data:
            raise BenchError("the worker closed the probe's connection")
        return data

    def close(self) -> None:
        self._socket.close()
