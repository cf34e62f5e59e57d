"""Workers come and go under load: more, fewer, and those of another version; no request is lost."""

from __future__ import annotations

import os
import re
import signal
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

from gateway.demo.waiting import wait_until
from tests.fault_rig.clusters import FaultLab, Gateway, Site, open_fault_lab
from tests.fault_rig.load import Load, now

pytestmark = [pytest.mark.processes, pytest.mark.long]


class Installation:
    """Where gateways look first for what is installed. The version is what metadata say it is, so that is what differs
    between two."""

    def __init__(self, directory: Path) -> None:
        self._directory = directory
        self._breaker = directory / "sitecustomize.py"
        self.path = os.pathsep.join([str(directory), os.environ.get("PYTHONPATH", os.getcwd())])

    def install(self, version: str) -> None:
        (self._directory / "isthmus.dist-info").mkdir(exist_ok=True)
        metadata = f"Metadata-Version: 2.1\nName: isthmus\nVersion: {version}\n"
        (self._directory / "isthmus.dist-info" / "METADATA").write_text(metadata)

    @contextmanager
    def broken(self) -> Iterator[None]:
        """No program starts."""
        self._breaker.write_text("import os\nos.write(2, b'half of it is missing')\nos._exit(1)\n")
        yield
        self._breaker.unlink()


@pytest.fixture(scope="module")
def installation(tmp_path_factory: pytest.TempPathFactory) -> Installation:
    return Installation(tmp_path_factory.mktemp("installed"))


@pytest.fixture(scope="module")
def lab(tmp_path_factory: pytest.TempPathFactory, installation: Installation) -> Iterator[FaultLab]:
    west = Site("west", {"payments": 1})
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("PYTHONPATH", installation.path)
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


def upgrade(gateway: Gateway) -> subprocess.CompletedProcess[str]:
    """As whoever installs a new version has it done."""
    command = [sys.executable, "-m", "gateway", "upgrade", "-c", str(gateway.config_path)]
    return subprocess.run(command, capture_output=True, text=True, timeout=120, check=False)


def test_an_upgrade(lab: FaultLab, installation: Installation) -> None:
    """Where the requests come from and where they go: the controller's process stays, what runs in it is new, and so is
    every worker."""
    gateways = [lab["east"].gateways[0], lab["west"].gateways[0]]
    before = [(gateway.group.pid("gateway"), workers(gateway)) for gateway in gateways]
    installation.install("9.9.8")
    with Load(lab.plan()) as load:
        load.wait_served_by("west")
        began = now()
        for gateway, (pid, old) in zip(gateways, before, strict=True):
            done = upgrade(gateway)
            assert done.returncode == 0, done.stderr
            assert "runs 9.9.8" in done.stdout
            status = gateway.status()
            assert status.version == "9.9.8"
            assert {worker.version for worker in status.workers} == {"9.9.8"}
            assert not old & workers(gateway)
            assert gateway.group.pid("gateway") == pid
            assert not zombies_of(pid)
            load.wait_more(30)
        for kind in ("get", "post"):
            account = load.account(kind, since=began)
            print(account)
            assert account.failed == 0


def test_an_upgrade_that_would_not_start_is_refused(lab: FaultLab, installation: Installation) -> None:
    """What runs goes on, and the status says why. The command does not take an earlier refusal for its own."""
    west = lab["west"].gateways[0]
    with Load(lab.plan()) as load:
        load.wait_served_by("west")
        old, version = workers(west), west.status().version
        with installation.broken():
            os.kill(west.group.pid("gateway"), signal.SIGUSR2)
            wait_until(
                lambda: [p for p in west.status().problems if "half of it is missing" in p.message],
                "the status says why",
                timeout_s=60,
            )
        assert workers(west) == old
        assert upgrade(west).returncode == 0
        assert (west.status().version, west.status().problems) == (version, ())
        assert not old & workers(west)
        load.wait_more(30)
        assert load.account().failed == 0


def zombies_of(parent: int) -> list[int]:
    """Children of a process that have ended, and that it did not look after."""
    found = []
    for path in Path("/proc").glob("[0-9]*/stat"):
        try:
            state, of = path.read_text().rpartition(")")[2].split()[:2]
        except OSError:
            continue
        if state == "Z" and int(of) == parent:
            found.append(int(path.parent.name))
    return found


def test_a_controller_that_was_killed(lab: FaultLab, installation: Installation, tmp_path: Path) -> None:
    """The one that comes in its place is of a newer version: it takes the workers over and replaces them, each only
    when another serves."""
    west = lab["west"].gateways[0]
    installation.install("9.9.9")
    environment = {**os.environ, "PYTHONPATH": installation.path}
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
            assert "of version 9.9.8 is replaced by one of 9.9.9" in (tmp_path / "log").read_text()
        finally:
            newer.terminate()
            newer.wait(60)
