"""Gateways come and go in etcd by their leases."""

from __future__ import annotations

import json
import time
from pathlib import Path as FilePath

from federation import paths
from federation.freshness import Freshness, Lease
from federation.values import GatewayValue, encode
from tests.etcd_server import EtcdServer
from tests.federation_members import LAYOUT, as_peers, forge, local_service, make_authority, run_member, until


async def test_a_gateway_that_is_killed_is_missed_when_its_lease_expires(
    tmp_path: FilePath, etcd_server: EtcdServer
) -> None:
    """Nobody says goodbye: a record on a lease that nobody keeps alive goes by itself, and only the record of the
    gateway hangs on it."""
    authorities = {name: make_authority(tmp_path, name) for name in ("east", "west")}
    peers = as_peers(authorities)
    url = etcd_server.endpoint
    async with run_member(tmp_path, "east", peers, url) as east:
        async with run_member(tmp_path, "west", peers, url, services=(local_service("pay"),)):
            await until(lambda: east.sees("pay", "west") and east.federation.status().peers[0].lease is Lease.LIVE)
        await until(lambda: east.federation.status().peers[0].lease is Lease.LOST)
        path = paths.gateway("gw-killed")
        value = encode(GatewayValue("gw-killed", ("gw.west.acme.test:15443",)))
        lease = await east.etcd.grant_lease(1)
        raw = forge(authorities["west"], "west", path, value, sequence=1, issued_at=time.time())
        await east.etcd.put(LAYOUT.key("west", path), raw, lease=lease.lease_id)
        await until(lambda: east.federation.status().peers[0].lease is Lease.LIVE)
        assert [gateway.id for gateway in east.federation.peers()["west"].gateways] == ["gw-killed"]
        await until(lambda: east.federation.status().peers[0].lease is Lease.LOST)
        assert east.federation.peers()["west"].freshness is Freshness.SUSPECT
        assert east.sees("pay", "west")


async def test_a_lost_lease_is_granted_anew(tmp_path: FilePath, etcd_server: EtcdServer) -> None:
    """Whoever revokes it, the gateway is registered again within a second or so of noticing; the catalog does not
    hang on the lease."""
    peers = as_peers({name: make_authority(tmp_path, name) for name in ("east", "west")})
    url = etcd_server.endpoint
    async with (
        run_member(tmp_path, "east", peers, url) as east,
        run_member(tmp_path, "west", peers, url, services=(local_service("pay"),)) as west,
    ):
        await until(lambda: east.federation.status().peers[0].lease is Lease.LIVE)
        await until(lambda: east.sees("pay", "west"))
        key = LAYOUT.key("west", paths.gateway(west.federation.status().gateway_id))
        before = await east.etcd.get(key)
        assert before is not None
        granted = json.loads(etcd_server.ctl("lease", "timetolive", f"{before.lease:x}", "--keys", "-w", "json"))
        assert granted["granted-ttl"] == 10
        assert len(granted["keys"]) == 1
        etcd_server.ctl("lease", "revoke", f"{before.lease:x}")
        await until(lambda: east.federation.status().peers[0].lease is Lease.LOST)
        assert east.sees("pay", "west")
        await until(lambda: east.federation.status().peers[0].lease is Lease.LIVE)
        after = await east.etcd.get(key)
        assert after is not None
        assert after.lease not in (0, before.lease)
