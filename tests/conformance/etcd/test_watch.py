"""Watching a real etcd."""

from __future__ import annotations

import shutil
from pathlib import Path

import pytest
import trio

from federation.etcd import EtcdClient, EtcdConfig, EtcdError, Watch, WatchEvent, open_etcd
from tests.etcd_server import EtcdServer, run_etcd


async def take(watch: Watch, count: int) -> list[WatchEvent]:
    """The next `count` events, however they are batched."""
    events: list[WatchEvent] = []
    with trio.fail_after(10):
        async for batch in watch:
            events += batch.events
            if len(events) >= count:
                break
    return events


def changes(events: list[WatchEvent]) -> list[tuple[str, bytes, bytes]]:
    return [(event.kind, event.kv.key, event.kv.value) for event in events]


async def test_a_watch_begins_with_the_revision_that_was_asked_for(client: EtcdClient, prefix: bytes) -> None:
    """List at a revision, watch from the next: nothing between is missed, nothing comes twice."""
    await client.put(prefix + b"a", b"1")
    start = (await client.read_prefix(prefix)).revision + 1
    await client.put(prefix + b"a", b"2")
    await client.put(b"/elsewhere" + prefix, b"not mine")
    await client.delete(prefix + b"a")
    async with client.watch(prefix, start_revision=start) as watch:
        assert changes(await take(watch, 2)) == [("put", prefix + b"a", b"2"), ("delete", prefix + b"a", b"")]
        await client.put(prefix + b"b", b"3")
        (event,) = await take(watch, 1)
        assert changes([event]) == [("put", prefix + b"b", b"3")]
        assert event.kv.mod_revision > start


async def test_one_revision_comes_in_one_batch_although_etcd_cuts_it(client: EtcdClient, prefix: bytes) -> None:
    """etcd sends at most about 1.5 MB in a fragment; a backlog of 5 MB must be handed over whole."""
    start = (await client.read_prefix(prefix)).revision + 1
    for number in range(10):
        await client.put(prefix + b"%d" % number, bytes([number]) * 500_000)
    async with client.watch(prefix, start_revision=start) as watch:
        with trio.fail_after(10):
            batch = await watch.__anext__()
    assert [event.kv.value[:1] for event in batch.events] == [bytes([number]) for number in range(10)]
    assert batch.revision == batch.events[-1].kv.mod_revision
    await client.delete_prefix(prefix)


async def test_a_watch_gives_way_to_others_during_a_flood(client: EtcdClient, prefix: bytes) -> None:
    """A reader of a long backlog shares its event loop with the rest of the controller."""
    start = (await client.read_prefix(prefix)).revision + 1
    for number in range(50):
        await client.put(prefix + b"%d" % number, b"")
    turns = 0

    async def count_turns() -> None:
        nonlocal turns
        while True:
            await trio.lowlevel.checkpoint()
            turns += 1

    async with client.watch(prefix, start_revision=start) as watch, trio.open_nursery() as nursery:
        nursery.start_soon(count_turns)
        await take(watch, 50)
        nursery.cancel_scope.cancel()
    assert turns


async def test_progress_is_reported_while_nothing_happens(tmp_path: Path) -> None:
    """Without it, a quiet watch falls behind, its revision is compacted away, and resuming costs a full read."""
    interval = "--experimental-watch-progress-notify-interval=100ms"
    with run_etcd(tmp_path / "etcd", arguments=(interval,)) as server:
        async with open_etcd(EtcdConfig(endpoints=(server.endpoint,))) as client:
            async with client.watch(b"/quiet/", start_revision=1) as watch:
                await client.put(b"/busy", b"")
                revision = await client.put(b"/busy", b"")
                with trio.fail_after(10):
                    async for batch in watch:
                        assert batch.events == []
                        if batch.revision == revision:
                            break
            async with client.watch(b"/quiet/", start_revision=1, progress_notify=False) as watch:
                with trio.move_on_after(0.4):
                    await watch.__anext__()
                    pytest.fail("nothing was to be reported")


async def test_a_compacted_revision_is_an_error_that_says_from_where(
    client: EtcdClient, prefix: bytes, shared_etcd: EtcdServer
) -> None:
    """The reader must know to list again: silence, or a silent gap, would leave it wrong for ever."""
    old = await client.put(prefix + b"a", b"1")
    await client.put(prefix + b"a", b"2")
    new = await client.put(prefix + b"a", b"3")
    shared_etcd.ctl("compact", str(new))
    async with client.watch(prefix, start_revision=old) as watch:
        with trio.fail_after(20), pytest.raises(EtcdError) as caught:
            await watch.__anext__()
    assert caught.value.code == "compacted"
    assert caught.value.compact_revision == new
    assert caught.value.history_lost


async def test_a_start_that_etcd_has_not_reached_is_lost_history(client: EtcdClient, prefix: bytes) -> None:
    """An etcd that was restored from a backup or started anew is behind what we saw of it: silence would follow."""
    revision = (await client.read_prefix(prefix)).revision
    async with client.watch(prefix, start_revision=revision + 1000) as watch:
        with trio.fail_after(20), pytest.raises(EtcdError, match="restored from a backup") as caught:
            await watch.__anext__()
    assert caught.value.code == "rewound"
    assert caught.value.history_lost


async def test_a_cancelled_wait_for_the_next_batch_loses_nothing(client: EtcdClient, prefix: bytes) -> None:
    """Readers wait with timeouts."""
    start = (await client.read_prefix(prefix)).revision + 1
    async with client.watch(prefix, start_revision=start) as watch:
        for number in range(20):
            await client.put(prefix + b"a", b"%d" % number)
            with trio.move_on_after(0):
                await watch.__anext__()
        assert [event.kv.value for event in await take(watch, 20)] == [b"%d" % number for number in range(20)]


async def test_a_watch_needs_a_start(client: EtcdClient, prefix: bytes) -> None:
    """0 means "from now" to etcd: a reader who passes it by mistake would miss what came since its read."""
    with pytest.raises(ValueError, match="1 or more"):
        async with client.watch(prefix, start_revision=0):
            pass


async def test_an_etcd_in_another_ones_place_is_lost_history_however_far_it_has_come(tmp_path: Path) -> None:
    """It was restored from a backup, and others have written to it before we see it again: its revision is above
    ours, and a watch that went on would miss all that they wrote."""
    with run_etcd(tmp_path / "other") as other:
        async with open_etcd(EtcdConfig(endpoints=(other.endpoint,))) as client:
            for number in range(20):
                await client.put(b"/w/other", b"%d" % number)
        await trio.to_thread.run_sync(other.kill)
        (other.directory / "data").rename(tmp_path / "data")
    with run_etcd(tmp_path / "first") as server:
        async with open_etcd(EtcdConfig(endpoints=(server.endpoint,))) as client:
            revision = await client.put(b"/w/a", b"1")
            async with client.watch(b"/w/", start_revision=revision) as watch:
                assert changes(await take(watch, 1)) == [("put", b"/w/a", b"1")]
                await trio.to_thread.run_sync(server.kill)
                await trio.to_thread.run_sync(server.start)
                await client.put(b"/w/a", b"2")
                assert changes(await take(watch, 1)) == [("put", b"/w/a", b"2")], "its own history goes on"
                await trio.to_thread.run_sync(server.kill)
                shutil.rmtree(server.directory / "data")
                (tmp_path / "data").rename(server.directory / "data")
                await trio.to_thread.run_sync(server.start)
                with trio.fail_after(20), pytest.raises(EtcdError, match="another history") as caught:
                    await watch.__anext__()
    assert caught.value.code == "rewound"
    assert caught.value.history_lost
