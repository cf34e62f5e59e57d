"""A start that reads what is new, by its bookmark, believes what one that reads everything believes.

A peer's exports and our own addresses are put, deleted, forged and replayed in a make-believe etcd, which is now and
then restored from a snapshot; the reader writes its journals at any moment, and dies at any.
"""

from __future__ import annotations

import copy
import shutil
import tempfile
from collections.abc import Sequence
from pathlib import Path as FilePath

from hypothesis import given, settings
from hypothesis import strategies as st

from discovery.model import Port, Protocol, ServiceName
from federation import paths
from federation.beliefs import Beliefs
from federation.bookmark import Bookmark
from federation.cache import CachedCluster, CatalogCache
from federation.etcd.kv import KeyRange, KeyValue, RangeNews
from federation.paths import BUNDLE
from federation.readings import Found
from federation.settings import FederationSettings
from federation.values import ExportValue, encode
from tests.federation_members import LAYOUT, as_peers, forge, make_authority
from trust.bundle import encode_bundle

WALL = 1_900_000_000.0
_DIRECTORY = FilePath(tempfile.mkdtemp(prefix="isthmus-bookmark-"))
AUTHORITIES = {name: make_authority(_DIRECTORY, name) for name in ("east", "west")}
shutil.rmtree(_DIRECTORY)
NAMES = [ServiceName("shop", f"s{number}") for number in range(4)]
KEYS = [LAYOUT.key("west", paths.export(name)) for name in NAMES]
ADDRESSES = [LAYOUT.key("east", paths.vip(name)) for name in NAMES]
STRAY = LAYOUT.clusters + b"west/exports/shop"


class Etcd:
    def __init__(self) -> None:
        self.kvs: dict[bytes, KeyValue] = {}
        self.history: dict[int, KeyValue] = {}
        self.revision = 0
        self.compacted = 0

    def put(self, key: bytes, raw: bytes) -> KeyValue:
        self.revision += 1
        self.kvs[key] = self.history[self.revision] = KeyValue(key, raw, 1, self.revision, 1, 0)
        return self.kvs[key]

    def delete(self, key: bytes) -> bool:
        if self.kvs.pop(key, None) is None:
            return False
        self.revision += 1
        return True

    def remembers(self, witness: KeyValue) -> bool:
        if self.kvs.get(witness.key) == witness:
            return True
        return witness.mod_revision > self.compacted and self.history.get(witness.mod_revision) == witness

    def news(self, keys: KeyRange, since: int) -> RangeNews:
        there = [kv for key, kv in sorted(self.kvs.items()) if keys.begin <= key < keys.end]
        return RangeNews(keys, self.revision, [kv for kv in there if kv.mod_revision > since], len(there), True)


