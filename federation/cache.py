"""The last accepted state on disk, so that a gateway that starts while etcd is down serves what it knew.

One file for each cluster, `<directory>/<cluster>.jsonl`: a journal with one line for each change, the raw signed
record as it lay in etcd, which is verified again when it is loaded: by its seal (`federation.seal`), else by its
signature. Changes are appended, so that one change costs one line whatever the catalog holds; a journal that is mostly
history is written anew, beside the old one, and renamed. A line that can't be read is named and skipped: a torn end or
a damaged disk is never fatal.
"""

from __future__ import annotations

from collections.abc import Iterable
from pathlib import Path as FilePath

import msgspec

from discovery.model import is_dns_label
from federation.journal import Batch, Entry, Line, read_line, write_batch
from federation.ledger import MAX_TOMBSTONES
from federation.paths import Path
from federation.seal import Seal, load_seal

_SUFFIX = ".jsonl"
_SEAL_FILE = "seal.key"
_SPARE_LINES = 1_000
"""A journal is rewritten when it has more lines than twice its live ones and this."""


class CachedCluster(msgspec.Struct):
    """What is known of one cluster: its records by path, the keys that they were verified under, and the last sequences
    of paths that are empty now. `seals` are those from the disk that nobody has asked for yet."""

    records: dict[Path, bytes] = {}
    buried: dict[Path, int] = {}
    key_ids: dict[Path, bytes] = {}
    seals: dict[Path, str] = {}


class CatalogCache:
    """Keeps clusters' records under `directory`. `put` and `drop` only note; `write` seals and writes what was noted,
    and may be called in another thread than they are, one call at a time."""

    def __init__(self, directory: FilePath) -> None:
        self.directory = directory
        self.complaints: list[str] = []
        """What could not be read or written, by file and line, for status."""
        self._seal: Seal | None = None
        self._state: dict[str, CachedCluster] = {}
        self._lines: dict[str, int] = {}
        self._pending: dict[str, dict[Path, Entry]] = {}

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
        return self._state

    def put(self, cluster: str, path: Path, raw: bytes, key_id: bytes = b"") -> None:
        """This lies there now, verified under the public key that `key_id` stands for (empty: it is no record, or
        shall be verified anew). `raw` is ASCII."""
        state = self._cluster(cluster)
        if state.records.get(path) == raw and (not key_id or state.key_ids.get(path) == key_id):
            return
        state.records[path] = raw
        if state.buried:
            state.buried.pop(path, None)
        if state.seals:
            state.seals.pop(path, None)
        if key_id:
            state.key_ids[path] = key_id
        else:
            state.key_ids.pop(path, None)
        self._note(cluster, path, Entry(raw, key_id))

    def is_sealed(self, cluster: str, path: Path, raw: bytes, key_id: bytes) -> bool:
        """Whether these bytes were verified at this place, and under this key, before."""
        state = self._state.get(cluster)
        if state is None or state.records.get(path) != raw or not key_id:
            return False
        seal = state.seals.pop(path, None)
        if seal is not None and self._seal is not None and self._seal.fits(seal, cluster, str(path), key_id, raw):
            state.key_ids[path] = key_id
        return state.key_ids.get(path) == key_id

    def drop(self, cluster: str, path: Path, sequence: int) -> None:
        """Nothing lies there any longer; `sequence` is what it had, -1 where there are none."""
        state = self._cluster(cluster)
        for known in (state.records, state.key_ids, state.seals):
            known.pop(path, None)
        if sequence >= 0:
            state.buried[path] = sequence
        if len(state.buried) > MAX_TOMBSTONES:
            del state.buried[next(iter(state.buried))]
        self._note(cluster, path, Entry(None, b"", sequence))

    def _cluster(self, cluster: str) -> CachedCluster:
        state = self._state.get(cluster)
        if state is None:
            state = self._state[cluster] = CachedCluster()
        return state

    def _note(self, cluster: str, path: Path, entry: Entry) -> None:
        pending = self._pending.get(cluster)
        if pending is None:
            pending = self._pending[cluster] = {}
        pending[path] = entry

    def take_pending(self) -> list[Batch]:
        """What `write` shall write: called where `put` is, so that the rest can be done in a thread."""
        pending, self._pending = self._pending, {}
        return [self._batch(cluster, entries) for cluster, entries in pending.items()]

    def write(self, batches: Iterable[Batch]) -> None:
        """Writes to disk. A disk that refuses is complained about; what was to be written waits for the next
        rewrite, as all of it is still in memory."""
        for batch in batches:
            try:
                write_batch(self.directory / f"{batch.cluster}{_SUFFIX}", batch, self._seal)
            except OSError as error:
                self._lines[batch.cluster] = -1
                self._complain(f"{batch.cluster}{_SUFFIX}: not written: {error.strerror}")

    def _batch(self, cluster: str, entries: dict[Path, Entry]) -> Batch:
        state = self._state[cluster]
        live = len(state.records) + len(state.buried)
        count = self._lines.get(cluster, -1)
        if count >= 0 and count + len(entries) <= 2 * live + _SPARE_LINES:
            self._lines[cluster] = count + len(entries)
            return Batch(cluster, entries, whole=False)
        self._lines[cluster] = live
        records = {path: Entry(raw, state.key_ids.get(path, b"")) for path, raw in state.records.items()}
        buried = {path: Entry(None, b"", sequence) for path, sequence in state.buried.items()}
        return Batch(cluster, records | buried, whole=True)

    def _load_cluster(self, cluster: str, file: FilePath) -> None:
        state = self._state[cluster] = CachedCluster()
        try:
            content = file.read_bytes()
        except OSError as error:
            self._complain(f"{file.name}: {error.strerror}")
            return
        lines = content.split(b"\n")
        unreadable = [number for number, line in enumerate(lines, 1) if line and not _replay(state, line)]
        if unreadable:
            self._complain(f"{file.name}: {len(unreadable)} unreadable lines skipped, the first is {unreadable[0]}")
        # Whatever follows a damaged or unfinished line could not be told apart from it: write anew at the next change.
        self._lines[cluster] = -1 if unreadable or lines[-1] else len(lines) - 1

    def _complain(self, text: str) -> None:
        self.complaints = [*self.complaints[-15:], text]


def _replay(state: CachedCluster, text: bytes) -> bool:
    """Applies one line; returns whether it could be read."""
    read = read_line(text)
    if read is None:
        return False
    path, line = read
    if line.value is None:
        _bury(state, path, line)
        return True
    state.buried.pop(path, None)
    state.records[path] = line.value.encode("ascii")
    if line.seal:
        state.seals[path] = line.seal
    else:
        state.seals.pop(path, None)
    return True


def _bury(state: CachedCluster, path: Path, line: Line) -> None:
    state.seals.pop(path, None)
    state.records.pop(path, None)
    if line.sequence >= 0:
        state.buried[path] = line.sequence
