"""Clusters that join through one real etcd see each other's services, and no more than is exported to them."""

from __future__ import annotations

import time
from pathlib import Path

import msgspec
import pytest

from discovery.model import ServiceName, ZoneHealth
from federation.freshness import Freshness, Lease
from federation.joining import JoinFailed, ask_to_join
from tests import join_parts
from tests.etcd_server import EtcdServer
from tests.federation_members import as_peers, local_service, make_authority, run_member, until


async def test_three_clusters_see_what_is_exported_to_them(tmp_path: Path, etcd_server: EtcdServer) -> None:
    """The whole way: sign, publish, watch, verify, merge; the same view in every member; gateways with addresses."""
    peers = as_peers({name: make_authority(tmp_path, name) for name in ("east", "west", "eu")})
    url = etcd_server.endpoint
    async with (
        run_member(tmp_path, "east", peers, url) as east,
        run_member(
            tmp_path, "west", peers, url, services=(local_service("pay"), local_service("secret", to=("eu",)))
        ) as west,
        run_member(tmp_path, "eu", peers, url, services=(local_service("pay"),)) as eu,
    ):
        await until(lambda: all(member.sees("pay", "west", "eu") for member in (east, west, eu)))
        await until(lambda: eu.sees("secret", "west"))
        assert east.sees("secret")

        await until(lambda: east.federation.peers()["west"].freshness is Freshness.FRESH)
        (gateway,) = east.federation.peers()["west"].gateways
        assert gateway.addresses == ("gw.west.acme.test:15443",)
        assert gateway.region == "region-west"
        assert east.federation.peers()["west"].roots == (make_authority(tmp_path, "west").root_der,)

        name = ServiceName("shop", "pay")
        exports = [view.federation.services()[name].exports for view in (east, west, eu)]
        assert [(e.cluster, e.created, e.ports) for e in exports[0]] == [
            (e.cluster, e.created, e.ports) for e in exports[1]
        ]

        west.federation.set_local_health(name, (ZoneHealth("a", 0, 1),))
        await until(lambda: any(e.zones[0].healthy == 0 for e in east.federation.services()[name].exports))
        west.federation.remove_local(name)
        await until(lambda: east.sees("pay", "eu"))

        # Bundles were acknowledged, and nobody has refused anything.
        await until(lambda: all(peer.acknowledged == 1 for peer in east.federation.status().peers))
        assert all(not peer.refusal_counts for peer in east.federation.status().peers)


async def test_a_gateway_that_leaves_or_dies_is_missed(tmp_path: Path, etcd_server: EtcdServer) -> None:
    """Its lease goes, and with it the lease witness; what it exported stays until freshness says otherwise."""
    peers = as_peers({name: make_authority(tmp_path, name) for name in ("east", "west")})
    url = etcd_server.endpoint
    async with run_member(tmp_path, "east", peers, url) as east:
        async with run_member(tmp_path, "west", peers, url, services=(local_service("pay"),)):
            await until(lambda: east.federation.peers()["west"].freshness is Freshness.FRESH)
            await until(lambda: east.sees("pay", "west"))
        await until(lambda: east.federation.status().peers[0].lease is Lease.LOST)
        assert east.federation.peers()["west"].freshness is Freshness.SUSPECT
        assert east.sees("pay", "west")
        assert len(east.federation.peers()["west"].gateways) == 1


async def test_a_joiner_waits_for_the_inviter_and_not_for_ever(tmp_path: Path, etcd_server: EtcdServer) -> None:
    """Without it, and with it: then the request is left, and taken back because nobody answers it here."""
    peers = as_peers({"east": make_authority(tmp_path, "east")})
    west, url = make_authority(tmp_path, "west"), etcd_server.endpoint
    token = msgspec.structs.replace(join_parts.make_token(peers["east"].root), endpoints=(url,))
    waits: list[str] = []

    async def join(inviter_wait_s: float) -> object:
        return await ask_to_join(
            east.etcd,
            token,
            west,
            "west",
            now=time.time(),
            timeout_s=0.3,
            waiting=lambda: waits.append("waiting"),
            inviter_wait_s=inviter_wait_s,
        )

    async with run_member(tmp_path, "eu", {}, url) as east:
        with pytest.raises(JoinFailed, match="its gateway never ran") as failed:
            await join(0.3)
        assert (failed.value.code, waits) == ("no-inviter", ["waiting"])
    async with run_member(tmp_path, "east", {}, url) as east:
        await until(lambda: east.federation.status().etcd.writes > 1)
        assert await join(10.0) is None
