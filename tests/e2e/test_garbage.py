"""Garbage on every port of a gateway: refused, counted, named in status where a person would look, and nothing else
is disturbed."""

from __future__ import annotations

import random
import socket
import ssl
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager

import pytest

from gateway.demo.dns_client import DnsQuestion
from gateway.demo.lab import Cluster, Lab
from gateway.demo.load import Load
from gateway.demo.members import name_of
from gateway.demo.mesh_client import gateway_svid, svid_context
from gateway.demo.tcp_client import echo
from gateway.demo.waiting import wait_until
from tests.lab_clients import address_of

pytestmark = pytest.mark.processes

RUBBISH = [
    random.Random(1).randbytes(2_000),
    b"\x00" * 5_000,
    b"GET / HTTP/1.1\r\n" + b"x: y\r\n" * 20_000 + b"\r\n",
    b"GET /" + b"a" * 200_000,
    b"GET / HTTP/1.1\r\nhost: a\r\ncontent-length: 5\r\ntransfer-encoding: chunked\r\n\r\n0\r\n\r\n",
    b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n" + b"\xff" * 300,
    b"\x16\x03\x01\x02\x00\x01\x00\x01\xfc\x03\x03" + b"\x00" * 200,
]


def throw(address: tuple[str, int], rubbish: bytes) -> bytes:
    """Sends it and reads what comes until the gateway has had enough, at most for a moment."""
    received = b""
    with socket.create_connection(address, timeout=2) as sock:
        try:
            sock.sendall(rubbish)
            sock.shutdown(socket.SHUT_WR)
            while data := sock.recv(65_536):
                received += data
        except OSError:
            pass
    return received


@contextmanager
def undisturbed(lab: Lab) -> Iterator[None]:
    """Holds that everything else goes on meanwhile, in the same processes."""
    east = lab["east"]
    before = {worker.pid for worker in east.status().workers}
    with Load(east.addresses.http, lab.authority("payments")) as load:
        yield
        account = load.stop()
    assert account.failures == ()
    assert DnsQuestion(name_of("payments"), east.addresses.dns).ask().records
    assert echo((east.vip("ledger"), lab.numbers.client_ports["tcp"]), 10_000, random.Random(1)).unchanged
    assert {worker.pid for worker in east.status().workers} == before


def counted(cluster: Cluster, *parts: str) -> float:
    """The sum of all samples whose line has these parts."""
    lines = cluster.metrics().splitlines()
    return sum(float(line.rpartition(" ")[2]) for line in lines if all(part in line for part in parts))


def grows(cluster: Cluster, *parts: str) -> Callable[[], bool]:
    before = counted(cluster, *parts)
    return lambda: counted(cluster, *parts) > before


def named(cluster: Cluster, subject: str) -> bool:
    return any(subject in problem.subject for problem in cluster.status().problems if problem.kind == "connection")


def test_on_the_mesh_port(lab: Lab) -> None:
    """What is no TLS, TLS that stops in the middle, and rubbish from a peer that was let in."""
    east, west = lab["east"], lab["west"]
    address = address_of(east.addresses.mesh)
    seen = grows(east, "isthmus_refusals_total", 'listener="mesh"', 'reason="handshake-failed"')
    with undisturbed(lab), ExitStack() as stack:
        for _ in range(20):
            stalled = stack.enter_context(socket.create_connection(address, timeout=30))
            stalled.sendall(RUBBISH[-1])
        for rubbish in RUBBISH:
            throw(address, rubbish)
        wait_until(seen, "east counts it")
        wait_until(lambda: named(east, "mesh: handshake-failed"), "east's status names it")
        context = svid_context(gateway_svid(west.authority), east.authority.root_der)
        with socket.create_connection(address, timeout=30) as sock, context.wrap_socket(sock) as tls:
            tls.sendall(RUBBISH[0])
            # A gateway ends such a connection with a GOAWAY; what matters is that it ends.
            while True:
                try:
                    if not tls.recv(65_536):
                        break
                except (ssl.SSLError, ConnectionError):
                    break


def test_a_stalled_handshake_ends(lab: Lab) -> None:
    """A client that connects and stays silent is let go after the handshake's deadline, counted and named."""
    east = lab["east"]
    with socket.create_connection(address_of(east.addresses.mesh), timeout=30) as sock:
        assert sock.recv(1) == b""
    wait_until(lambda: named(east, "mesh: handshake-timeout"), "east's status names it")


@pytest.mark.parametrize("where", ["http", "vip"])
def test_on_http_ports(lab: Lab, where: str) -> None:
    """Bytes that are no HTTP, or HTTP that could be read in two ways: an error answer at most, then the end."""
    east = lab["east"]
    address = address_of(east.addresses.http)
    if where == "vip":
        address = (east.vip("payments"), lab.numbers.client_ports["http"])
    seen = grows(east, "isthmus_refusals_total", f'listener="{where}"')
    with undisturbed(lab):
        for rubbish in RUBBISH:
            answer = throw(address, rubbish)
            assert not answer.startswith(b"HTTP/1.1 2")
        wait_until(seen, "east counts it")
        wait_until(lambda: named(east, f"{where}: "), "east's status names it")


def test_on_the_dns_port(lab: Lab) -> None:
    """Packets and streams that are no DNS: FORMERR at most, and counted."""
    east = lab["east"]
    host, port = address_of(east.addresses.dns)
    seen = grows(east, "isthmus_dns_queries_total", 'rcode="FORMERR"')
    with undisturbed(lab):
        with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as sock:
            for size_bytes in (0, 1, 11, 12, 13, 100, 512, 4_000):
                sock.sendto(random.Random(size_bytes).randbytes(size_bytes), (host, port))
            # A question whose count of questions is wrong, with an ID to answer to.
            sock.sendto(b"\x12\x34\x01\x00\x00\x05" + b"\x00" * 6 + b"\x01a\x00\x00\x01\x00\x01", (host, port))
        for rubbish in RUBBISH:
            throw((host, port), rubbish)
        wait_until(seen, "east counts it")


def test_on_the_status_port(lab: Lab) -> None:
    """The status API is for people; what is no HTTP gets nothing there and costs nothing."""
    east = lab["east"]
    with undisturbed(lab):
        for rubbish in RUBBISH:
            assert not throw(address_of(east.addresses.status), rubbish).startswith(b"HTTP/1.1 2")
    assert east.status().ready
