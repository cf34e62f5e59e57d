"""Workers come and go under load: more, fewer, and those of another version; no request is lost."""

from __future__ import annotations

import os
import re
import signal
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from gateway.demo.waiting import wait_until
from tests.fault_rig.clusters import FaultLab, Gateway, Site, open_fault_lab
from tests.fault_rig.load import Load, now

pytestmark = [pytest.mark.processes, pytest.mark.long]


@pytest.fixture(scope="module")
def lab(tmp_path_factory: pytest.TempPathFactory) -> Iterator[FaultLab]:
    west = Site("west", {"payments": 1})
    with open_fault_lab(tmp_path_factory.mktemp("lab"), Site("east"), west) as lab:
        yield lab


def workers(gateway: Gateway) -> set[int]:
    return {worker.pid for worker in gateway.status().workers if worker.ready}


def set_workers(count: int, *gateways: Gateway) -> None:
    """Changes the configurations and waits until that many serve, and nobody else is left."""
    for gateway in gateways:
        text = re.sub("workers: [0-9]+,", f"workers: {count},", gateway.config_path.read_text())
        gateway.config_path.write_text(text)
        os.kill(gateway.group.pid("gateway"), signal.SIGHUP)
    wait_until(
        lambda: all(len(gateway.status().workers) == count == len(workers(gateway)) for gateway in gateways),
        f"{count} workers serve, and nobody else is left",
        timeout_s=40,
    )


def test_more_workers_and_fewer(lab: FaultLab) -> None:
    """Where the requests come from and where they go: SIGHUP with another number of workers."""
    east, west = lab["east"].gateways[0], lab["west"].gateways[0]
    with Load(lab.plan()) as load:
        load.wait_served_by("west")
        began = now()
        first = workers(east), workers(west)
        set_workers(3, east, west)
        assert first[0] < workers(east)
        assert first[1] < workers(west)
        load.wait_more(30)
        set_workers(1, east, west)
        load.wait_more(30)
        for kind in ("get", "post"):
            account = load.account(kind, since=began)
            print(account)
            assert account.failed == 0


def test_an_upgrade(lab: FaultLab, tmp_path: Path) -> None:
    """The controller is killed and one of a newer version comes: it takes the workers over and replaces them, each only
    when another serves. What says the version is the metadata of what is installed, so that is what differs."""
    west = lab["west"].gateways[0]
    installed = tmp_path / "isthmus-9.9.9.dist-info"
    installed.mkdir()
    (installed / "METADATA").write_text("Metadata-Version: 2.1\nName: isthmus\nVersion: 9.9.9\n")
    environment = {**os.environ, "PYTHONPATH": f"{tmp_path}:{os.environ.get('PYTHONPATH', os.getcwd())}"}
    with Load(lab.plan()) as load:
        load.wait_served_by("west")
        old = workers(west)
        began = now()
        os.kill(west.group.pid("gateway"), signal.SIGKILL)
        with (tmp_path / "log").open("w") as log:
            command = [sys.executable, "-m", "gateway", "run", "-c", str(west.config_path)]
            newer = subprocess.Popen(command, env=environment, stdout=log, stderr=log)
        try:

            def replaced() -> bool:
                status = west.status()
                return {worker.version for worker in status.workers} == {"9.9.9"} and len(workers(west)) == len(old)

            wait_until(replaced, "all workers are of the newer version", timeout_s=60)
            load.wait_more(30)
            account = load.account(since=began)
            print(account)
            assert account.failed == 0
            assert not old & workers(west)
            assert "is replaced by one of 9.9.9" in (tmp_path / "log").read_text()
        finally:
            newer.terminate()
            newer.wait(60)
