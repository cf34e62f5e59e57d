"""What workers are told and say over the control socket: to one that says what a test wants."""

from __future__ import annotations

import os
import socket
import struct
from pathlib import Path

import msgspec
import pytest
import trio
import trio.testing

from gateway.control import (
    DESCRIPTORS_PER_MESSAGE,
    Certificate,
    ChannelClosed,
    Drain,
    Hello,
    Listen,
    ListenerSpec,
    Report,
    SigningRequest,
    Unlisten,
    listen_messages,
)
from gateway.process.state_dir import prepare
from gateway.routing import RouteTable
from gateway.snapshot import PeerResource, Update
from gateway.tunnel.identity import Identity
from gateway.version import VERSION
from tests.fleet_rig import LOCAL, Side, controller, puppet
from tests.gateway_ends import make_authority, wait_until
from trust.authority import Authority

NO_REPORT = Report([], {}, {})


@pytest.fixture(scope="module")
def authority(tmp_path_factory: pytest.TempPathFactory) -> Authority:
    return make_authority(tmp_path_factory.mktemp("authority"), "east")


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
            side.fleet.links.apply({"local": LOCAL, kept.key: kept})
            while LOCAL.key not in (routes._resetting or ()):
                heard = await worker.hears(Update)
                assert isinstance(heard, Update)
                [*routes.apply(heard)]
            assert routes.peers.keys() == {"west", "eu"}
            side.fleet.links.complete()
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
        side.fleet.links.apply({"local": LOCAL})
        side.fleet.links.apply({"peer/gone": None})
        assert await worker.hears(Update) == Update(removals=["peer/gone"])
        side.fleet.links.apply({"local": changed})
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
