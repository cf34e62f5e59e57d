"""`python -m tests.bench.rig.catalog_writer ETCD CLUSTER,…`: several clusters as etcd sees them.

Their bundles, gateways, exports and digests are signed as gateways sign them; nobody listens at their addresses.

    load COUNT             writes the first COUNT exports of each cluster          answers "loaded SECONDS"
    change PER_S SECONDS   changes the health of one export after another, signed  answers "changed COUNT SECONDS"
                           then and there
"""

from __future__ import annotations

import itertools
import random
import sys
from collections.abc import Iterator

import trio

from federation.digests import OwnDigests
from federation.etcd.client import EtcdClient, open_etcd
from federation.etcd.config import EtcdConfig
from federation.etcd.kv import Op
from federation.paths import BUNDLE, Layout, Path
from tests.bench.rig.command_pipe import answer, commands
from tests.bench.rig.signed_catalog import FEDERATION, SignedCatalogs, open_catalogs

_BATCH = 96
_WRITERS = 4
_LEASE_TTL_S = 30.0
_TURN_S = 0.01


class Writer:
    def __init__(self, etcd: EtcdClient, catalogs: SignedCatalogs) -> None:
        self._etcd = etcd
        self._catalogs = catalogs
        self._layout = Layout("/isthmus", FEDERATION)
        self._digests = {cluster: OwnDigests() for cluster in catalogs.signers}
        self._count = 0
        self._rng = random.Random(0)
        self._health = itertools.cycle([1, 2])

    async def say_hello(self) -> None:
        """Bundles, and gateways on a lease that is kept until this process ends."""
        lease = await self._etcd.grant_lease(_LEASE_TTL_S)
        for cluster, signer in self._catalogs.signers.items():
            path, gateway = signer.gateway()
            await self._etcd.put(self._layout.key(cluster, BUNDLE), signer.bundle())
            await self._etcd.put(self._layout.key(cluster, path), gateway, lease=lease.lease_id)
        await lease.keep_alive()

    async def load(self, count: int) -> float:
        self._count = count
        # In a thread: where nothing is kept from another run, signing takes seconds, and etcd's connection needs care.
        operations = iter(await trio.to_thread.run_sync(self._exports, count))
        began = trio.current_time()
        async with trio.open_nursery() as nursery:
            for _ in range(_WRITERS):
                nursery.start_soon(self._write, operations)
        await self._say_digests()
        return trio.current_time() - began

    def _exports(self, count: int) -> list[Op]:
        return [
            self._export(cluster, path, raw)
            for cluster in self._catalogs.signers
            for path, raw in self._catalogs.exports(cluster, count)
        ]

    def _export(self, cluster: str, path: Path, raw: bytes) -> Op:
        self._digests[cluster].put(path, raw)
        return Op.put(self._layout.key(cluster, path), raw)

    async def _say_digests(self) -> None:
        """Those that are due by now."""
        for cluster, digests in self._digests.items():
            for path, value in digests.take_due().items():
                assert value is not None, "nothing is ever withdrawn here"
                raw = self._catalogs.signers[cluster].sign(path, value)
                await self._etcd.put(self._layout.key(cluster, path), raw)

    async def _write(self, operations: Iterator[Op]) -> None:
        while batch := list(itertools.islice(operations, _BATCH)):
            await self._etcd.txn([], batch)

    async def change(self, per_s: float, duration_s: float) -> tuple[int, float]:
        """As many as are due at each turn go in one transaction, as a gateway's publisher does it."""
        began, done = trio.current_time(), 0
        while (elapsed_s := trio.current_time() - began) < duration_s:
            due = min(int(elapsed_s * per_s) - done, _BATCH)
            # etcd takes a key once in a transaction.
            operations = {op.key: op for op in (self._changed() for _ in range(due))}
            if operations:
                await self._etcd.txn([], [*operations.values()])
                done += len(operations)
            await self._say_digests()
            await trio.sleep(_TURN_S)
        return done, trio.current_time() - began

    def _changed(self) -> Op:
        signer = self._rng.choice(list(self._catalogs.signers.values()))
        path, raw = signer.export(self._rng.randrange(self._count), next(self._health))
        return self._export(signer.cluster, path, raw)


async def serve(endpoint: str, clusters: tuple[str, ...]) -> None:
    catalogs = open_catalogs(clusters)
    async with (
        open_etcd(EtcdConfig(endpoints=(endpoint,), call_timeout_s=60.0)) as etcd,
        trio.open_nursery() as nursery,
    ):
        writer = Writer(etcd, catalogs)
        nursery.start_soon(writer.say_hello)
        async for command, *numbers in commands():
            if command == "load":
                answer("loaded", await writer.load(int(numbers[0])))
            else:
                answer("changed", *await writer.change(float(numbers[0]), float(numbers[1])))
        nursery.cancel_scope.cancel()


if __name__ == "__main__":
    trio.run(serve, sys.argv[1], tuple(sys.argv[2].split(",")))
