"""Cancelling calls and watches in mid-flight leaves nothing behind."""

from __future__ import annotations

import random

import trio

from federation.etcd import EtcdClient


async def test_200_cancelled_calls_and_watches_leave_no_stream_and_no_task(client: EtcdClient, prefix: bytes) -> None:
    """A gateway that cancels (shutdown, timeouts, lost leases) for months must not collect streams or tasks."""
    began = await client.put(prefix + b"a", bytes(200_000))
    tasks = trio.lowlevel.current_statistics().tasks_living
    rng = random.Random(1)

    async def watch() -> None:
        async with client.watch(prefix, start_revision=began) as watch:
            async for _ in watch:
                pass

    async def write() -> None:
        await client.put(prefix + b"b", bytes(100_000))

    async def read() -> None:
        await client.read_prefix(prefix)

    for round_ in range(67):
        async with trio.open_nursery() as nursery:
            nursery.start_soon(watch)
            nursery.start_soon(read)
            nursery.start_soon(write)
            await trio.sleep(rng.uniform(0, 0.008))
            nursery.cancel_scope.cancel()
        statistics = client.statistics()
        assert statistics.open_streams == 0, round_
        assert statistics.watches == 0
    assert trio.lowlevel.current_statistics().tasks_living == tasks
    assert client.statistics().connections == 1
    assert await client.get(prefix + b"a") is not None
    await client.delete_prefix(prefix)
