"""Floods on the local listener of a running gateway: each costs whoever sends it the connection, and nobody else."""

from __future__ import annotations

import re
import resource
import socket
import time
from collections.abc import Callable, Iterator
from contextlib import ExitStack

import pytest

from discovery.address import parse_host_port
from gateway.demo.waiting import wait_until
from gateway.transport.idle import HEAD_S
from tests.fault_rig.clusters import FaultLab, Site, open_fault_lab
from tests.fault_rig.load import Load, now
from tests.http2_wire import GET, POST, Wire

pytestmark = [pytest.mark.processes, pytest.mark.long]

SILENT_CONNECTIONS = 2_000
GAP_LIMIT_S = 5.0
_REFUSED = re.compile(r'^isthmus_refusals_total\{listener="http",reason="([a-z-]+)"\} ([0-9.e+]+)$', re.M)


@pytest.fixture(scope="module")
def lab(tmp_path_factory: pytest.TempPathFactory) -> Iterator[FaultLab]:
    sites = Site("east", failover=("west",)), Site("west", {"payments": 1})
    with open_fault_lab(tmp_path_factory.mktemp("lab"), *sites) as lab:
        yield lab


def pings(wire: Wire, authority: bytes) -> Iterator[bytes]:
    while True:
        yield wire.ping() * 1_000


def settings(wire: Wire, authority: bytes) -> Iterator[bytes]:
    while True:
        yield wire.settings({}) * 1_000


def rapid_resets(wire: Wire, authority: bytes) -> Iterator[bytes]:
    """CVE-2023-44487."""
    for stream_id in range(1, 200_000, 2):
        yield wire.headers(stream_id, GET) + wire.rst(stream_id, 8)


def continuations(wire: Wire, authority: bytes) -> Iterator[bytes]:
    """CVE-2024-27316."""
    yield wire.headers(1, [*GET, (b"x", b"y" * 20_000)], pieces=400)


def hpack_bomb(wire: Wire, authority: bytes) -> Iterator[bytes]:
    """A field of 4 KiB, put into the table once and named again by a byte each: half a gigabyte for half a megabyte."""
    yield wire.headers(1, [*GET, *[(b"x", b"y" * 3_800)] * 30_000], pieces=8)


def empty_data(wire: Wire, authority: bytes) -> Iterator[bytes]:
    """CVE-2019-9518, on a request that is open: DATA of one that is over is thrown away unseen."""
    yield wire.headers(1, [*POST[:2], (b":authority", authority), POST[3]])
    while True:
        yield wire.data(1, b"") * 1_000


Flood = Callable[[Wire, bytes], Iterator[bytes]]
FLOODS: list[Flood] = [
    pings,
    settings,
    rapid_resets,
    continuations,
    hpack_bomb,
    empty_data,
]


@pytest.mark.parametrize("flood", FLOODS, ids=lambda flood: flood.__name__)
def test_a_flood_ends_its_connection(lab: FaultLab, flood: Flood) -> None:
    """The flooder reads nothing, and its connection ends; the refusal is counted; others' requests go on."""
    with Load(lab.plan()) as load:
        load.wait_served_by("west")
        began, before = now(), refused(lab)
        with connect(lab) as sock:
            pour(sock, flood(Wire(), lab.plan().authority.encode()))
        wait_until(lambda: refused(lab) > before, "the refusal is counted", timeout_s=20)
        load.wait_more(30)
        gets = load.account(since=began)
        assert gets.failed == 0
        assert gets.gap_s < GAP_LIMIT_S
        assert lab.gateway.status().ready


def test_connections_that_say_nothing(lab: FaultLab) -> None:
    """They cost a descriptor each, and end when the time for a head has passed where they began one."""
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    wanted = SILENT_CONNECTIONS + 500
    if hard != resource.RLIM_INFINITY and hard < wanted:
        pytest.skip(f"only {hard} open files are allowed here")
    resource.setrlimit(resource.RLIMIT_NOFILE, (max(soft, wanted), hard))
    with Load(lab.plan()) as load, ExitStack() as stack:
        load.wait_served_by("west")
        began = now()
        silent = [stack.enter_context(connect(lab)) for _ in range(SILENT_CONNECTIONS)]
        trickling = [stack.enter_context(connect(lab)) for _ in range(100)]
        for sock in trickling:
            sock.sendall(b"GET / HTTP/1.1\r\n")
        load.wait_more(30)
        for sock in trickling:
            assert b"408" in read_to_end(sock, HEAD_S + 15)
        gets = load.account(since=began)
        assert gets.failed == 0
        assert gets.gap_s < GAP_LIMIT_S
        assert all(is_open(sock) for sock in silent)


def connect(lab: FaultLab) -> socket.socket:
    where = parse_host_port(lab.gateway.addresses.http)
    return socket.create_connection((where.host, where.port), timeout=10)


def pour(sock: socket.socket, flood: Iterator[bytes]) -> None:
    """Sends until the gateway has had enough. It throws away what comes for a second after it said so."""
    give_up_at = time.monotonic() + 20
    try:
        sock.sendall(Wire().hello(client=True))
        for data in flood:
            sock.sendall(data)
            assert time.monotonic() < give_up_at, "the gateway takes it all"
        read_to_end(sock, 10)
    except (ConnectionError, TimeoutError):
        pass


def read_to_end(sock: socket.socket, timeout_s: float) -> bytes:
    sock.settimeout(timeout_s)
    received = b""
    try:
        while data := sock.recv(65_536):
            received += data
    except ConnectionError:
        pass
    return received


def is_open(sock: socket.socket) -> bool:
    sock.setblocking(False)
    try:
        return bool(sock.recv(1))
    except BlockingIOError:
        return True


def refused(lab: FaultLab) -> float:
    """How many connections the local listener has refused or ended."""
    metrics = lab.gateway.ask("/metrics").decode()
    return sum(float(count) for _, count in _REFUSED.findall(metrics))
