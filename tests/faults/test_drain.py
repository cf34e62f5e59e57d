"""A gateway is told to end (SIGTERM) under load: it finishes what runs, and others take what is new."""

from __future__ import annotations

import os
import signal
import socket
import threading
from collections.abc import Iterator
from pathlib import Path

import pytest

from discovery.address import parse_host_port
from gateway.demo.waiting import wait_until
from tests.fault_rig.clusters import FaultLab, Site, open_fault_lab
from tests.fault_rig.load import Load, now

pytestmark = [pytest.mark.processes, pytest.mark.long]

DOWNLOAD_BYTES = 20_000_000
GAP_LIMIT_S = 5.0


@pytest.fixture(scope="module")
def lab(tmp_path_factory: pytest.TempPathFactory) -> Iterator[FaultLab]:
    west = Site("west", {"payments": 1, "ledger": 1}, gateways=2)
    with open_fault_lab(tmp_path_factory.mktemp("lab"), Site("east", failover=("west",)), west) as lab:
        yield lab


def test_one_of_two_gateways_of_a_cluster_is_stopped(lab: FaultLab) -> None:
    """No GET and no POST fails, and a download that goes through it ends whole: its peers hear of it before it goes."""
    pid = lab["west"].gateways[0].group.pid("gateway")
    with Load(lab.plan(tcp="ledger")) as load:
        load.wait_served_by("west")
        downloads = [Download(lab) for _ in range(8)]
        began = now()
        os.kill(pid, signal.SIGTERM)
        assert all(download.finish() == DOWNLOAD_BYTES for download in downloads)
        wait_until(lambda: not Path(f"/proc/{pid}").exists(), "the gateway has ended", timeout_s=40)
        load.wait_more(50)
        for kind in ("get", "post"):
            account = load.account(kind, since=began)
            print(account)
            assert account.failed == 0
            assert account.gap_s < GAP_LIMIT_S


class Download(threading.Thread):
    """Reads a large answer slowly enough that it is still under way when the gateway is told to end."""

    def __init__(self, lab: FaultLab) -> None:
        super().__init__(daemon=True)
        where = parse_host_port(lab.gateway.addresses.http)
        self._sock = socket.create_connection((where.host, where.port), timeout=30)
        request = f"GET /bytes/{DOWNLOAD_BYTES} HTTP/1.1\r\nhost: {lab.plan().authority}\r\nconnection: close\r\n\r\n"
        self._sock.sendall(request.encode())
        self._received = self._sock.recv(1_000)
        self._size = 0
        self.start()

    def run(self) -> None:
        with self._sock:
            head, _, body = self._received.partition(b"\r\n\r\n")
            assert head.startswith(b"HTTP/1.1 200"), head
            self._size = len(body)
            while data := self._sock.recv(65_536):
                self._size += len(data)

    def finish(self) -> int:
        """Waits for the end; how many bytes have come."""
        self.join(60)
        return self._size
