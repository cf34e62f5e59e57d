"""The journal on disk: what was flushed is loaded, damage is named and skipped, and it does not grow for ever."""

from __future__ import annotations

import shutil
import stat
from pathlib import Path as FilePath

import pytest

from discovery.model import ServiceName
from federation import paths
from federation.bookmark import Bookmark
from federation.cache import CachedCluster, CatalogCache
from federation.etcd.kv import KeyValue
from federation.seal import load_seal

A, B = paths.export(ServiceName("shop", "a")), paths.export(ServiceName("shop", "b"))


def flush(cache: CatalogCache) -> None:
    cache.set_aside()
    cache.write()


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


WITNESS = KeyValue(b"/isthmus/\xff", b"\x00\xff", 1, 7, 1, 0)


def bookmarked(directory: FilePath) -> CatalogCache:
    """Two clusters in two parts each, and a bookmark for both."""
    cache = CatalogCache(directory)
    cache.load()
    for raw in (b"one", b"two"):
        for cluster in ("west", "eu"):
            cache.put(cluster, A, raw, b"key")
        cache.set_aside({"": Bookmark(WITNESS, ["west", "eu", "asia"])})
        cache.write()
    return cache


def clusters(directory: FilePath, name: str = "") -> set[str]:
    cache = CatalogCache(directory)
    cache.load()
    bookmark = cache.bookmarks.get(name)
    assert bookmark is None or bookmark.witness == WITNESS
    return set(bookmark.clusters) if bookmark is not None else set()


def test_a_bookmark_holds_for_the_journals_that_it_was_made_with(tmp_path: FilePath) -> None:
    """Over restarts, and also where they were rewritten meanwhile; a cluster without a journal is not in it."""
    cache = bookmarked(tmp_path)
    assert clusters(tmp_path) == {"west", "eu"}
    for number in range(2_100):
        cache.put("west", A, b"%d" % number, b"key")
        cache.set_aside()
        cache.write()
    cache.set_aside({"": Bookmark(WITNESS, ["west", "eu"])})
    cache.write()
    assert clusters(tmp_path) == {"west", "eu"}
    again = CatalogCache(tmp_path)
    again.load()
    again.put("eu", B, b"more")
    again.set_aside({"": Bookmark(WITNESS, ["eu"]), "other": Bookmark(WITNESS, ["west"])})
    again.write()
    assert (clusters(tmp_path), clusters(tmp_path, "other")) == ({"eu"}, {"west"})


def test_a_bookmark_of_another_etcd_stays(tmp_path: FilePath) -> None:
    """What is not told of is as it was; None takes one away."""
    cache = bookmarked(tmp_path)
    cache.set_aside({"other": Bookmark(WITNESS, ["west"])})
    cache.write()
    assert (clusters(tmp_path), clusters(tmp_path, "other")) == ({"west", "eu"}, {"west"})
    cache.set_aside({"": None})
    cache.write()
    assert (clusters(tmp_path), clusters(tmp_path, "other")) == (set(), {"west"})


def test_a_journal_that_is_not_as_it_was_is_in_no_bookmark(tmp_path: FilePath) -> None:
    """A part that a power cut took or a crash left without its bookmark, one in another's place, bytes that were
    changed, another seal: the cluster is read as a whole, the other one is not."""
    bookmarked(tmp_path)
    journal = tmp_path / "west.jsonl"
    good = journal.read_bytes()
    lines = good.splitlines(keepends=True)
    assert len(lines) == 4
    swapped = b"".join([*lines[2:], *lines[:2]])
    for bad in (b"", b"".join(lines[:2]), good[:-1], good + b"x", good.replace(b"two", b"one"), swapped):
        journal.write_bytes(bad)
        assert clusters(tmp_path) == {"eu"}
    journal.unlink()
    assert clusters(tmp_path) == {"eu"}
    journal.write_bytes(good)
    assert clusters(tmp_path) == {"west", "eu"}
    cache = CatalogCache(tmp_path)
    cache.load()
    cache.put("west", B, b"late")
    cache.set_aside()
    cache.write()
    assert clusters(tmp_path) == {"eu"}


@pytest.mark.parametrize("damage", [b"", b"\x00", b"x\n{}", b'{"":1}'])
def test_a_damaged_bookmark_is_none(tmp_path: FilePath, damage: bytes) -> None:
    """Nobody without the seal's key can write one, and nothing raises."""
    bookmarked(tmp_path)
    (tmp_path / "bookmarks").write_bytes(damage)
    assert clusters(tmp_path) == set()
    bookmarked(tmp_path)
    content = (tmp_path / "bookmarks").read_bytes()
    (tmp_path / "bookmarks").write_bytes(content.replace(b'"mod_revision":7', b'"mod_revision":8'))
    assert clusters(tmp_path) == set()
    bookmarked(tmp_path)
    (tmp_path / "seal.key").unlink()
    assert clusters(tmp_path) == set()


def test_bookmarks_of_another_version_are_none(tmp_path: FilePath) -> None:
    """Sealed with the same key, by a program that wrote them otherwise: a start after an upgrade lists, and goes on."""
    bookmarked(tmp_path)
    text = b'{"": {"elsewhere": 1}}'
    sealed = load_seal(tmp_path / "seal.key").make("", "bookmarks", bytes(32), text)
    (tmp_path / "bookmarks").write_bytes(sealed.encode() + b"\n" + text)
    assert clusters(tmp_path) == set()


def test_an_address_is_noted_with_its_revision(tmp_path: FilePath) -> None:
    """The same address at another revision is another note; the same again is none."""
    vip = paths.vip(ServiceName("shop", "a"))
    cache = CatalogCache(tmp_path)
    cache.load()
    for revision in (-1, 5, 5, 6):
        cache.put("east", vip, b"127.80.0.2", sequence=revision)
        flush(cache)
    assert load(tmp_path)["east"].entries[vip].sequence == 6
    assert len((tmp_path / "east.jsonl").read_bytes().splitlines()) == 6
