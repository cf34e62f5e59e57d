"""Leases at a real etcd."""

from __future__ import annotations

import trio

from federation.etcd import EtcdClient, LeaseLost


async def test_a_kept_lease_outlives_its_ttl_and_revoking_takes_its_keys(client: EtcdClient, prefix: bytes) -> None:
    """A gateway's registration stays while it renews, and is gone at once when it says so."""
    # Long enough for a machine that stands still for a few seconds, in which nobody can renew.
    lease = await client.grant_lease(4)
    await client.put(prefix + b"a", b"", lease=lease.lease_id)
    lost: list[LeaseLost] = []

    async def keep() -> None:
        lost.append(await lease.keep_alive())

    async with trio.open_nursery() as nursery:
        nursery.start_soon(keep)
        # etcd looks for expired leases twice a second.
        await trio.sleep(lease.ttl_s + 1.2)
        found = await client.get(prefix + b"a")
        assert found is not None
        assert found.lease == lease.lease_id
        await lease.revoke()
        assert await client.get(prefix + b"a") is None
        with trio.fail_after(20):
            while not lost:
                await trio.sleep(0.05)
    assert lost[0].lease_id == lease.lease_id
    assert "expired or was revoked" in lost[0].reason


async def test_revoking_twice_is_no_error(client: EtcdClient) -> None:
    """Whoever shuts down revokes, whether or not the lease is still there."""
    lease = await client.grant_lease(5)
    await lease.revoke()
    await lease.revoke()
