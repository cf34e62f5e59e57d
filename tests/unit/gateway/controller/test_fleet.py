"""The worker processes: real ones where their lives are the point, and one that says what a test wants where their
words are."""

from __future__ import annotations

import gc
import os
import re
import signal
from pathlib import Path

import pytest
import trio
import trio.testing

from gateway.control import (
    Drain,
    Hello,
    ListenerSpec,
)
from gateway.process.state_dir import WORKERS_FILE
from gateway.version import VERSION
from tests.fleet_rig import alive, controller, ended, puppet
from tests.gateway_ends import make_authority, wait_until
from trust.authority import Authority


@pytest.fixture(scope="module")
def authority(tmp_path_factory: pytest.TempPathFactory) -> Authority:
    return make_authority(tmp_path_factory.mktemp("authority"), "east")


# Real processes.


@pytest.mark.processes
async def test_workers_live_die_and_are_replaced(tmp_path: Path, authority: Authority) -> None:
    """Two are started and get certified; one is killed, and a new one comes in its place; draining ends all."""
    async with controller(tmp_path, 2, authority) as (side, _):
        side.listeners.open(ListenerSpec("http", "http", "127.0.0.1:0"))
        side.fleet.start()
        await wait_until(lambda: len(side.ready()) == 2)
        victim, other = side.ready()
        os.kill(victim, signal.SIGKILL)
        await wait_until(lambda: len(side.ready()) == 2 and victim not in side.ready())
        assert other in side.ready()
        pids = side.ready()
        await ended(side)
        assert not any(alive(pid) for pid in pids)


@pytest.mark.processes
@pytest.mark.filterwarnings(
    # The first controller ends without a word to its workers, and its process objects with it.
    "ignore:subprocess [0-9]+ is still running:ResourceWarning",
    "ignore:unclosed file <_io.FileIO:ResourceWarning",
)
async def test_workers_outlive_their_controller(tmp_path: Path, authority: Authority) -> None:
    """The next controller gets the same processes, and their sockets, also when these are more than one message
    holds. One that does not come forward holds addresses that are needed: it is killed and replaced."""
    vips = [ListenerSpec(f"vip/a/s{i}/http", "vip", "127.0.0.1:0", f"service/a/s{i}", "http") for i in range(300)]
    async with controller(tmp_path, 2, authority) as (side, _):
        for spec in vips:
            side.listeners.open(spec)
        addresses = {spec.name: side.listeners.address(spec.name) for spec in vips}
        side.fleet.start()
        await wait_until(lambda: len(side.ready()) == 2)
        frozen, kept = side.ready()
    os.kill(frozen, signal.SIGSTOP)
    async with controller(tmp_path, 2, authority) as (side, _):
        assert {name: side.listeners.address(name) for name in addresses} == addresses
        side.fleet.start()
        await wait_until(lambda: len(side.ready()) == 2)
        assert kept in side.ready()
        assert not alive(frozen)
        os.kill(kept, signal.SIGKILL)
        await wait_until(lambda: len(side.ready()) == 2 and kept not in side.ready())
        await ended(side)
    gc.collect()


@pytest.mark.processes
async def test_a_worker_that_does_not_end_is_ended(tmp_path: Path, authority: Authority) -> None:
    """A frozen one hears nothing of a drain."""
    async with controller(tmp_path, 1, authority) as (side, _):
        side.fleet.start()
        await wait_until(side.ready)
        (pid,) = side.ready()
        os.kill(pid, signal.SIGSTOP)
        await ended(side, timeout_s=0.1)
        assert not alive(pid)


async def test_workers_that_are_not_wanted_are_drained(tmp_path: Path, authority: Authority) -> None:
    """Those of another version, those above the number, and those that come late, when their place is taken."""
    async with controller(tmp_path, 1, authority) as (side, _), puppet(tmp_path) as kept:
        await kept.say(Hello("w1-0", 1, VERSION))
        await wait_until(lambda: len(side.fleet.links) == 1)
        async with puppet(tmp_path) as surplus, puppet(tmp_path) as old, puppet(tmp_path) as late:
            await surplus.say(Hello("w1-1", 1, VERSION))
            await wait_until(lambda: len(side.fleet.links) == 2)
            await old.say(Hello("w1-2", 1, "0.0.1"))
            await wait_until(lambda: len(side.fleet.links) == 3)
            side.fleet.start()
            assert isinstance(await surplus.hears(Drain), Drain)
            assert isinstance(await old.hears(Drain), Drain)
            await late.say(Hello("w1-3", 1, VERSION))
            assert isinstance(await late.hears(Drain), Drain)


async def test_a_disk_that_is_full(tmp_path: Path, authority: Authority, caplog: pytest.LogCaptureFixture) -> None:
    """Or any other reason why the list of workers can't be written: serving does not depend on it."""
    async with controller(tmp_path, 1, authority) as (side, _):
        (tmp_path / "workers.new").mkdir()
        async with puppet(tmp_path) as worker:
            await worker.say(Hello("w1-0", 1, VERSION))
            await wait_until(lambda: side.fleet.links)
        assert "cannot note the workers" in caplog.text


