"""The last accepted state on disk, so that a gateway that starts while etcd is down serves what it knew.

One file for each cluster, `<directory>/<cluster>.jsonl` (`federation.journal`): one line for each change, the raw
signed record as it lay in etcd, which is verified again when it is loaded: by a seal (`federation.seal`), else by its
signature. Changes are appended, so that one change costs one line whatever the catalog holds; a journal that is mostly
history is written anew, beside the old one, and renamed. A line that can't be read is named and skipped: a torn end or
a damaged disk is never fatal. `<directory>/bookmarks` says which etcd they are as new as (`federation.bookmark`).
"""

from __future__ import annotations

import threading
from collections import deque
from collections.abc import Iterable, Mapping
from pathlib import Path as FilePath

from discovery.model import is_dns_label
from federation.bookmark import Bookmark, KeptBookmark, decode_bookmarks, encode_bookmarks, keep, open_kept
from federation.journal import Batch, Entry, JournalEnd, read_journal, write_batch
from federation.ledger import MAX_TOMBSTONES
from federation.paths import Path
from federation.seal import Seal, load_seal
from federation.values import ExportValue

_SUFFIX = ".jsonl"
_SEAL_FILE = "seal.key"
_BOOKMARKS_FILE = "bookmarks"
_SPARE_LINES = 1_000
"""A journal is rewritten when it has more lines than twice its live ones and this."""


class CachedCluster:
    """What is known of one cluster: its records by path, and the last sequences of paths that are empty now."""

    def __init__(self) -> None:
        self.entries: dict[Path, Entry] = {}
        self.buried: dict[Path, int] = {}

    @property
    def records(self) -> dict[Path, bytes]:
        """Their bytes."""
        return {path: entry.raw for path, entry in self.entries.items() if entry.raw is not None}

    def take(self, path: Path, entry: Entry) -> None:
        if entry.raw is not None:
            self.entries[path] = entry
            if self.buried:
                self.buried.pop(path, None)
            return
        self.entries.pop(path, None)
        if entry.sequence >= 0:
            self.buried[path] = entry.sequence
        if len(self.buried) > MAX_TOMBSTONES:
            del self.buried[next(iter(self.buried))]


