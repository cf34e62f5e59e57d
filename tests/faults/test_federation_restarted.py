"""A gateway starts with a good disk: it asks etcd for what is new only, and believes what a whole listing would say.

West lies in etcd as its gateway would have written it, and nobody puts right what is done to it.
"""

from __future__ import annotations

import re
import shutil
import time
from collections.abc import Awaitable, Callable
from pathlib import Path as FilePath

import pytest
import trio

from discovery.model import Port, Protocol, ServiceName
from federation import paths
from federation.cache import CatalogCache
from federation.etcd.client import EtcdClient, open_etcd
from federation.etcd.config import EtcdConfig
from federation.etcd.kv import Op
from federation.paths import BUNDLE, Kind, Path
from federation.values import ExportValue, encode
from tests.etcd_server import EtcdServer
from tests.federation_members import LAYOUT, FederationMember, as_peers, forge, make_authority, run_member, until
from trust.authority import Authority
from trust.bundle import encode_bundle

COUNT = 300
"""More than are listed as quickly as they are asked for."""


def name(number: int) -> ServiceName:
    return ServiceName("shop", f"s{number}")


class West:
    """What it says, in etcd."""

    def __init__(self, authority: Authority) -> None:
        self.authority = authority
        self.sequence = 1

    def put(self, path: Path, value: bytes) -> Op:
        self.sequence += 1
        raw = forge(
            self.authority,
            "west",
            path,
            value,
            sequence=self.sequence,
            issued_at=time.time(),
            with_chain=path == BUNDLE,
        )
        return Op.put(LAYOUT.key("west", path), raw)

    def export(self, number: int, port: int = 80) -> Op:
        value = ExportValue((Port("main", port, Protocol.HTTP),), ("*",), 1.0)
        return self.put(paths.export(name(number)), encode(value))

    async def say_all(self, etcd: EtcdClient) -> None:
        await etcd.txn([], [self.put(BUNDLE, encode_bundle(self.authority.bundle(1)))])
        for begin in range(0, COUNT, 100):
            await etcd.txn([], [self.export(number) for number in range(begin, begin + 100)])


def offers(member: FederationMember) -> dict[str, int]:
    return {service.name: view.ports[0].port for service, view in member.federation.services().items()}


def unread(caplog: pytest.LogCaptureFixture) -> list[int]:
    """Of each listing of etcd: how many keys it left out."""
    found = (re.search(r"etcd: read in .* s, (\d+) of its keys as the disk", line) for line in caplog.messages)
    return [int(match[1]) for match in found if match is not None]


class Stage:
    """East, run again and again on the same disk."""

    def __init__(self, directory: FilePath, server: EtcdServer, caplog: pytest.LogCaptureFixture) -> None:
        self.directory = directory
        self.server = server
        self.caplog = caplog
        caplog.set_level("INFO", "isthmus.federation")
        authorities = {cluster: make_authority(directory, cluster) for cluster in ("east", "west")}
        self.west = West(authorities["west"])
        self.peers = as_peers(authorities)

    async def run(self, meanwhile: Callable[[FederationMember], Awaitable[object]], count: int = COUNT) -> int:
        """Until east knows `count` services and `meanwhile` is done. Returns how many keys its listing left out."""
        self.caplog.clear()
        async with run_member(self.directory, "east", self.peers, self.server.endpoint) as east:
            await until(lambda: east.federation.status().etcd.synced and len(offers(east)) == count, 30.0)
            await meanwhile(east)
            await self.wait_saved(east)
        return unread(self.caplog)[0]

    async def wait_saved(self, east: FederationMember) -> None:
        """Until a copy of the disk, as a crash would leave it, has all addresses as etcd has them, and a bookmark for
        them. The journals are written once a second."""
        addresses = LAYOUT.all_of("east", Kind.VIP).begin
        with trio.fail_after(30.0):
            while True:
                cache = CatalogCache(self.directory / "east" / "catalog")
                cached, bookmark = cache.load(), cache.bookmarks.get("")
                entries = cached["east"].entries if "east" in cached else {}
                saved = {path.service: entry.sequence for path, entry in entries.items() if path.kind is Kind.VIP}
                lying = {kv.key: kv.mod_revision for kv in (await east.etcd.read_prefix(addresses)).kvs}
                agreed = {LAYOUT.key("east", paths.vip(service)): at for service, at in saved.items()}
                all_lie = len(lying) == len(offers(east))
                if all_lie and agreed == lying and bookmark is not None and "east" in bookmark.clusters:
                    return
                await trio.sleep(0.1)


async def nothing(east: FederationMember) -> None:
    pass