async def test_a_list_of_workers_that_is_damaged_or_old(
    tmp_path: Path, authority: Authority, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Numbers that other processes have now are nobody's workers: nothing is waited for, and nobody is killed."""
    monkeypatch.setattr("gateway.controller.fleet.ADOPTION_TIMEOUT_S", 3600.0)
    (tmp_path / WORKERS_FILE).write_bytes(b'{"w1-0": %d}' % os.getpid())
    async with controller(tmp_path, 1, authority):
        pass
    (tmp_path / WORKERS_FILE).write_bytes(b"{damaged")
    async with controller(tmp_path, 1, authority):
        pass


async def test_a_worker_that_cannot_be_started(
    tmp_path: Path, authority: Authority, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    """No memory, no processes left: tried again, more and more rarely, while the others serve."""

    async def fail(state_dir: Path, worker_id: str) -> trio.Process:
        raise OSError(11, "Resource temporarily unavailable")

    monkeypatch.setattr("gateway.controller.fleet.start_worker", fail)
    async with controller(tmp_path, 1, authority) as (side, _):
        side.fleet.start()
        await wait_until(lambda: "starting another in 0.8 s" in caplog.text)
    waits = re.findall(r"could not be started: .*; starting another in ([0-9.]+) s", caplog.text)
    assert waits == ["0.2", "0.4", "0.8"]


@pytest.mark.processes
async def test_more_and_fewer_workers(tmp_path: Path, authority: Authority) -> None:
    """Those who may stay stay; those who go are drained, and nobody comes in their place."""
    async with controller(tmp_path, 1, authority) as (side, _):
        side.fleet.start()
        await wait_until(lambda: len(side.ready()) == 1)
        first = side.ready()
        side.fleet.resize(3)
        await wait_until(lambda: len(side.ready()) == 3)
        assert first[0] in side.ready()
        side.fleet.resize(1)
        # A worker's process may be gone before its link is.
        await wait_until(lambda: len(side.fleet._pids) == len(side.fleet.links) == 1)
        left = side.ready()
        os.kill(left[0], signal.SIGKILL)
        await wait_until(lambda: len(side.ready()) == 1 and side.ready() != left)
        await ended(side)


@pytest.mark.processes
@pytest.mark.filterwarnings(
    "ignore:subprocess [0-9]+ is still running:ResourceWarning",
    "ignore:unclosed file <_io.FileIO:ResourceWarning",
)
async def test_workers_of_another_version_are_replaced(
    tmp_path: Path, authority: Authority, monkeypatch: pytest.MonkeyPatch
) -> None:
    """One after the other: at no time can fewer serve than were wanted, but for the one that is being let go."""
    async with controller(tmp_path, 2, authority) as (side, _):
        side.fleet.start()
        await wait_until(lambda: len(side.ready()) == 2)
        old = side.ready()
    monkeypatch.setattr("gateway.controller.fleet.VERSION", "9.9.9")
    installed = tmp_path / "installed" / "isthmus-9.9.9.dist-info"
    installed.mkdir(parents=True)
    (installed / "METADATA").write_text("Metadata-Version: 2.1\nName: isthmus\nVersion: 9.9.9\n")
    monkeypatch.setenv("PYTHONPATH", f"{installed.parent}:{os.environ.get('PYTHONPATH', os.getcwd())}")
    async with controller(tmp_path, 2, authority) as (side, _):
        side.fleet.start()
        fewest = 2

        def replaced() -> bool:
            nonlocal fewest
            fewest = min(fewest, len(side.fleet._staying()) + sum(pid in old for pid in side.fleet._pids.values()))
            versions = [link.version for link in side.fleet.links.values()]
            return versions == ["9.9.9", "9.9.9"] and len(side.ready()) == 2

        await wait_until(replaced)
        assert fewest >= 2
        assert not set(old) & set(side.ready())
        await ended(side)


@pytest.mark.processes
async def test_a_worker_that_stands_still_is_replaced(
    tmp_path: Path, authority: Authority, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    """Suspended, it neither ends nor serves: it is killed, another comes, and status and log say so."""
    monkeypatch.setattr("gateway.controller.watchdog.PATIENCE_S", 5.0)
    async with controller(tmp_path, 2, authority) as (side, _):
        side.fleet.start()
        await wait_until(lambda: len(side.ready()) == 2)
        victim, other = side.ready()
        os.kill(victim, signal.SIGSTOP)
        await wait_until(lambda: side.fleet.frozen)
        await wait_until(lambda: len(side.ready()) == 2 and victim not in side.ready())
        assert other in side.ready()
        assert f"pid {victim}" in " ".join(side.fleet.frozen.values())
        assert "stands still" in caplog.text
        await ended(side)
