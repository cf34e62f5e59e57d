"""Ports of loopback for tests that must name one before anything listens there.

They lie below the range that systems take for outgoing connections: a port of that range, free when it was looked for,
is a busy machine's next client's own end. Each process of a parallel run looks in a slice of its own, and offers each
port once, so a server that is down for a moment finds its port free when it comes back.
"""

from __future__ import annotations

import itertools
import os
import socket
from collections.abc import Iterator

from gateway.controller.loopback_ports import LOOPBACK

_FIRST_PORT = 10_000
_SLICE = 1_000
_SLICES = 10


def free_ports(count: int) -> list[int]:
    """Loopback ports that nobody has, for TCP and for UDP, all different."""
    return list(itertools.islice(_offered, count))


def free_port() -> int:
    return next(_offered)


def refusing_address() -> str:
    """An address ("host:port") where nobody listens."""
    return f"{LOOPBACK}:{free_port()}"


def _offers() -> Iterator[int]:
    slice_number = int(os.environ.get("PYTEST_XDIST_WORKER", "gw0").removeprefix("gw")) % _SLICES
    # Another run of the tests on this machine begins elsewhere in the slice.
    for step in itertools.count(os.getpid() * 37):
        port = _FIRST_PORT + slice_number * _SLICE + step % _SLICE
        if _is_free(port):
            yield port


def _is_free(port: int) -> bool:
    with socket.socket() as tcp, socket.socket(type=socket.SOCK_DGRAM) as udp:
        # As servers set it: connections of an earlier run that linger don't keep the port.
        tcp.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        try:
            tcp.bind((LOOPBACK, port))
            udp.bind((LOOPBACK, port))
        except OSError:
            return False
        return True


_offered = _offers()
