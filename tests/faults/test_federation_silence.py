"""A peer that goes silent: suspect at once, stale after a while, back with a word."""

from __future__ import annotations

from pathlib import Path as FilePath

from discovery.model import ServiceName
from federation.freshness import Freshness
from tests.etcd_server import EtcdServer
from tests.federation_members import as_peers, local_service, make_authority, run_member, until


async def test_a_silent_peer_becomes_stale_and_comes_back(tmp_path: FilePath, etcd_server: EtcdServer) -> None:
    """The clock runs by itself, and listeners are told of what changes for services."""
    peers = as_peers({name: make_authority(tmp_path, name) for name in ("east", "west")})
    url = etcd_server.endpoint
    name = ServiceName("shop", "pay")
    async with run_member(tmp_path, "east", peers, url, stale_after_s=0.3) as east:
        async with run_member(tmp_path, "west", peers, url, services=(local_service("pay"),)):
            await until(lambda: east.sees("pay", "west"))
            await until(lambda: east.federation.peers()["west"].freshness is Freshness.FRESH)
            east.listener.services.clear()
        await until(lambda: east.federation.peers()["west"].freshness is Freshness.STALE)
        assert east.federation.services()[name].exports[0].freshness is Freshness.STALE
        assert east.listener.services == {name}
        async with run_member(tmp_path, "west", peers, url, services=(local_service("pay"),)):
            await until(lambda: east.federation.peers()["west"].freshness is Freshness.FRESH)
            assert east.federation.services()[name].exports[0].freshness is Freshness.FRESH
            steps = [step.after for step in east.federation.status().transitions]
            assert steps[-1] is Freshness.FRESH
            assert Freshness.STALE in steps
