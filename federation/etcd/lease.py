"""Leases: keys that vanish when their owner does."""

from __future__ import annotations

import msgspec
import trio

from federation.etcd import etcd_pb2 as pb
from federation.etcd.channel import Channel
from federation.etcd.errors import EtcdError
from federation.etcd.lease_clock import LeaseClock
from federation.etcd.methods import LEASE_KEEP_ALIVE, LEASE_REVOKE


class LeaseLost(msgspec.Struct, frozen=True):
    """A lease's end: what hangs on it is gone, or may be gone at any moment. Grant anew, publish anew."""

    lease_id: int
    reason: str


class Lease:
    """A granted lease. `lease_id` goes into `put(…, lease=…)`."""

    def __init__(self, channel: Channel, lease_id: int, ttl_s: int, asked_at: float) -> None:
        self.lease_id = lease_id
        self.ttl_s = ttl_s
        self._channel = channel
        self._clock = LeaseClock(ttl_s, asked_at)

    async def keep_alive(self) -> LeaseLost:
        """Renews it every third of its TTL and returns when it is lost: expired or revoked at etcd, or not renewed in
        time by our own clock. Never raises EtcdError."""
        last_error = "no renewal was answered in time"
        while True:
            with trio.move_on_at(self._clock.deadline):
                await trio.sleep_until(self._clock.renew_at)
                asked_at = trio.current_time()
                try:
                    answer = await self._channel.call(LEASE_KEEP_ALIVE, pb.LeaseKeepAliveRequest(ID=self.lease_id))
                except EtcdError as error:
                    if error.code == "not_found":
                        return LeaseLost(self.lease_id, str(error))
                    last_error = str(error)
                    self._clock.failed(trio.current_time())
                    continue
                if answer.TTL <= 0:
                    return LeaseLost(self.lease_id, "etcd says that it has expired or was revoked")
                self._clock.renewed(answer.TTL, asked_at)
                continue
            return LeaseLost(self.lease_id, f"not renewed within {self.ttl_s} s: {last_error}")

    async def revoke(self) -> None:
        """Ends it now, with all keys on it. A lease that is already gone is no error. Raises EtcdError otherwise."""
        try:
            await self._channel.call(LEASE_REVOKE, pb.LeaseRevokeRequest(ID=self.lease_id))
        except EtcdError as error:
            if error.code != "not_found":
                raise
