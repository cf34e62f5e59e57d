"""TCP between clusters: a virtual IP is a byte stream to another cluster, with all that TCP clients do."""

from __future__ import annotations

import random
import socket
import struct
from concurrent.futures import ThreadPoolExecutor

import pytest

from gateway.demo.lab import Lab
from gateway.demo.tcp_client import echo

pytestmark = pytest.mark.processes


def ledger(lab: Lab) -> tuple[str, int]:
    return lab["east"].vip("ledger"), lab.numbers.client_ports["tcp"]


def test_the_client_ends_its_side_first(lab: Lab) -> None:
    """Half-close: what comes after the client's end still arrives, and then the server's end does."""
    with socket.create_connection(ledger(lab), timeout=10) as sock:
        sock.sendall(b"the last words")
        sock.shutdown(socket.SHUT_WR)
        received = b""
        while data := sock.recv(4096):
            received += data
    assert received == b"the last words"


def test_many_connections_at_once(lab: Lab) -> None:
    """Streams that share tunnels stay apart."""
    with ThreadPoolExecutor(16) as pool:
        results = [*pool.map(lambda seed: echo(ledger(lab), 500_000, random.Random(seed)), range(16))]
    assert all(result.unchanged for result in results)


def test_a_slow_reader_stops_nobody(lab: Lab) -> None:
    """A client that sends and does not read holds its own stream up, not its neighbours on the tunnel."""
    with socket.create_connection(ledger(lab), timeout=10) as lazy:
        lazy.settimeout(0.5)
        with pytest.raises(TimeoutError):
            lazy.sendall(b"x" * 200_000_000)
        result = echo(ledger(lab), 1_000_000, random.Random(3))
        assert result.unchanged


def test_clients_that_reset_harm_nobody(lab: Lab) -> None:
    """RST in the middle of a stream."""
    for _ in range(20):
        sock = socket.create_connection(ledger(lab), timeout=10)
        sock.sendall(b"x" * 10_000)
        sock.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
        sock.close()
    assert echo(ledger(lab), 100_000, random.Random(4)).unchanged
