"""The worker processes: real ones where their lives are the point, and one that says what a test wants where their
words are."""

from __future__ import annotations

import gc
import os
import signal
import socket
import struct
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path

import msgspec
import pytest
import trio
import trio.testing

from discovery.model import Locality
from gateway.control import (
    DESCRIPTORS_PER_MESSAGE,
    Certificate,
    ChannelClosed,
    ControlChannel,
    Drain,
    Hello,
    Listen,
    ListenerSpec,
    Message,
    Report,
    SigningRequest,
    Unlisten,
    listen_messages,
)
from gateway.controller.fleet import Fleet
from gateway.controller.totals import Totals
from gateway.controller.worker_link import WorkerLink
from gateway.process.state_dir import WORKERS_FILE, connect_control, prepare
from gateway.routing import RouteTable
from gateway.snapshot import LocalResource, PeerResource, Update
from gateway.transport.listeners import Listeners
from gateway.tunnel.identity import Identity
from gateway.version import VERSION
from tests.gateway_ends import make_authority, wait_until, wall_clock
from trust.authority import Authority

LOCAL = LocalResource("acme", "east", Locality(), "east.test")
NO_REPORT = Report([], {}, {})


@pytest.fixture(scope="module")
def authority(tmp_path_factory: pytest.TempPathFactory) -> Authority:
    return make_authority(tmp_path_factory.mktemp("authority"), "east")


class Side:
    """A controller, as far as its fleet needs one."""

    def __init__(self, state_dir: Path, count: int, authority: Authority) -> None:
        self.listeners = Listeners()
        self.totals = Totals()
        self.reports: list[str] = []
        self._authority = authority
        self.fleet = Fleet(
            state_dir,
            count,
            self.listeners,
            sign=self._sign,
            reported=self._reported,
            explained=lambda link, message: None,
            ended=self.totals.retire,
        )

    def _sign(self, csr: bytes) -> Certificate:
        return Certificate(self._authority.issue_gateway(csr, now=wall_clock(), lifetime_s=600.0))

    def _reported(self, link: WorkerLink, report: Report) -> None:
        self.reports.append(link.id)
        self.totals.take(link.id, report.counters, report.durations)

    def ready(self) -> list[int]:
        """Process ids of the workers that can serve."""
        return [link.pid for link in self.fleet.links.values() if link.report is not None and link.report.ready]


@asynccontextmanager
async def controller(state_dir: Path, count: int, authority: Authority) -> AsyncIterator[tuple[Side, trio.Nursery]]:
    """A controller that has adopted what there was. Its end is sudden: its workers stay."""
    prepare(state_dir)
    side = Side(state_dir, count, authority)
    async with trio.open_nursery() as nursery:
        with trio.fail_after(60):
            await side.fleet.adopt(nursery)
            side.fleet.apply({"local": LOCAL})
            side.fleet.complete()
            yield side, nursery
        nursery.cancel_scope.cancel()
    side.listeners.close_all()


def alive(pid: int) -> bool:
    try:
        return b") Z " not in Path(f"/proc/{pid}/stat").read_bytes()
    except FileNotFoundError:
        return False


async def ended(side: Side, timeout_s: float = 1.0) -> None:
    """Drains, and waits until all processes are reaped."""
    await side.fleet.drain(timeout_s)
    await wait_until(lambda: not side.fleet._pids)


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


# A worker of the test's own.


class Puppet:
    """A worker's end of the control socket."""

    def __init__(self, channel: ControlChannel) -> None:
        self.channel = channel

    async def say(self, message: Message, *sockets: socket.socket) -> None:
        await self.channel.send(message, [sock.fileno() for sock in sockets])

    async def hears(self, kind: type) -> Message:
        """The next message of a kind; others, and descriptors, are let go."""
        while True:
            message, descriptors = await self.channel.receive()
            for descriptor in descriptors:
                os.close(descriptor)
            if isinstance(message, kind):
                return message


@asynccontextmanager
async def puppet(state_dir: Path) -> AsyncIterator[Puppet]:
    channel = await connect_control(state_dir)
    try:
        yield Puppet(channel)
    finally:
        channel.close()


async def test_a_worker_is_welcomed(tmp_path: Path, authority: Authority) -> None:
    """It gets the snapshot, the sockets that it does not have, and a certificate for its key."""
    async with controller(tmp_path, 1, authority) as (side, _):
        side.listeners.open(ListenerSpec("http", "http", "127.0.0.1:0"))
        async with puppet(tmp_path) as worker:
            await worker.say(Hello("w1-0", 1, VERSION))
            assert await worker.hears(Update) == Update([LOCAL], reset=True)
            message = await worker.hears(Listen)
            assert isinstance(message, Listen)
            assert [spec.name for spec in message.listeners] == ["http"]
            await worker.say(NO_REPORT)
            await wait_until(lambda: side.reports == ["w1-0"])
            assert side.fleet.links["w1-0"].pid == os.getpid()
        await wait_until(lambda: not side.fleet.links)


