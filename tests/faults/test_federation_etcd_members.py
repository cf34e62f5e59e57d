"""Members of an etcd of three die: the leader, one of the others, all of them."""

from __future__ import annotations

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path as FilePath

import pytest
import trio

from discovery.model import ServiceName
from federation.etcd.config import EtcdConfig
from federation.freshness import Freshness, Reason
from tests.etcd_server import EtcdServer, run_etcd_cluster
from tests.federation_members import FederationMember, as_peers, local_service, make_authority, run_member, until


@asynccontextmanager
async def two_members(directory: FilePath, etcds: list[EtcdServer]) -> AsyncIterator[tuple[FederationMember, ...]]:
    """East, and west that exports shop/pay; each begins with another endpoint."""
    peers = as_peers({name: make_authority(directory, name) for name in ("east", "west")})
    urls = [etcd.endpoint for etcd in etcds]
    forth = EtcdConfig(endpoints=tuple(urls), call_timeout_s=2.0)
    back = EtcdConfig(endpoints=tuple(urls[::-1]), call_timeout_s=2.0)
    async with (
        run_member(directory, "east", peers, forth) as east,
        run_member(directory, "west", peers, back, services=(local_service("pay"),)) as west,
    ):
        await until(lambda: east.sees("pay", "west"))
        await until(lambda: east.federation.peers()["west"].freshness is Freshness.FRESH)
        yield east, west


async def leader_of(etcds: list[EtcdServer], member: FederationMember) -> EtcdServer:
    leader = (await member.etcd.status()).leader
    ids = [
        int(etcd.ctl("endpoint", "status", "--write-out=fields").partition('"MemberID" : ')[2].split()[0])
        for etcd in etcds
    ]
    return etcds[ids.index(leader)]


@pytest.mark.parametrize("lost", ["leader", "first endpoint", "last endpoint"])
async def test_one_member_is_lost(tmp_path: FilePath, lost: str) -> None:
    """Changes made in that moment arrive in both directions, nobody is withdrawn, and leases live on: a member's death
    is shorter than they are."""
    with run_etcd_cluster(tmp_path / "etcd", 3) as etcds:
        async with two_members(tmp_path, etcds) as (east, west):
            leader = await leader_of(etcds, east)
            victim = {"leader": leader, "first endpoint": etcds[0], "last endpoint": etcds[2]}[lost]
            await trio.to_thread.run_sync(victim.kill)
            west.federation.upsert_local(local_service("new"))
            east.federation.upsert_local(local_service("cart"))
            await until(lambda: east.sees("new", "west") and west.sees("cart", "east"), 20)
            west.federation.remove_local(ServiceName("shop", "new"))
            await until(lambda: east.sees("new"), 20)
            await until(lambda: east.federation.peers()["west"].freshness is Freshness.FRESH)
            assert all(seen.after is not Freshness.STALE for seen in east.federation.status().transitions)
            assert east.sees("pay", "west")


async def test_all_members_are_lost_and_come_back(tmp_path: FilePath) -> None:
    """What is known stays in use, with tunnels as the only witness; what was changed meanwhile arrives."""
    with run_etcd_cluster(tmp_path / "etcd", 3) as etcds:
        async with two_members(tmp_path, etcds) as (east, west):
            east.federation.observe_link("west", True)
            for etcd in etcds:
                await trio.to_thread.run_sync(etcd.kill)
            await until(lambda: not east.federation.status().etcd.synced and not west.federation.status().etcd.synced)
            known = east.federation.peers()["west"]
            assert (known.freshness, known.reason) == (Freshness.SUSPECT, Reason.ETCD_AWAY)
            assert east.sees("pay", "west")
            west.federation.remove_local(ServiceName("shop", "pay"))
            west.federation.upsert_local(local_service("new"))
            for etcd in etcds:
                etcd.launch()
            await until(lambda: east.sees("new", "west") and east.sees("pay"), 30)
            await until(lambda: east.federation.peers()["west"].freshness is Freshness.FRESH, 30)
