"""etcd loses its data (a new disk, an old backup) while a watch is open."""

from __future__ import annotations

import shutil

import pytest
import trio

from federation.etcd import EtcdConfig, EtcdError, open_etcd
from tests.etcd_server import EtcdServer


def replace(server: EtcdServer) -> None:
    server.kill()
    shutil.rmtree(server.directory / "data")
    server.start()


async def test_a_watch_ends_with_lost_history(etcd_server: EtcdServer) -> None:
    """The new etcd counts revisions from 1: a watch that simply went on would be silent until they pass ours."""
    async with open_etcd(EtcdConfig(endpoints=(etcd_server.endpoint,))) as client:
        for _ in range(5):
            revision = await client.put(b"/a", b"")
        async with client.watch(b"/a", start_revision=revision) as watch:
            await watch.__anext__()
            await trio.to_thread.run_sync(replace, etcd_server)
            with trio.fail_after(10), pytest.raises(EtcdError) as caught:
                await watch.__anext__()
        assert caught.value.history_lost
        assert (await client.read_prefix(b"/a")).kvs == []
