"""A thousand clients that read a kilobyte a second of a large download: each is cheap, and nobody else waits for the
gateways because of them."""

from __future__ import annotations

import selectors
import socket
import time
from collections.abc import Iterator
from contextlib import ExitStack
from pathlib import Path

import pytest

from discovery.address import parse_host_port
from gateway.demo.waiting import wait_until
from tests.fault_rig.clusters import FaultLab, Site, open_fault_lab
from tests.fault_rig.load import Load, now

pytestmark = [pytest.mark.processes, pytest.mark.long]

READERS = 1_000
DOWNLOAD_BYTES = 1_000_000_000
HELD_LIMIT_BYTES = 1 << 20
"""In both gateways together, for each reader."""
IDLE_LIMIT_BYTES = 16 << 10
"""In both workers together. 4.5 KiB were seen."""
READ_S = 4
GAP_LIMIT_S = 5.0
"""Of a busy machine. What was seen is in docs/performance.md."""


@pytest.fixture(scope="module")
def lab(tmp_path_factory: pytest.TempPathFactory) -> Iterator[FaultLab]:
    """What is downloaded comes from a process of its own: the others' requests shall wait for gateways, if for
    anything, and not for an endpoint that is as busy. For the same reason nobody checks its health."""
    west = Site("west", {"payments": 1, "archive": 1}, apart=("archive",), health="")
    sites = Site("east", failover=("west",)), west
    with open_fault_lab(tmp_path_factory.mktemp("lab"), *sites) as lab:
        yield lab


def test_slow_readers_cost_little_and_stop_nobody(lab: FaultLab) -> None:
    """Their downloads stand still while others' requests go over the same tunnels; what they hold is bounded."""
    with Load(lab.plan()) as load, ExitStack() as stack:
        load.wait_served_by("west")
        before = held_bytes(lab)
        readers = [stack.enter_context(begin_download(lab)) for _ in range(READERS)]
        begun: set[socket.socket] = set()
        filling = now()

        def all_begun() -> bool:
            begun.update(read_slowly(readers))
            return len(begun) == READERS

        wait_until(all_begun, "every download has begun", timeout_s=60)
        held, earlier = read_for_a_second(readers, lab), before
        while held > earlier:
            held, earlier = read_for_a_second(readers, lab), held
        full = now()
        held = max(read_for_a_second(readers, lab) for _ in range(READ_S))
        each = (held - before) / READERS
        gets = load.account(since=full)
        print(f"{each / 1024:.0f} KiB for each reader; {gets}; before: {load.account(since=filling, until=full)}")
        assert load.account(since=filling).failed == 0
        assert load.account(since=filling).gap_s < GAP_LIMIT_S
        assert each < HELD_LIMIT_BYTES


def test_idle_connections_cost_little(lab: FaultLab) -> None:
    """What a worker keeps for a client that is there, was answered, and says nothing: a codec and what is beside."""
    east = lab.gateway
    where = parse_host_port(east.addresses.http)
    request = f"GET / HTTP/1.1\r\nhost: {lab.plan().authority}\r\n\r\n".encode()
    with ExitStack() as stack:
        # The first ones cost what the worker keeps for all.
        for _ in range(50):
            ask(stack.enter_context(socket.create_connection((where.host, where.port), timeout=30)), request)
        before = held_bytes(lab)
        for _ in range(READERS):
            ask(stack.enter_context(socket.create_connection((where.host, where.port), timeout=30)), request)
        each = (held_bytes(lab) - before) / READERS
        print(f"{each / 1024:.1f} KiB for each idle connection")
        assert each < IDLE_LIMIT_BYTES


def ask(sock: socket.socket, request: bytes) -> None:
    sock.sendall(request)
    assert sock.recv(4_096).startswith(b"HTTP/1.1 200 ")


def begin_download(lab: FaultLab) -> socket.socket:
    """A client with next to no buffer of its own."""
    where = parse_host_port(lab.gateway.addresses.http)
    sock = socket.socket()
    sock.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 4_096)
    sock.connect((where.host, where.port))
    sock.sendall(f"GET /bytes/{DOWNLOAD_BYTES} HTTP/1.1\r\nhost: {lab.plan('archive').authority}\r\n\r\n".encode())
    return sock


def read_for_a_second(readers: list[socket.socket], lab: FaultLab) -> int:
    """Returns what the gateways hold at its end."""
    read_slowly(readers)
    time.sleep(1)
    return held_bytes(lab)


def read_slowly(readers: list[socket.socket]) -> list[socket.socket]:
    """Reads up to a kilobyte of each; returns those that had something."""
    with selectors.DefaultSelector() as selector:
        for sock in readers:
            selector.register(sock, selectors.EVENT_READ, sock)
        ready = [key.data for key, _ in selector.select(0)]
    for sock in ready:
        assert sock.recv(1_000), "a download ended"
    return ready


def held_bytes(lab: FaultLab) -> int:
    """Memory of the workers of both gateways, what they share with others counted in part."""
    workers = [worker.pid for cluster in lab.clusters.values() for worker in cluster.gateways[0].status().workers]
    assert len(workers) == len(lab.clusters)
    return sum(_pss_bytes(pid) for pid in workers)


def _pss_bytes(pid: int) -> int:
    rollup = Path(f"/proc/{pid}/smaps_rollup").read_text()
    (line,) = [line for line in rollup.splitlines() if line.startswith("Pss:")]
    return int(line.split()[1]) * 1024