class CatalogCache:
    """Keeps clusters' records under `directory`. `put` and `drop` only note; `set_aside` takes what was noted; `write`
    seals and writes that, and may be called in another thread than they are."""

    def __init__(self, directory: FilePath) -> None:
        self.directory = directory
        self.complaints: list[str] = []
        """What could not be read or written, by file and line, for status."""
        self._seal = Seal(b"")
        """Of no use before `load`."""
        self._state: dict[str, CachedCluster] = {}
        self._lines: dict[str, int] = {}
        self._pending: dict[str, dict[Path, Entry]] = {}
        self.bookmarks: dict[str, Bookmark] = {}
        """Those that hold for what `load` read, by the name of the etcd."""
        self._ends: dict[str, JournalEnd] = {}
        self._kept: dict[str, KeptBookmark] = {}
        self._set_aside: deque[tuple[list[Batch], Mapping[str, Bookmark | None]]] = deque()
        self._writing = threading.Lock()

    def load(self) -> dict[str, CachedCluster]:
        """Reads everything, by cluster. Call it once, first. Never raises for what it finds."""
        try:
            self.directory.mkdir(parents=True, exist_ok=True, mode=0o700)
            self._seal = load_seal(self.directory / _SEAL_FILE)
            files = sorted(self.directory.glob(f"*{_SUFFIX}"))
        except OSError as error:
            self._complain(f"{self.directory}: {error.strerror}")
            return {}
        for file in files:
            cluster = file.name.removesuffix(_SUFFIX)
            if is_dns_label(cluster):
                self._load_cluster(cluster, file)
        self._load_bookmarks()
        return self._state

    def put(
        self,
        cluster: str,
        path: Path,
        raw: bytes,
        key_id: bytes = b"",
        sequence: int = -1,
        export: ExportValue | None = None,
    ) -> None:
        """This lies there now, verified under the public key that `key_id` stands for (empty: it is no record, or
        shall be verified anew), with this sequence (of an address: the revision at which etcd got it, -1 where it has
        not). `raw` is ASCII."""
        known = self._cluster(cluster).entries.get(path)
        if (
            known is not None
            and known.raw == raw
            and (not key_id or known.key_id == key_id)
            and (known.sequence == sequence or key_id)
        ):
            return
        self._note(cluster, path, Entry(raw, key_id, sequence, export))

    def knows(self, cluster: str, path: Path) -> bool:
        """Whether anything lies there."""
        return cluster in self._state and path in self._state[cluster].entries

    def count(self, cluster: str) -> int:
        """How much is known of a cluster."""
        return len(self._state[cluster].entries) if cluster in self._state else 0

    def is_sealed(self, cluster: str, path: Path, raw: bytes, key_id: bytes) -> bool:
        """Whether these bytes were verified at this place, and under this key, before."""
        known = self._cluster(cluster).entries.get(path)
        return known is not None and known.raw == raw and bool(key_id) and known.key_id == key_id

    def drop(self, cluster: str, path: Path, sequence: int) -> None:
        """Nothing lies there any longer; `sequence` is what it had, -1 where there are none."""
        self._note(cluster, path, Entry(None, b"", sequence))

    def _cluster(self, cluster: str) -> CachedCluster:
        state = self._state.get(cluster)
        if state is None:
            state = self._state[cluster] = CachedCluster()
        return state

    def _note(self, cluster: str, path: Path, entry: Entry) -> None:
        self._cluster(cluster).take(path, entry)
        self._pending.setdefault(cluster, {})[path] = entry

    @property
    def has_news(self) -> bool:
        """Whether anything was noted that is not set aside yet."""
        return bool(self._pending)

    def set_aside(self, bookmarks: Mapping[str, Bookmark | None] | None = None) -> None:
        """What was noted is what `write` writes next: called where `put` is, so that the rest can be done in a thread.
        `bookmarks` hold with it, by the name of the etcd; None: none does. Those of other etcds stay."""
        self._set_aside.append((self.take_pending(), bookmarks or {}))

    def take_pending(self) -> list[Batch]:
        """What was noted, for a journal each."""
        pending, self._pending = self._pending, {}
        return [self._batch(cluster, entries) for cluster, entries in pending.items()]

    def write(self) -> None:
        """Writes to disk all that was set aside, in that order, whoever set it aside: one part builds on the other. A
        disk that refuses is complained about; what was to be written waits for the next rewrite, as all of it is still
        in memory."""
        with self._writing:
            while self._set_aside:
                self._write(*self._set_aside.popleft())

    def _write(self, batches: Iterable[Batch], bookmarks: Mapping[str, Bookmark | None]) -> None:
        for batch in batches:
            end = self._ends.pop(batch.cluster, None)
            try:
                end = write_batch(self.directory / f"{batch.cluster}{_SUFFIX}", batch, self._seal, end)
            except OSError as error:
                self._lines[batch.cluster] = -1
                self._complain(f"{batch.cluster}{_SUFFIX}: not written: {error.strerror}")
            else:
                if end is not None:
                    self._ends[batch.cluster] = end
        if bookmarks:
            self._write_bookmarks(bookmarks)

    def _write_bookmarks(self, bookmarks: Mapping[str, Bookmark | None]) -> None:
        """After the journals, whose ends they name. What a power cut leaves of both does not fit together."""
        kept = {name: keep(bookmark, self._ends) for name, bookmark in bookmarks.items() if bookmark is not None}
        kept |= {name: old for name, old in self._kept.items() if name not in bookmarks}
        if kept == self._kept:
            return
        file = self.directory / _BOOKMARKS_FILE
        try:
            beside = file.with_suffix(".tmp")
            beside.write_bytes(encode_bookmarks(kept, self._seal))
            beside.replace(file)
        except OSError as error:
            self._complain(f"{_BOOKMARKS_FILE}: not written: {error.strerror}")
        else:
            self._kept = kept

    def _batch(self, cluster: str, entries: dict[Path, Entry]) -> Batch:
        state = self._state[cluster]
        live = len(state.entries) + len(state.buried)
        count = self._lines.get(cluster, -1)
        batch = Batch(cluster, entries, whole=False)
        if count >= 0 and count + batch.lines <= 2 * live + _SPARE_LINES:
            self._lines[cluster] = count + batch.lines
            return batch
        buried = {path: Entry(None, b"", sequence) for path, sequence in state.buried.items()}
        batch = Batch(cluster, state.entries | buried, whole=True)
        self._lines[cluster] = batch.lines
        return batch

    def _load_cluster(self, cluster: str, file: FilePath) -> None:
        state = self._state[cluster] = CachedCluster()
        try:
            content = file.read_bytes()
        except OSError as error:
            self._complain(f"{file.name}: {error.strerror}")
            return
        journal = read_journal(content, cluster, self._seal)
        for path, entry in journal.entries:
            state.take(path, entry)
        if bad := journal.unreadable:
            self._complain(f"{file.name}: {len(bad)} unreadable lines skipped, the first is {bad[0]}")
        # Whatever follows a damaged or unfinished part could not be told apart from it: write anew at the next change.
        self._lines[cluster] = journal.lines if journal.ended and not bad else -1
        if journal.end is not None:
            self._ends[cluster] = journal.end

    def _load_bookmarks(self) -> None:
        try:
            content = (self.directory / _BOOKMARKS_FILE).read_bytes()
        except OSError:
            return  # There is none yet, or etcd is listed as if there were none.
        self._kept = decode_bookmarks(content, self._seal)
        self.bookmarks = {name: open_kept(kept, self._ends) for name, kept in self._kept.items()}

    def _complain(self, text: str) -> None:
        self.complaints = [*self.complaints[-15:], text]
