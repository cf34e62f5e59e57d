"""The last accepted state on disk, so that a gateway that starts while etcd is down serves what it knew.

One file for each cluster, `<directory>/<cluster>.jsonl`: a journal with one line for each change, the raw signed
record as it lay in etcd, which is verified again when it is loaded: by its seal (`federation.seal`), else by its
signature. Changes are appended, so that one change costs one line whatever the catalog holds; a journal that is mostly
history is written anew, beside the old one, and renamed. A line that can't be read is named and skipped: a torn end or
a damaged disk is never fatal.
"""

from __future__ import annotations

import os
from collections.abc import Iterable
from pathlib import Path as FilePath

import msgspec

from discovery.model import is_dns_label
from federation.ledger import MAX_TOMBSTONES
from federation.paths import Path, parse_path
from federation.seal import Seal, load_seal

_SUFFIX = ".jsonl"
_SEAL_FILE = "seal.key"
_SPARE_LINES = 1_000
"""A journal is rewritten when it has more lines than twice its live ones and this."""


class _Line(msgspec.Struct, omit_defaults=True):
    path: str
    value: str | None = None
    """ASCII: a JWS, or an address. None: nothing lies here now."""
    sequence: int = -1
    """Of what lay here before, when nothing does."""
    seal: str = ""


class CachedCluster(msgspec.Struct):
    """What is known of one cluster: its records by path, their seals, and the last sequences of paths that are empty
    now."""

    records: dict[Path, bytes] = {}
    buried: dict[Path, int] = {}
    seals: dict[Path, str] = {}


class CatalogCache:
    """Keeps clusters' records under `directory`. `put` and `drop` only note; `flush` writes, and may be called in
    another thread than they are, one call at a time."""

    def __init__(self, directory: FilePath) -> None:
        self.directory = directory
        self.complaints: list[str] = []
        """What could not be read or written, by file and line, for status."""
        self._seal: Seal | None = None
        self._state: dict[str, CachedCluster] = {}
        self._lines: dict[str, int] = {}
        self._pending: dict[str, dict[Path, _Line]] = {}

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
        state = self._state.setdefault(cluster, CachedCluster())
        if state.records.get(path) == raw and (path in state.seals or not key_id):
            return
        state.records[path] = raw
        state.buried.pop(path, None)
        state.seals.pop(path, None)
        if key_id and self._seal is not None:
            state.seals[path] = self._seal.make(cluster, str(path), key_id, raw)
        self._pending.setdefault(cluster, {})[path] = _record_line(state, path)

    def is_sealed(self, cluster: str, path: Path, raw: bytes, key_id: bytes) -> bool:
        """Whether these bytes were verified at this place, and under this key, before they were written to disk."""
        seal = self._state[cluster].seals.get(path) if cluster in self._state else None
        if seal is None or self._seal is None:
            return False
        fits = self._seal.fits(seal, cluster, str(path), key_id, raw)
        if not fits and self._state[cluster].records.get(path) == raw:
            del self._state[cluster].seals[path]  # Once it is verified, it is sealed anew.
        return fits

    def drop(self, cluster: str, path: Path, sequence: int) -> None:
        """Nothing lies there any longer; `sequence` is what it had, -1 where there are none."""
        state = self._state.setdefault(cluster, CachedCluster())
        state.records.pop(path, None)
        state.seals.pop(path, None)
        if sequence >= 0:
            state.buried[path] = sequence
        if len(state.buried) > MAX_TOMBSTONES:
            del state.buried[next(iter(state.buried))]
        self._pending.setdefault(cluster, {})[path] = _Line(str(path), None, sequence)

    def take_pending(self) -> list[Batch]:
        """What `write` shall write: called where `put` is, so that only the writing needs a thread."""
        pending, self._pending = self._pending, {}
        return [self._batch(cluster, lines) for cluster, lines in pending.items()]

    def write(self, batches: Iterable[Batch]) -> None:
        """Writes to disk. A disk that refuses is complained about; what was to be written waits for the next
        rewrite, as all of it is still in memory."""
        for batch in batches:
            try:
                _write(self.directory / f"{batch.cluster}{_SUFFIX}", batch)
            except OSError as error:
                self._lines[batch.cluster] = -1
                self._complain(f"{batch.cluster}{_SUFFIX}: not written: {error.strerror}")

    def _batch(self, cluster: str, lines: dict[Path, _Line]) -> Batch:
        state = self._state[cluster]
        live = len(state.records) + len(state.buried)
        count = self._lines.get(cluster, -1)
        if count >= 0 and count + len(lines) <= 2 * live + _SPARE_LINES:
            self._lines[cluster] = count + len(lines)
            return Batch(cluster, _encode(lines.values()), whole=False)
        self._lines[cluster] = live
        records = (_record_line(state, path) for path in state.records)
        buried = (_Line(str(path), None, sequence) for path, sequence in state.buried.items())
        return Batch(cluster, _encode([*records, *buried]), whole=True)

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


class Batch(msgspec.Struct, frozen=True):
    """Lines for one cluster's journal: all of it (`whole`), or more of it."""

    cluster: str
    content: bytes
    whole: bool


def _record_line(state: CachedCluster, path: Path) -> _Line:
    return _Line(str(path), state.records[path].decode("ascii"), seal=state.seals.get(path, ""))


def _replay(state: CachedCluster, text: bytes) -> bool:
    """Applies one line; returns whether it could be read."""
    try:
        line = msgspec.json.decode(text, type=_Line)
        path = parse_path(line.path)
        raw = line.value.encode("ascii") if line.value is not None else None
    except (msgspec.DecodeError, ValueError, RecursionError):
        return False
    if path is None:
        return False
    state.seals.pop(path, None)
    if raw is None:
        state.records.pop(path, None)
        if line.sequence >= 0:
            state.buried[path] = line.sequence
    else:
        state.buried.pop(path, None)
        state.records[path] = raw
        if line.seal:
            state.seals[path] = line.seal
    return True


def _encode(lines: Iterable[_Line]) -> bytes:
    return b"".join(msgspec.json.encode(line) + b"\n" for line in lines)


def _write(file: FilePath, batch: Batch) -> None:
    if not batch.whole:
        with file.open("ab") as journal:
            journal.write(batch.content)
        return
    beside = file.with_suffix(".tmp")
    with open(os.open(beside, os.O_WRONLY | os.O_CREAT | os.O_TRUNC, 0o600), "wb") as journal:
        journal.write(batch.content)
        journal.flush()
        os.fsync(journal.fileno())
    beside.replace(file)
