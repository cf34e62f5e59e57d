"""etcd dies, comes back, forgets, or is not there at the start: what is known stays in use, and all agree again."""

from __future__ import annotations

from pathlib import Path as FilePath

import trio

from discovery.model import ServiceName
from federation.freshness import Freshness, Reason
from tests.etcd_server import EtcdServer
from tests.federation_members import as_peers, local_service, make_authority, run_member, until


async def test_a_change_waits_for_etcd(tmp_path: FilePath, etcd_server: EtcdServer) -> None:
    """While etcd is away nothing known goes away; what was changed meanwhile arrives when it is back."""
    peers = as_peers({name: make_authority(tmp_path, name) for name in ("east", "west")})
    url = etcd_server.endpoint
    async with (
        run_member(tmp_path, "east", peers, url) as east,
        run_member(tmp_path, "west", peers, url, services=(local_service("pay"),)) as west,
    ):
        await until(lambda: east.sees("pay", "west"))
        east.federation.observe_link("west", True)
        await trio.to_thread.run_sync(etcd_server.kill)
        await until(lambda: not east.federation.status().etcd.synced)
        assert east.federation.peers()["west"].freshness is Freshness.SUSPECT
        assert east.federation.peers()["west"].reason is Reason.ETCD_AWAY
        west.federation.upsert_local(local_service("new"))
        west.federation.remove_local(ServiceName("shop", "pay"))
        east.federation.upsert_local(local_service("mine"))
        assert east.federation.vip(ServiceName("shop", "mine"))
        assert east.sees("pay", "west")

        await trio.to_thread.run_sync(etcd_server.restart)
        await until(lambda: east.sees("new", "west") and east.sees("pay"))
        await until(lambda: west.sees("mine", "east"))
        await until(lambda: east.federation.peers()["west"].freshness is Freshness.FRESH)


async def test_an_etcd_that_lost_its_data_empties_no_catalog(tmp_path: FilePath, etcd_server: EtcdServer) -> None:
    """Members write everything again; a peer that is away meanwhile is still believed."""
    peers = as_peers({name: make_authority(tmp_path, name) for name in ("east", "west", "eu")})
    url = etcd_server.endpoint
    async with run_member(tmp_path, "east", peers, url) as east:
        async with run_member(tmp_path, "eu", peers, url, services=(local_service("pay"),)):
            await until(lambda: east.sees("pay", "eu"))
        services = (local_service("pay"), local_service("ledger"))
        async with run_member(tmp_path, "west", peers, url, services=services) as west:
            await until(lambda: east.sees("pay", "west", "eu") and east.sees("ledger", "west"))
            await until(lambda: west.federation.status().etcd.leased)
            before = west.federation.status().etcd.writes

            def lose_data() -> None:
                etcd_server.close()
                etcd_server.start()

            await trio.to_thread.run_sync(lose_data)
            await until(lambda: west.federation.status().etcd.writes > before, 30)
            await until(lambda: not east.federation.status().peers[1].away)
            west.federation.remove_local(ServiceName("shop", "ledger"))
            await until(lambda: east.sees("ledger"))
            assert east.sees("pay", "west", "eu")
            eu = east.federation.status().peers[0]
            assert (eu.cluster, eu.away, eu.exports) == ("eu", True, 1)


async def test_a_gateway_that_starts_without_etcd_serves_what_it_knew(
    tmp_path: FilePath, etcd_server: EtcdServer
) -> None:
    """The cache holds signed records; the catalog, the roots, the gateways and the virtual IPs are there at once."""
    peers = as_peers({name: make_authority(tmp_path, name) for name in ("east", "west")})
    url = etcd_server.endpoint
    name = ServiceName("shop", "pay")
    async with (
        run_member(tmp_path, "west", peers, url, services=(local_service("pay"),)),
        run_member(tmp_path, "east", peers, url) as east,
    ):
        await until(lambda: east.sees("pay", "west"))
        await until(lambda: bool(east.federation.peers()["west"].gateways))
        vip, view = east.federation.vip(name), east.federation.services()[name]
    await trio.to_thread.run_sync(etcd_server.kill)
    async with run_member(tmp_path, "east", peers, url) as east:
        assert east.federation.services()[name] == view
        assert east.federation.vip(name) == vip
        west = east.federation.peers()["west"]
        assert west.roots
        assert west.gateways[0].addresses == ("gw.west.acme.test:15443",)
        assert west.freshness is Freshness.SUSPECT
        assert not east.federation.status().etcd.synced


async def test_a_service_dropped_while_its_gateway_was_down_is_withdrawn(
    tmp_path: FilePath, etcd_server: EtcdServer
) -> None:
    """Exports are desired state: after a restart, what is no longer exported goes, what still is keeps its age."""
    peers = as_peers({name: make_authority(tmp_path, name) for name in ("east", "west")})
    url = etcd_server.endpoint
    name = ServiceName("shop", "pay")
    async with run_member(tmp_path, "east", peers, url) as east:
        services = (local_service("pay"), local_service("old"))
        async with run_member(tmp_path, "west", peers, url, services=services):
            await until(lambda: east.sees("pay", "west") and east.sees("old", "west"))
        created = east.federation.services()[name].exports[0].created
        async with run_member(tmp_path, "west", peers, url, services=services[:1]):
            await until(lambda: east.sees("old"))
            assert east.federation.services()[name].exports[0].created == created