async def test_what_changed_meanwhile_is_asked_for(
    tmp_path: FilePath, etcd_server: EtcdServer, caplog: pytest.LogCaptureFixture
) -> None:
    """Exports and our own addresses are not listed again; what came, changed or went while the gateway was off is seen,
    and the gateway follows from there."""
    stage = Stage(tmp_path, etcd_server, caplog)
    west = stage.west

    async def change(east: FederationMember) -> None:
        await west.say_all(east.etcd)
        await until(lambda: len(offers(east)) == COUNT)

    assert await stage.run(change, 0) == 0
    assert await stage.run(nothing) == 2 * COUNT, "exports and addresses"
    async with open_etcd(EtcdConfig(endpoints=(etcd_server.endpoint,))) as etcd:
        await etcd.txn([], [west.export(1, port=81), west.export(COUNT)])

    async def look(east: FederationMember) -> None:
        assert offers(east) == {f"s{number}": 81 if number == 1 else 80 for number in range(COUNT + 1)}
        await east.etcd.txn([], [west.export(2, port=82)])
        await until(lambda: offers(east)["s2"] == 82)

    assert await stage.run(look, COUNT + 1) == 2 * COUNT - 1
    async with open_etcd(EtcdConfig(endpoints=(etcd_server.endpoint,))) as etcd:
        await etcd.delete(LAYOUT.key("west", paths.export(name(3))))

    async def miss(east: FederationMember) -> None:
        assert "s3" not in offers(east)
        assert offers(east)["s2"] == 82

    assert await stage.run(miss, COUNT) == COUNT + 1, "one is gone, so that exports are listed; addresses are not"
    assert await stage.run(nothing) == 2 * COUNT


async def test_another_history_is_read_as_a_whole(
    tmp_path: FilePath, etcd_server: EtcdServer, caplog: pytest.LogCaptureFixture
) -> None:
    """An etcd that was emptied and filled anew has revisions as high as before, and other records."""
    stage = Stage(tmp_path, etcd_server, caplog)
    west = stage.west

    async def fill(east: FederationMember) -> None:
        await west.say_all(east.etcd)
        await until(lambda: len(offers(east)) == COUNT)

    await stage.run(fill, 0)
    assert await stage.run(nothing) == 2 * COUNT
    etcd_server.kill()
    etcd_server.close()
    etcd_server.start()
    async with open_etcd(EtcdConfig(endpoints=(etcd_server.endpoint,))) as etcd:
        await west.say_all(etcd)
        for _ in range(4 * COUNT):
            await etcd.put(LAYOUT.key("strange", BUNDLE), b"")

    async def look(east: FederationMember) -> None:
        (peer,) = east.federation.status().peers
        assert not peer.refusals

    assert await stage.run(look) == 0
    assert await stage.run(nothing) == 2 * COUNT


async def test_a_forged_value_is_named_after_a_restart(
    tmp_path: FilePath, etcd_server: EtcdServer, caplog: pytest.LogCaptureFixture
) -> None:
    """What is refused is on no disk: a cluster of which anything is, is listed."""
    stage = Stage(tmp_path, etcd_server, caplog)

    async def forge_one(east: FederationMember) -> None:
        await stage.west.say_all(east.etcd)
        await until(lambda: len(offers(east)) == COUNT)
        await east.etcd.put(LAYOUT.key("west", paths.export(name(5))), b"forged")
        await until(lambda: bool(refused(east)))

    def refused(east: FederationMember) -> list[str]:
        (peer,) = east.federation.status().peers
        return [refusal.path for refusal in peer.refusals]

    async def look(east: FederationMember) -> None:
        assert refused(east) == ["exports/shop/s5"]
        assert offers(east)["s5"] == 80

    await stage.run(forge_one, 0)
    assert await stage.run(look) == COUNT, "the addresses"


async def test_a_killed_gateway_has_a_good_disk_too(
    tmp_path: FilePath, etcd_server: EtcdServer, caplog: pytest.LogCaptureFixture
) -> None:
    """What lies on disk at some moment fits together, not only after a goodbye; and a restart while etcd is away does
    not cost what was known."""
    stage = Stage(tmp_path, etcd_server, caplog)
    catalog, copy = tmp_path / "east" / "catalog", tmp_path / "copy"

    async def kill(east: FederationMember) -> None:
        await stage.west.say_all(east.etcd)
        await until(lambda: len(offers(east)) == COUNT)
        await stage.wait_saved(east)
        shutil.copytree(catalog, copy)

    await stage.run(kill, 0)
    shutil.rmtree(catalog)
    shutil.copytree(copy, catalog)
    await trio.to_thread.run_sync(etcd_server.kill)
    async with run_member(tmp_path, "east", stage.peers, etcd_server.endpoint) as east:
        await until(lambda: bool(east.federation.status().etcd.problem))
        assert len(offers(east)) == COUNT
        caplog.clear()
        await trio.to_thread.run_sync(etcd_server.start)
        await until(lambda: east.federation.status().etcd.synced, 30.0)
        assert unread(caplog) == [2 * COUNT]