class Reader:
    """East. It is started from what lies in `directory`, lists, and follows."""

    def __init__(self, etcd: Etcd, directory: FilePath, *, by_bookmark: bool) -> None:
        self.directory = directory
        cache = CatalogCache(directory)
        cached = cache.load()
        self.beliefs = Beliefs(
            FederationSettings(federation="acme", cluster="east", state_dir=directory, peers={"west": PEER}),
            AUTHORITIES["east"],
            "gw",
            cache,
            0.0,
        )
        self.beliefs.restore_own(cached.get("east", CachedCluster()))
        if "west" in cached:
            list(self.beliefs.peers.restore("west", cached["west"], 0.0, WALL))
        self.left_out = 0
        self.list(etcd, cache.bookmarks.get("") if by_bookmark else None)

    def list(self, etcd: Etcd, bookmark: Bookmark | None) -> None:
        news: Sequence[RangeNews] = []
        if bookmark is not None and etcd.remembers(bookmark.witness):
            ranges = self.beliefs.readings.ranges(bookmark.clusters, None)
            news = [etcd.news(keys, bookmark.witness.mod_revision) for keys in ranges]
        known = self.beliefs.listing_began(WALL, None, news)
        self.left_out = len(known)
        listed = [
            kv for key, kv in sorted(etcd.kvs.items()) if not any(one.keys.begin <= key < one.keys.end for one in known)
        ]
        for kv in [*self.beliefs.recognition.unknown(listed), *(kv for one in known for kv in one.kvs)]:
            self.found(kv)
        seen = [*listed, *(kv for one in known for kv in one.kvs)]
        if known and bookmark is not None:
            seen.append(bookmark.witness)
        self.witness = max(seen, key=lambda kv: kv.mod_revision, default=None)
        self.beliefs.listing_ended(0.0, WALL)
        self.beliefs.observe_etcd(True, 0.0, WALL)

    def found(self, kv: KeyValue) -> None:
        self.beliefs.found(Found(kv.key, kv.value, kv.lease, kv.mod_revision), 0.0, WALL)

    def save(self) -> None:
        bookmark = Bookmark(self.witness, self.beliefs.whole(None)) if self.witness is not None else None
        self.beliefs.cache.set_aside({"": bookmark})
        self.beliefs.cache.write()

    def believes(self) -> object:
        """All that can differ."""
        state, book = self.beliefs.members["west"].state, self.beliefs.addresses.book
        return (
            dict(state.exports),
            state.away,
            sorted((refusal.path, refusal.code) for refusal in state.refusals.current()),
            sorted(self.beliefs.catalog.services),
            {name: (book.addresses.get(name), book.agreed_at(name)) for name in NAMES if book.is_shared(name)},
        )


PEER = as_peers(AUTHORITIES)["west"]


def export(number: int, sequence: int) -> bytes:
    value = encode(ExportValue((Port("http", 1 + sequence, Protocol.HTTP),), ("*",), 1.0))
    return forge(AUTHORITIES["west"], "west", paths.export(NAMES[number]), value, sequence=sequence, issued_at=WALL - 1)


_SEEN = ("put", "put", "delete", "forge", "replay", "stray", "address", "no-address", "bundle", "no-bundle")
_REST = ("save", "save", "power-cut", "snapshot", "restore", "compact", "unseen", "start", "start", "start")
_STEPS = st.lists(st.tuples(st.sampled_from(_SEEN + _REST), st.integers(0, 3)), min_size=8, max_size=40)


class Story:
    """What `steps` do; `starts` counts those from disk, `left_out` the ranges that they did not list."""

    def __init__(self, directory: FilePath) -> None:
        self.directory = directory
        self.etcd = Etcd()
        self.sequence = 0
        self.olds: list[bytes] = []
        self.saved: Etcd | None = None
        self.followed = True
        self.left_out = 0
        bundle = AUTHORITIES["west"].bundle(1)
        self.bundle = forge(
            AUTHORITIES["west"],
            "west",
            BUNDLE,
            encode_bundle(bundle),
            sequence=1,
            issued_at=WALL - 1,
            with_chain=True,
        )
        self.etcd.put(LAYOUT.key("west", BUNDLE), self.bundle)
        for number in range(3):
            self.put(KEYS[number], self.signed(number))
        self.reader = Reader(self.etcd, directory / "disk", by_bookmark=True)

    def signed(self, number: int) -> bytes:
        self.sequence += 1
        self.olds.append(export(number, self.sequence))
        return self.olds[-1]

    def put(self, key: bytes, raw: bytes) -> None:
        kv = self.etcd.put(key, raw)
        if self.followed and hasattr(self, "reader"):
            self.reader.found(kv)
            if self.reader.witness is not None:
                self.reader.witness = kv

    def delete(self, key: bytes) -> None:
        if self.etcd.delete(key) and self.followed:
            self.reader.beliefs.gone(key, self.etcd.revision, 0.0, WALL)

    def step(self, what: str, number: int) -> None:
        match what:
            case "put":
                self.put(KEYS[number], self.signed(number))
            case "delete":
                self.delete(KEYS[number])
            case "forge":
                self.put(KEYS[number], self.olds[-1][:-9] + b"AAAAAAAAA")
            case "replay":
                self.put(KEYS[number], self.olds[number % len(self.olds)])
            case "stray":
                self.put(STRAY, b"x") if number else self.delete(STRAY)
            case "address":
                self.put(ADDRESSES[number], b"127.80.0.%d" % (9 + (self.sequence + number) % 5))
            case "no-address":
                self.delete(ADDRESSES[number])
            case "bundle":
                self.put(LAYOUT.key("west", BUNDLE), self.bundle)
            case "no-bundle":
                self.delete(LAYOUT.key("west", BUNDLE))
            case "save":
                self.reader.save()
            case "power-cut":
                self.cut("west" if number else "east")
            case "snapshot":
                self.saved = copy.deepcopy(self.etcd)
            case "restore":
                self.restore()
            case "compact":
                self.etcd.compacted = self.etcd.revision
            case "unseen":
                self.followed = False  # From here on things happen while the reader is not there.
            case _:
                self.start()

    def cut(self, cluster: str) -> None:
        """The last part of a journal is lost, the bookmark is not, and the reader starts again."""
        journal = self.reader.directory / f"{cluster}.jsonl"
        if journal.exists():
            lines = journal.read_bytes().splitlines(keepends=True)
            marks = [number for number, line in enumerate(lines) if line.startswith(b'{"size"')]
            journal.write_bytes(b"".join(lines[: marks[-1]]) if marks else b"")
        self.start()

    def restore(self) -> None:
        """An etcd that goes back, and on in another way."""
        self.followed = False
        if self.saved is not None:
            self.etcd = copy.deepcopy(self.saved)

    def start(self) -> None:
        whole = FilePath(tempfile.mkdtemp(dir=self.directory))
        if self.reader.directory.exists():
            shutil.copytree(self.reader.directory, whole, dirs_exist_ok=True)
        expected = Reader(self.etcd, whole, by_bookmark=False).believes()
        self.reader = Reader(self.etcd, self.reader.directory, by_bookmark=True)
        self.followed = True
        self.left_out += self.reader.left_out
        assert self.reader.believes() == expected