async def test_a_worker_that_was_adopted_forgets_what_is_gone(tmp_path: Path, authority: Authority) -> None:
    """A peer that was taken out of the configuration while no controller ran must not be trusted on; nor may anything
    be dropped before the disk has been read."""
    prepare(tmp_path)
    side = Side(tmp_path, 1, authority)
    routes = RouteTable()
    removed, kept = PeerResource("west", "west.test", (b"root",)), PeerResource("eu", "eu.test", (b"root",))
    [*routes.apply(Update([LOCAL, removed, kept]))]
    async with trio.open_nursery() as nursery:
        await side.fleet.adopt(nursery)
        async with puppet(tmp_path) as worker:
            await worker.say(Hello("w1-0", 1, VERSION))
            await wait_until(lambda: side.fleet.links)
            side.fleet.apply({"local": LOCAL, kept.key: kept})
            while LOCAL.key not in (routes._resetting or ()):
                heard = await worker.hears(Update)
                assert isinstance(heard, Update)
                [*routes.apply(heard)]
            assert routes.peers.keys() == {"west", "eu"}
            side.fleet.complete()
            while not routes.is_whole:
                heard = await worker.hears(Update)
                assert isinstance(heard, Update)
                [*routes.apply(heard)]
            assert routes.peers.keys() == {"eu"}
        nursery.cancel_scope.cancel()


async def test_what_a_worker_knows_is_not_told_again(tmp_path: Path, authority: Authority) -> None:
    """A reload asks for all that a configuration means, and mostly one service has changed. What is gone is told in any
    case: only a controller before this one may have spoken of it."""
    async with controller(tmp_path, 1, authority) as (side, _), puppet(tmp_path) as worker:
        await worker.say(Hello("w1-0", 1, VERSION))
        assert await worker.hears(Update) == Update([LOCAL], reset=True)
        changed = msgspec.structs.replace(LOCAL, dns_ttl_s=1.0)
        side.fleet.apply({"local": LOCAL})
        side.fleet.apply({"peer/gone": None})
        assert await worker.hears(Update) == Update(removals=["peer/gone"])
        side.fleet.apply({"local": changed})
        assert await worker.hears(Update) == Update([changed])


async def test_what_a_worker_brings(tmp_path: Path, authority: Authority) -> None:
    """In as many messages as it takes. After the start nothing is taken back: what is wanted is open by then, and what
    is not must not come back through a worker that was away."""
    async with controller(tmp_path, 0, authority) as (side, _):
        entries = [
            (ListenerSpec(f"vip/{i}", "vip", "127.0.0.1:0"), socket.create_server(("127.0.0.1", 0)))
            for i in range(DESCRIPTORS_PER_MESSAGE + 1)
        ]
        async with puppet(tmp_path) as worker:
            for message, sockets in listen_messages(entries):
                await worker.say(message, *sockets)
            await worker.say(Hello("w1-0", 1, VERSION))
            await wait_until(lambda: side.fleet.links)
            assert len(side.listeners.sockets) == len(entries)
        side.fleet.start()
        side.listeners.close("vip/0")
        before = len(os.listdir("/proc/self/fd"))
        async with puppet(tmp_path) as worker:
            await worker.say(Listen([entries[0][0]]), entries[0][1])
            await worker.say(Hello("w1-0", 1, VERSION))
            assert await worker.hears(Unlisten) == Unlisten(["vip/0"])
        assert "vip/0" not in side.listeners.sockets
        await wait_until(lambda: not side.fleet.links)
        # By number, and not by name: to list them takes a descriptor, which may be any.
        await wait_until(lambda: len(os.listdir("/proc/self/fd")) <= before)
        for _, sock in entries:
            sock.close()


async def test_a_listener_that_is_elsewhere_now(tmp_path: Path, authority: Authority) -> None:
    """The configuration changed while no controller ran: the worker gets the new one, in place of the old one."""
    async with controller(tmp_path, 1, authority) as (side, _):
        new = ListenerSpec("http", "http", "127.0.0.1:0")
        side.listeners.open(new)
        old = socket.create_server(("127.0.0.1", 0))
        async with puppet(tmp_path) as worker:
            await worker.say(Listen([ListenerSpec("http", "http", "127.0.0.2:0")]), old)
            await worker.say(Hello("w1-0", 1, VERSION))
            assert await worker.hears(Listen) == Listen([new])
        old.close()


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


@pytest.mark.parametrize(
    "lie",
    [
        pytest.param(b"\x00\x00\x00\x01\x00\xc1", id="garbage"),
        pytest.param(struct.pack("!IB", 0xFFFFFFFF, 0), id="giant"),
        pytest.param(b"", id="nothing"),
    ],
)
async def test_words_that_are_none_end_one_link(tmp_path: Path, authority: Authority, lie: bytes) -> None:
    """Before a greeting and after it; others are served as before."""
    async with controller(tmp_path, 1, authority) as (side, _), puppet(tmp_path) as good:
        await good.say(Hello("w1-0", 1, VERSION))
        for greeting in (False, True):
            async with puppet(tmp_path) as bad:
                if greeting:
                    await bad.say(Hello("w1-1", 1, VERSION))
                    await wait_until(lambda: "w1-1" in side.fleet.links)
                raw = bad.channel._socket
                if lie:
                    await raw.send(lie)
                else:
                    raw.shutdown(socket.SHUT_WR)
                with pytest.raises(ChannelClosed):
                    await bad.hears(Drain)
        await wait_until(lambda: list(side.fleet.links) == ["w1-0"])
        await good.say(NO_REPORT)
        await wait_until(lambda: side.reports == ["w1-0"])


