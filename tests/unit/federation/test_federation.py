"""The composition: that a stop at any moment loses nothing that was to be on disk."""

from __future__ import annotations

import threading
from pathlib import Path as FilePath

import pytest
import trio

from discovery.model import ServiceName
from federation import paths
from federation.cache import CatalogCache
from tests.federation_members import run_member, until
from tests.ports import refusing_address

PAY, OTHER = (paths.vip(ServiceName("shop", name)) for name in ("pay", "other"))


def on_disk(directory: FilePath) -> dict[str, int]:
    """What the journals hold of addresses: with their revisions."""
    cached = CatalogCache(directory / "east" / "catalog").load()
    return {str(path): entry.sequence for path, entry in cached["east"].entries.items()} if "east" in cached else {}


async def test_a_stop_before_a_thread_has_what_was_set_aside_loses_nothing(
    tmp_path: FilePath, monkeypatch: pytest.MonkeyPatch
) -> None:
    """All threads may be at work elsewhere. The bookmark that is written at the end says that all is on disk."""
    monkeypatch.setattr("federation.federation._FLUSH_S", 0.01)
    limiter = trio.to_thread.current_default_thread_limiter()
    async with run_member(tmp_path, "east", {}, f"http://{refusing_address()}") as east:
        others = [object() for _ in range(int(limiter.available_tokens))]
        for other in others:
            limiter.acquire_on_behalf_of_nowait(other)
        cache = east.federation._beliefs.cache
        cache.put("east", PAY, b"127.80.0.9", sequence=5)
        await until(lambda: not cache.has_news and limiter.statistics().tasks_waiting > 0)
        assert on_disk(tmp_path) == {}
    for other in others:
        limiter.release_on_behalf_of(other)
    assert on_disk(tmp_path) == {str(PAY): 5}


async def test_a_stop_before_it_is_set_aside_writes_it(tmp_path: FilePath, monkeypatch: pytest.MonkeyPatch) -> None:
    """The last write is that of the stop itself."""
    monkeypatch.setattr("federation.federation._FLUSH_S", 3600.0)
    async with run_member(tmp_path, "east", {}, f"http://{refusing_address()}") as east:
        east.federation._beliefs.cache.put("east", PAY, b"127.80.0.9", sequence=5)
        assert on_disk(tmp_path) == {}
    assert on_disk(tmp_path) == {str(PAY): 5}


async def test_what_was_set_aside_first_is_written_first(tmp_path: FilePath, monkeypatch: pytest.MonkeyPatch) -> None:
    """A gateway that takes another version's place writes at once, while a thread may be about to write what was set
    aside before: that is gone if it is written after what builds on it, and if the thread never comes to it."""
    monkeypatch.setattr("federation.federation._FLUSH_S", 3600.0)
    async with run_member(tmp_path, "east", {}, f"http://{refusing_address()}") as east:
        cache = east.federation._beliefs.cache
        cache.put("east", PAY, b"127.80.0.9", sequence=5)
        cache.set_aside()
        cache.put("east", OTHER, b"127.80.0.10", sequence=6)
        east.federation.save()
        assert on_disk(tmp_path) == {str(PAY): 5, str(OTHER): 6}
        cache.write()
        assert on_disk(tmp_path) == {str(PAY): 5, str(OTHER): 6}


async def test_one_writes_at_a_time(tmp_path: FilePath, monkeypatch: pytest.MonkeyPatch) -> None:
    """Both go on from the end of the same journal."""
    monkeypatch.setattr("federation.federation._FLUSH_S", 3600.0)
    async with run_member(tmp_path, "east", {}, f"http://{refusing_address()}") as east:
        cache = east.federation._beliefs.cache
        cache.put("east", PAY, b"127.80.0.9", sequence=5)
        cache.set_aside()
        with cache._writing:
            thread = threading.Thread(target=cache.write)
            thread.start()
            thread.join(0.05)
            assert thread.is_alive(), "it waits for the other one"
            assert on_disk(tmp_path) == {}
        thread.join(20)
        assert on_disk(tmp_path) == {str(PAY): 5}
