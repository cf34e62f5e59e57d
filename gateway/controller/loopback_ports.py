"""Ports on loopback for a program that shall keep them over restarts."""

from __future__ import annotations

import os
import socket
import zlib
from collections.abc import Iterator
from pathlib import Path

LOOPBACK = "127.0.0.1"
_FIRST_PORT = 20_000
_PORT_COUNT = 10_000
"""Ports are looked for from 20000 to 29999, below the range that systems take for outgoing connections: a client that
keeps connecting to a port of that range while its server is down can get it as its own end, and so keep the server
from it."""


def is_free(port: int) -> bool:
    """Whether a program may listen there now."""
    with socket.socket() as probe:
        # As servers set it: connections of an earlier run that linger don't keep the port.
        probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        try:
            probe.bind((LOOPBACK, port))
        except OSError:
            return False
        return True


def free_ports_for(directory: Path) -> Iterator[int]:
    """Free ports, for a program that keeps its state in `directory`. Where the search begins follows from the
    directory: programs that start at the same time on one machine don't look at the same ports."""
    first = zlib.crc32(os.fsencode(directory)) % _PORT_COUNT
    candidates = (_FIRST_PORT + (first + step) % _PORT_COUNT for step in range(_PORT_COUNT))
    return (port for port in candidates if is_free(port))