async def test_messages_that_are_not_a_workers(tmp_path: Path, authority: Authority) -> None:
    """A stranger's first word, and a controller's words back at it: no harm, and no descriptor stays."""
    before = set(os.listdir("/proc/self/fd"))
    async with controller(tmp_path, 1, authority) as (side, _):
        async with puppet(tmp_path) as stranger:
            await stranger.say(NO_REPORT)
            with pytest.raises(ChannelClosed):
                await stranger.hears(Drain)
        async with puppet(tmp_path) as worker:
            await worker.say(Hello("w1-0", 1, VERSION))
            with socket.socket() as passed:
                await worker.say(Listen([ListenerSpec("a", "vip", "127.0.0.1:1")]), passed)
            await worker.say(Drain(1.0))
            await worker.say(Hello("w1-9", 1, VERSION))
            await worker.say(NO_REPORT)
            await wait_until(lambda: side.reports == ["w1-0"])
            assert list(side.fleet.links) == ["w1-0"]
            assert side.listeners.sockets == {}
    assert set(os.listdir("/proc/self/fd")) <= before


async def test_a_signing_request_that_is_none(
    tmp_path: Path, authority: Authority, caplog: pytest.LogCaptureFixture
) -> None:
    """It gets no certificate; that is all. A good one does."""
    async with controller(tmp_path, 1, authority) as (_, _), puppet(tmp_path) as worker:
        await worker.say(Hello("w1-0", 1, VERSION))
        await worker.say(SigningRequest(b"rubbish"))
        await worker.say(SigningRequest(Identity().signing_request()))
        assert isinstance(await worker.hears(Certificate), Certificate)
        assert "gets no certificate" in caplog.text


@pytest.mark.stand_in
async def test_a_defect_in_taking_a_report(
    tmp_path: Path, authority: Authority, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    """It ends that link, and not the controller; the worker comes again."""
    async with controller(tmp_path, 1, authority) as (side, _):

        def broken(*_: object) -> None:
            raise RuntimeError("a defect")

        monkeypatch.setattr(side.totals, "take", broken)
        async with puppet(tmp_path) as worker:
            await worker.say(Hello("w1-0", 1, VERSION))
            await worker.say(NO_REPORT)
            with pytest.raises(ChannelClosed):
                await worker.hears(Drain)
        assert "nobody foresaw" in caplog.text
        async with puppet(tmp_path) as worker:
            await worker.say(Hello("w1-0", 1, VERSION))
            assert await worker.hears(Update)


async def test_a_disk_that_is_full(tmp_path: Path, authority: Authority, caplog: pytest.LogCaptureFixture) -> None:
    """Or any other reason why the list of workers can't be written: serving does not depend on it."""
    async with controller(tmp_path, 1, authority) as (side, _):
        (tmp_path / "workers.new").mkdir()
        async with puppet(tmp_path) as worker:
            await worker.say(Hello("w1-0", 1, VERSION))
            await wait_until(lambda: side.fleet.links)
        assert "cannot note the workers" in caplog.text


async def test_a_list_of_workers_that_is_damaged_or_old(tmp_path: Path, authority: Authority) -> None:
    """Numbers that other processes have now are nobody's workers: nothing is waited for, and nobody is killed."""
    (tmp_path / WORKERS_FILE).write_bytes(b'{"w1-0": %d}' % os.getpid())
    began = trio.current_time()
    async with controller(tmp_path, 1, authority):
        pass
    (tmp_path / WORKERS_FILE).write_bytes(b"{damaged")
    async with controller(tmp_path, 1, authority):
        pass
    assert trio.current_time() - began < 1.0


async def test_a_worker_that_cannot_be_started(
    tmp_path: Path, authority: Authority, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    """No memory, no processes left: tried again, more and more rarely, while the others serve."""
    tries: list[float] = []

    async def fail(state_dir: Path, worker_id: str) -> trio.Process:
        tries.append(trio.current_time())
        raise OSError(11, "Resource temporarily unavailable")

    monkeypatch.setattr("gateway.controller.fleet.start_worker", fail)
    async with controller(tmp_path, 1, authority) as (side, _):
        side.fleet.start()
        await wait_until(lambda: len(tries) == 3)
        assert tries[2] - tries[1] > 1.5 * (tries[1] - tries[0])
        assert "could not be started" in caplog.text


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
        await wait_until(lambda: len(side.fleet._pids) == 1)
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
    monkeypatch.setattr("gateway.controller.watchdog.PATIENCE_S", 3.0)
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
