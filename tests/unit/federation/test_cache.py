"""The journal on disk: what was flushed is loaded, damage is named and skipped, and it does not grow for ever."""

from __future__ import annotations

import shutil
import stat
from pathlib import Path as FilePath

import pytest

from discovery.model import ServiceName
from federation import paths
from federation.cache import CachedCluster, CatalogCache

A, B = paths.export(ServiceName("shop", "a")), paths.export(ServiceName("shop", "b"))


def flush(cache: CatalogCache) -> None:
    cache.write(cache.take_pending())


def load(directory: FilePath) -> dict[str, CachedCluster]:
    return CatalogCache(directory).load()


def test_what_was_flushed_is_loaded(tmp_path: FilePath) -> None:
    """Puts, drops with their sequence, several clusters; over several flushes and restarts."""
    cache = CatalogCache(tmp_path / "catalog")
    assert cache.load() == {}
    cache.put("west", A, b"one")
    cache.put("eu", A, b"x")
    flush(cache)
    cache.put("west", B, b"two")
    cache.drop("west", A, 7)
    flush(cache)
    assert cache.take_pending() == []
    loaded = load(tmp_path / "catalog")
    assert loaded["west"].records == {B: b"two"}
    assert loaded["west"].buried == {A: 7}
    assert loaded["eu"].records == {A: b"x"}


def test_only_the_owner_reads_it(tmp_path: FilePath) -> None:
    cache = CatalogCache(tmp_path / "catalog")
    cache.load()
    cache.put("west", A, b"one")
    flush(cache)
    assert stat.S_IMODE((tmp_path / "catalog").stat().st_mode) == 0o700
    assert stat.S_IMODE((tmp_path / "catalog" / "west.jsonl").stat().st_mode) == 0o600


@pytest.mark.parametrize(
    "damage",
    [
        b'{"path":"exports/shop/b","val',
        b"\x00\xff\x00\n",
        b'{"path":"exports/shop/b","value":"\xc3\xa9"}\n',
        b'{"path":"nowhere","value":"x"}\n',
        b'{"path":7}\n',
        b"[" * 5_000 + b"\n",
    ],
)
def test_a_damaged_line_is_named_and_skipped(tmp_path: FilePath, damage: bytes) -> None:
    """A torn end after a power cut, rubbish in the middle: the rest is loaded, and the next write repairs the file."""
    cache = CatalogCache(tmp_path)
    cache.load()
    cache.put("west", A, b"one")
    flush(cache)
    with (tmp_path / "west.jsonl").open("ab") as file:
        file.write(damage)
    again = CatalogCache(tmp_path)
    assert again.load()["west"].records == {A: b"one"}
    assert "west.jsonl: 1 unreadable lines skipped, the first is 3" in again.complaints[0]
    again.put("west", B, b"two")
    flush(again)
    repaired = CatalogCache(tmp_path)
    assert repaired.load()["west"].records == {A: b"one", B: b"two"}
    assert repaired.complaints == []


def test_one_change_writes_one_line(tmp_path: FilePath) -> None:
    """The cost of a change does not grow with the catalog."""
    cache = CatalogCache(tmp_path)
    cache.load()
    for number in range(500):
        cache.put("west", paths.export(ServiceName("shop", f"s{number}")), b"x" * 100)
    flush(cache)
    cache.put("west", A, b"one")
    (batch,) = cache.take_pending()
    assert not batch.whole
    assert [*batch.entries] == [A]


def test_history_is_dropped_now_and_then(tmp_path: FilePath) -> None:
    """A service whose health flaps for months leaves a short file."""
    cache = CatalogCache(tmp_path)
    cache.load()
    for number in range(3_000):
        cache.put("west", A, str(number).encode())
        flush(cache)
    assert len((tmp_path / "west.jsonl").read_bytes().splitlines()) < 1_100
    assert load(tmp_path)["west"].records == {A: b"2999"}


def test_a_disk_that_refuses_is_complained_about(tmp_path: FilePath) -> None:
    """Nothing raises, and what could not be written is written when it can be."""
    directory = tmp_path / "catalog"
    cache = CatalogCache(directory)
    cache.load()
    shutil.rmtree(directory)
    directory.write_bytes(b"in the way")
    cache.put("west", A, b"one")
    flush(cache)
    assert "not written" in cache.complaints[0]
    directory.unlink()
    directory.mkdir()
    cache.put("west", B, b"two")
    flush(cache)
    assert load(directory)["west"].records == {A: b"one", B: b"two"}
    assert CatalogCache(tmp_path / "file" / "x").load() == {}


def test_the_same_again_is_not_written(tmp_path: FilePath) -> None:
    cache = CatalogCache(tmp_path)
    cache.load()
    cache.put("west", A, b"one")
    flush(cache)
    cache.put("west", A, b"one")
    assert cache.take_pending() == []


def test_what_was_verified_is_known_again_and_only_that(tmp_path: FilePath) -> None:
    """By place, key and bytes, over a restart and a rewrite; what is replaced or dropped loses its seal."""
    cache = CatalogCache(tmp_path)
    cache.load()
    cache.put("west", A, b"one", b"key")
    cache.put("west", B, b"two")
    flush(cache)
    for _ in range(2):
        cache = CatalogCache(tmp_path)
        cache.load()
        assert cache.is_sealed("west", A, b"one", b"key")
        assert not cache.is_sealed("west", B, b"two", b"key")
        assert not cache.is_sealed("west", A, b"another", b"key")
        assert not cache.is_sealed("eu", A, b"one", b"key")
        for number in range(2_100):
            cache.put("west", B, b"%d" % number)
            flush(cache)
        cache.put("west", B, b"two")
        flush(cache)
    cache.put("west", A, b"new")
    assert not cache.is_sealed("west", A, b"new", b"key")
    cache.put("west", A, b"new", b"key")
    assert cache.is_sealed("west", A, b"new", b"key")
    cache.drop("west", A, 7)
    assert not cache.is_sealed("west", A, b"new", b"key")


def test_a_seal_that_does_not_fit_is_made_anew(tmp_path: FilePath) -> None:
    """The signature was checked in its place: the next start need not do that again."""
    cache = CatalogCache(tmp_path)
    cache.load()
    cache.put("west", A, b"one", b"key")
    flush(cache)
    (tmp_path / "seal.key").unlink()
    cache = CatalogCache(tmp_path)
    cache.load()
    assert not cache.is_sealed("west", A, b"one", b"key")
    cache.put("west", A, b"one", b"key")
    flush(cache)
    cache = CatalogCache(tmp_path)
    cache.load()
    assert cache.is_sealed("west", A, b"one", b"key")
