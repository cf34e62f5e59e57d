"""Two gateways of one cluster: they say the same, agree on virtual IPs, and either may die."""

from __future__ import annotations

import shutil
import time
from datetime import UTC, datetime
from pathlib import Path as FilePath

import trio

from discovery.model import ServiceName
from federation.settings import Peer
from tests.etcd_server import EtcdServer
from tests.federation_members import FederationMember, as_peers, local_service, make_authority, run_member, until
from trust.keyring import Keyring


async def until_nobody_writes(*members: FederationMember) -> None:
    """Gateways that fought over a key would never let half a second pass without a write. What one still had to say
    (an acknowledgement, say) may come first."""

    def writes() -> int:
        return sum(member.federation.status().etcd.writes for member in members)

    with trio.fail_after(15):
        seen = -1
        while seen != writes():
            seen = writes()
            await trio.sleep(0.5)


async def test_two_gateways_agree_and_one_is_enough(tmp_path: FilePath, etcd_server: EtcdServer) -> None:
    """Both write the same keys without a fight; peers see both addresses, and lose nothing with one of them."""
    peers = as_peers({name: make_authority(tmp_path, name) for name in ("east", "west")})
    url = etcd_server.endpoint
    services = tuple(local_service(f"s{number}") for number in range(20))
    names = [service.name for service in services]

    def ages(member: FederationMember) -> list[float]:
        return [member.federation.services()[name].exports[0].created for name in names]

    async with (
        run_member(tmp_path, "east", peers, url) as east,
        run_member(tmp_path, "west", peers, url, services=services) as first,
    ):
        async with run_member(tmp_path, "west", peers, url, services=services, gateway="-b") as second:
            await until(lambda: len(east.federation.peers()["west"].gateways) == 2)
            await until(lambda: all(east.sees(name.name, "west") for name in names))
            await until(
                lambda: (
                    [first.federation.vip(name) for name in names] == [second.federation.vip(name) for name in names]
                )
            )
            await until(lambda: ages(first) == ages(second))
            await until_nobody_writes(first, second)
        await until(lambda: len(east.federation.peers()["west"].gateways) == 1)
        assert east.federation.peers()["west"].gateways[0].addresses == ("gw.west.acme.test:15443",)
        assert all(east.sees(name.name, "west") for name in names)


async def test_gateways_that_chose_apart_agree_when_etcd_is_back(tmp_path: FilePath, etcd_server: EtcdServer) -> None:
    """While etcd is away each assigns by itself, and order may decide; the first writer wins when it is back."""
    peers = as_peers({"west": make_authority(tmp_path, "west")})
    url = etcd_server.endpoint
    names = [ServiceName("shop", f"s{number}") for number in range(200)]
    await trio.to_thread.run_sync(etcd_server.kill)
    async with (
        run_member(tmp_path, "west", peers, url) as first,
        run_member(tmp_path, "west", peers, url, gateway="-b") as second,
    ):
        # 200 names in 65,000 addresses may or may not collide; the reversed order makes those that do differ.
        for member, order in ((first, names), (second, names[::-1])):
            for name in order:
                member.federation.upsert_local(local_service(name.name))
        assert all(first.federation.vip(name) for name in names)
        await trio.to_thread.run_sync(etcd_server.start)
        await until(lambda: first.federation.status().etcd.synced and second.federation.status().etcd.synced)
        await until(
            lambda: [first.federation.vip(name) for name in names] == [second.federation.vip(name) for name in names]
        )
        assert len({first.federation.vip(name) for name in names}) == len(names)


async def test_a_gateway_with_a_copy_of_the_keys_keeps_a_rotation_waiting(
    tmp_path: FilePath, etcd_server: EtcdServer
) -> None:
    """It has the keys of before: it leaves the later bundle as it is, says so, and is named to the one that rotates,
    until the files are brought to it."""
    now, url = time.time(), etcd_server.endpoint
    here, there = tmp_path / "here", tmp_path / "there"
    moment = datetime.now(UTC)
    first = Keyring.load_or_create(here, "west.acme.test", moment)
    shutil.copytree(here, there)
    second = Keyring.load_or_create(there, "west.acme.test", moment)
    peers = {"west": Peer("west.acme.test", first.fingerprint)}
    async with (
        run_member(tmp_path, "west", peers, url, authority=first) as a,
        run_member(tmp_path, "west", peers, url, authority=second, gateway="-b") as b,
    ):
        await until(lambda: len(a.federation.publication_state().gateways) == 1)
        await until(lambda: b.federation.publication_state().published)
        assert not a.federation.publication_state().waiting_for
        first.prepare(now, a.federation.publication_state().sequence, forced=False)
        a.federation.trust_changed()
        await until(lambda: b.federation.publication_state().behind)
        await until(lambda: a.federation.publication_state().published)
        state = a.federation.publication_state()
        assert [name.split()[0] for name in state.waiting_for] == ["gateway"]
        await until_nobody_writes(a, b)
        shutil.rmtree(there)
        shutil.copytree(here, there)
        assert second.reload(now)
        b.federation.trust_changed()
        await until(lambda: not a.federation.publication_state().waiting_for)
        assert not b.federation.publication_state().behind
