"""A reader mirrors a prefix while etcd is killed, restarted and compacted, and ends equal to the truth, no doubles."""

from __future__ import annotations

import random

import trio

from federation.etcd import EtcdClient, EtcdConfig, EtcdError, open_etcd
from tests.etcd_server import EtcdServer

PREFIX = b"/mirror/"
ENOUGH_REVISIONS = 100
CHAOS_S = 4.5


class Mirror:
    """What federation does: list, watch from there, and list again when history is lost."""

    def __init__(self, client: EtcdClient) -> None:
        self.keys: dict[bytes, tuple[int, bytes]] = {}
        self.revision = 0
        self.lists = 0
        self.doubles = 0
        self._client = client

    async def run(self) -> None:
        while True:
            try:
                await self._follow()
            except EtcdError as error:
                if not error.history_lost and error.code not in ("unavailable", "deadline_exceeded"):
                    raise
                await trio.sleep(0.05)

    async def _follow(self) -> None:
        listed = await self._client.read_prefix(PREFIX, page_keys=7)
        self.lists += 1
        self.keys = {kv.key: (kv.mod_revision, kv.value) for kv in listed.kvs}
        self.revision = listed.revision
        async with self._client.watch(PREFIX, start_revision=listed.revision + 1) as watch:
            async for batch in watch:
                for event in batch.events:
                    self.doubles += event.kv.mod_revision <= self.revision
                    if event.kind == "put":
                        self.keys[event.kv.key] = (event.kv.mod_revision, event.kv.value)
                    else:
                        del self.keys[event.kv.key]
                self.revision = batch.revision
                # Now and then a slow reader, so that its revision is compacted before it comes back.
                await trio.sleep(0.4 if batch.revision % 50 == 0 else 0)


async def _write(client: EtcdClient, rng: random.Random) -> None:
    """Puts and deletes at random; an unknown outcome is taken as it is, as the truth is read at the end."""
    while True:
        key = PREFIX + b"%02d" % rng.randrange(40)
        try:
            if rng.random() < 0.25:
                await client.delete(key)
            else:
                await client.put(key, b"%d" % rng.randrange(10**9))
        except EtcdError as error:
            if error.code not in ("unavailable", "unknown_outcome"):
                raise
            await trio.sleep(0.05)
        await trio.sleep(0.002)


async def _compact(server: EtcdServer, client: EtcdClient) -> None:
    while True:
        await trio.sleep(0.7)
        try:
            revision = (await client.status()).revision
            await trio.to_thread.run_sync(server.ctl, "compact", str(revision))
        except (EtcdError, AssertionError):
            pass  # It is down just now, or somebody was quicker.


async def test_the_mirror_ends_equal_to_the_truth(etcd_server: EtcdServer) -> None:
    """The one test that has everything at once: kills, restarts, compactions, slow readers, unknown outcomes."""
    config = EtcdConfig(endpoints=(etcd_server.endpoint,))
    rng = random.Random(7)
    async with open_etcd(config) as reader, open_etcd(config) as writer:
        mirror = Mirror(reader)
        async with trio.open_nursery() as readers:
            readers.start_soon(mirror.run)
            async with trio.open_nursery() as disturbers:
                disturbers.start_soon(_write, writer, rng)
                disturbers.start_soon(_compact, etcd_server, writer)
                end = trio.current_time() + CHAOS_S
                # A slow machine takes longer for as much of it.
                while trio.current_time() < end or mirror.revision <= ENOUGH_REVISIONS:
                    await trio.sleep(rng.uniform(0.5, 1.0))
                    await trio.to_thread.run_sync(etcd_server.kill)
                    await trio.sleep(rng.uniform(0, 0.3))
                    await trio.to_thread.run_sync(etcd_server.start)
                disturbers.cancel_scope.cancel()
            with trio.fail_after(20):
                await writer.wait_connected()
                truth = await writer.read_prefix(PREFIX)
                expected = {kv.key: (kv.mod_revision, kv.value) for kv in truth.kvs}
                while mirror.keys != expected:
                    await trio.sleep(0.02)
            readers.cancel_scope.cancel()
        assert mirror.doubles == 0
        assert truth.revision > ENOUGH_REVISIONS
        assert reader.statistics().connections >= 3
        assert reader.statistics().open_streams == 0
        assert writer.statistics().open_streams == 0
