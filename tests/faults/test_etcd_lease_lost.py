"""A lease cannot be renewed because etcd is frozen: its owner must stop by its own clock, not by etcd's."""

from __future__ import annotations

import trio

from federation.etcd import EtcdConfig, open_etcd
from tests.etcd_server import EtcdServer


async def test_keep_alive_ends_when_the_ttl_has_passed_without_an_answer(etcd_server: EtcdServer) -> None:
    """Although no call can have timed out yet; a new lease can be granted afterwards."""
    async with open_etcd(EtcdConfig(endpoints=(etcd_server.endpoint,), call_timeout_s=60.0)) as client:
        lease = await client.grant_lease(1.5)
        assert lease.ttl_s == 2
        etcd_server.stop()
        with trio.fail_after(20):
            lost = await lease.keep_alive()
        assert lost.lease_id == lease.lease_id
        assert "not renewed within 2 s" in lost.reason
        etcd_server.cont()
        with trio.fail_after(20):
            await client.wait_connected()
            again = await client.grant_lease(2)
        assert again.lease_id != lease.lease_id