@settings(max_examples=80, deadline=None)
@given(_STEPS)
def test_news_and_disk_are_the_whole(steps: list[tuple[str, int]]) -> None:
    """Whatever happened, while the reader was there and while it was not."""
    with tempfile.TemporaryDirectory(prefix="isthmus-bookmark-") as directory:
        story = Story(FilePath(directory))
        for what, number in [*steps, ("start", 0)]:
            story.step(what, number)


def test_a_quiet_restart_lists_neither_exports_nor_addresses(tmp_path: FilePath) -> None:
    """The property above would hold as well if no range were ever left out."""
    story = Story(tmp_path)
    for name in NAMES[:3]:
        address = story.reader.beliefs.addresses.book.addresses[name]
        story.put(LAYOUT.key("east", paths.vip(name)), address.encode())
    story.step("save", 0)
    story.step("unseen", 0)
    story.step("put", 1)
    story.step("start", 0)
    assert story.left_out == 2
    story.step("save", 0)
    story.step("unseen", 0)
    story.step("delete", 1)
    story.step("start", 0)
    assert story.left_out == 3, "what was deleted is found by listing all of them"


def test_an_address_of_which_the_disk_does_not_know_keeps_the_addresses_out_of_the_bookmark(tmp_path: FilePath) -> None:
    """etcd holds one that can't hold, and the disk the one that is meant. With another deleted while nobody looked,
    there are as many as the disk knows of, and the deleted one would be believed to be there."""
    story = Story(tmp_path)
    for name in NAMES[:2]:
        address = story.reader.beliefs.addresses.book.addresses[name]
        story.put(LAYOUT.key("east", paths.vip(name)), address.encode())
    story.put(ADDRESSES[2], b"10.9.8.7")
    assert story.reader.beliefs.whole(None) == {"west"}
    story.step("save", 0)
    story.step("unseen", 0)
    story.step("no-address", 1)
    story.step("start", 0)
    assert story.left_out == 1, "the exports of west"
    good = story.reader.beliefs.addresses.book.addresses[NAMES[2]]
    story.put(ADDRESSES[2], good.encode())
    assert story.reader.beliefs.whole(None) == {"east", "west"}
