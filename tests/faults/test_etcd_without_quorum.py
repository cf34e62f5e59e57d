"""An etcd of two members loses one: no leader, no writes, and a watch that would be silent."""

from __future__ import annotations

from pathlib import Path

import pytest
import trio

from federation.etcd import EtcdConfig, EtcdError, open_etcd
from tests.etcd_server import run_etcd_cluster


async def test_the_loss_is_told_soon_and_mended_without_loss(tmp_path: Path) -> None:
    """Calls and watches say `no_leader` instead of hanging, reads of one member go on, and the watch resumes."""
    with run_etcd_cluster(tmp_path, 2) as (left, right):
        async with open_etcd(EtcdConfig(endpoints=(left.endpoint,))) as client:
            revision = await client.put(b"/a", b"1")
            async with client.watch(b"/a", start_revision=revision) as watch, trio.open_nursery() as nursery:
                seen: list[bytes] = []

                async def read() -> None:
                    async for batch in watch:
                        seen.extend(event.kv.value for event in batch.events)

                nursery.start_soon(read)
                await trio.to_thread.run_sync(right.kill)
                with trio.fail_after(20):
                    while watch.interrupted is None or watch.interrupted.code != "no_leader":
                        await trio.sleep(0.02)
                with trio.fail_after(10), pytest.raises(EtcdError, match="quorum") as caught:
                    await client.put(b"/a", b"refused")
                assert caught.value.code == "no_leader"
                assert (await client.status()).leader == 0
                assert len((await client.read_prefix(b"/a", serializable=True)).kvs) == 1

                await trio.to_thread.run_sync(right.start)
                with trio.fail_after(20):
                    while True:
                        try:
                            await client.put(b"/a", b"2")
                            break
                        except EtcdError as error:
                            if error.code != "no_leader":
                                raise
                            await trio.sleep(0.1)
                    while b"2" not in seen:
                        await trio.sleep(0.02)
                nursery.cancel_scope.cancel()
            assert seen == [b"1", b"2"]
