"""Writing to etcd what our cluster says: executes what `Publication` and `VipBook` want, and keeps our gateway's lease.

Everything here is desired state: a write that fails is wanted still, and tried again with backoff.
"""

from __future__ import annotations

import contextlib
import random
from collections.abc import Callable
from typing import Protocol

import trio

from federation import paths
from federation.beliefs import Beliefs
from federation.etcd.client import EtcdClient
from federation.etcd.errors import EtcdError
from federation.etcd.kv import Compare, Op
from federation.etcd.lease import Lease
from federation.publication import PutRecord, Write
from federation.vips import VipClaim

LEASE_TTL_S = 10.0
"""A gateway that dies is noticed by its peers' tunnels within a second or two; this is for those that have none."""
_FIRST_BACKOFF_S = 0.2
_LAST_BACKOFF_S = 10.0
_CLAIMS_PER_TXN = 96
_FAREWELL_S = 1.0


class Written(Protocol):
    """Who is told what was written."""

    def records_written(self, batch: list[Write]) -> None: ...

    def vip_agreed(self, claim: VipClaim, revision: int) -> None: ...


class Publisher:
    """Publishes for as long as `run` runs. It waits until `set_synced(True)`: nobody writes before having read."""

    def __init__(
        self,
        etcd: EtcdClient,
        beliefs: Beliefs,
        written: Written,
        rng: random.Random,
        wall: Callable[[], float],
    ) -> None:
        self.problem = ""
        """Why the last write failed; empty when it did not."""
        self.lease_problem = ""
        self.batches = 0
        """Transactions that were written."""
        self._etcd = etcd
        self._layout = beliefs.readings.home.layout
        self._cluster = beliefs.settings.cluster
        self._own = beliefs.own
        self._publication = beliefs.own.publication
        self._vips = beliefs.addresses.book
        self._written = written
        self._rng = rng
        self._wall = wall
        self._synced = False
        self._wake = trio.Event()
        self._lease_scope = trio.CancelScope()

    async def run(self) -> None:
        async with trio.open_nursery() as nursery:
            nursery.start_soon(self._hold_lease)
            await self._publish()

    def wake(self) -> None:
        """Something is wanted that was not before."""
        self._wake.set()

    def set_synced(self, synced: bool) -> None:
        self._synced = synced
        self.wake()

    async def _publish(self) -> None:
        failures = 0
        while True:
            self._wake = trio.Event()
            try:
                wrote = self._synced and await self._write_some()
                self.problem = ""
                failures = 0
            except EtcdError as error:
                self.problem = str(error)
                await trio.sleep(self._backoff_s(failures))
                failures += 1
                continue
            if not wrote:
                await self._wait()

    async def _wait(self) -> None:
        due = self._publication.next_due() if self._synced else None
        with trio.move_on_at(due if due is not None else float("inf")):
            await self._wake.wait()

    async def _write_some(self) -> bool:
        """Writes what comes next; returns whether there was anything. Raises EtcdError."""
        batch = self._publication.take_due(trio.current_time(), self._wall())
        if batch:
            await self._write_records(batch)
            return True
        return await self._write_vips() or self._own.want_digests(trio.current_time())

    async def _write_records(self, batch: list[Write]) -> None:
        try:
            result = await self._etcd.txn([], [self._operation(write) for write in batch])
        except EtcdError as error:
            self._publication.fail(batch)
            if error.code == "not_found":
                self._lease_scope.cancel()  # The only thing that a put needs to find is its lease.
            raise
        except BaseException:
            self._publication.fail(batch)
            raise
        self.batches += 1
        self._publication.settle(batch, result.revision, trio.current_time())
        self._written.records_written(batch)

    def _operation(self, write: Write) -> Op:
        key = self._layout.key(self._cluster, write.path)
        if isinstance(write, PutRecord):
            return Op.put(key, write.raw, lease=write.lease)
        return Op.delete(key)

    async def _write_vips(self) -> bool:
        claims = self._vips.take_claims(_CLAIMS_PER_TXN)
        released = self._vips.take_released(_CLAIMS_PER_TXN)
        if not claims and not released:
            return False
        try:
            if released:
                await self._etcd.txn([], [Op.delete(self._vip_key(paths.vip(name))) for name in released])
            if claims and not await self._claim(claims) and len(claims) > 1:
                # One of them was taken by another gateway: the others shall not wait for that.
                for claim in claims:
                    await self._claim([claim])
        except EtcdError:
            self._vips.fail(claims, released)
            raise
        return True

    async def _claim(self, claims: list[VipClaim]) -> bool:
        """First writer wins: returns whether all of `claims` were written. The watch tells what others wrote."""
        keys = [self._vip_key(paths.vip(claim.name)) for claim in claims]
        result = await self._etcd.txn(
            [Compare.mod_revision(key, "==", claim.revision) for key, claim in zip(keys, claims, strict=True)],
            [Op.put(key, claim.address.encode()) for key, claim in zip(keys, claims, strict=True)],
        )
        if result.succeeded:
            self.batches += 1
            for claim in claims:
                self._written.vip_agreed(claim, result.revision)
        return result.succeeded

    def _vip_key(self, path: paths.Path) -> bytes:
        return self._layout.key(self._cluster, path)

    async def _hold_lease(self) -> None:
        """Keeps a lease for our gateway; a lost one is replaced, with backoff and jitter, because all gateways lose
        theirs at once when etcd was away."""
        failures = 0
        while True:
            try:
                lease = await self._etcd.grant_lease(LEASE_TTL_S)
            except EtcdError as error:
                self.lease_problem = str(error)
                await trio.sleep(self._backoff_s(failures))
                failures += 1
                continue
            failures, self.lease_problem = 0, ""
            self._hold(lease.lease_id)
            try:
                with trio.CancelScope() as self._lease_scope:
                    self.lease_problem = (await lease.keep_alive()).reason
            finally:
                self._hold(0)
                await _revoke(lease)
            await trio.sleep(self._backoff_s(0))

    def _hold(self, lease_id: int) -> None:
        self._publication.hold(lease_id)
        self.wake()

    def _backoff_s(self, failures: int) -> float:
        return min(_LAST_BACKOFF_S, _FIRST_BACKOFF_S * 2.0 ** min(failures, 10)) * self._rng.uniform(0.5, 1.0)


async def _revoke(lease: Lease) -> None:
    """Says goodbye, so that peers need not wait for the lease to expire. Nothing depends on its being heard."""
    with trio.move_on_after(_FAREWELL_S, shield=True), contextlib.suppress(EtcdError):
        await lease.revoke()
