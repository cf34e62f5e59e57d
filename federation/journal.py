"""The lines of a cluster's journal on disk: what lies at a path now, with the seal that stands for its signature."""

from __future__ import annotations

import os
from collections.abc import Iterable, Iterator
from pathlib import Path as FilePath

import msgspec

from federation.paths import Path, parse_path
from federation.seal import Seal


class Entry(msgspec.Struct, frozen=True):
    """What is noted of a path. `raw` (ASCII: a JWS, or an address) was verified there under the key that `key_id`
    stands for, unless that is empty; without `raw` nothing lies there now, and what lay there before had this
    sequence."""

    raw: bytes | None
    key_id: bytes = b""
    sequence: int = -1


class Line(msgspec.Struct, omit_defaults=True):
    """An entry as it is written."""

    path: str
    value: str | None = None
    sequence: int = -1
    seal: str = ""


class Batch(msgspec.Struct, frozen=True):
    """Entries for one cluster's journal: all of it (`whole`), or more of it."""

    cluster: str
    entries: dict[Path, Entry]
    whole: bool


def read_line(text: bytes) -> tuple[Path, Line] | None:
    """A line and its place; None where it can't be read."""
    try:
        line = _decode(text)
        path = parse_path(line.path)
    except (msgspec.DecodeError, ValueError, RecursionError):
        return None
    if path is None or (line.value is not None and not line.value.isascii()):
        return None
    return path, line


def write_batch(file: FilePath, batch: Batch, seal: Seal | None) -> None:
    """Appends to the journal, or replaces it. Raises OSError."""
    content = b"".join(_encode_lines(batch, seal))
    if not batch.whole:
        with file.open("ab") as journal:
            journal.write(content)
        return
    beside = file.with_suffix(".tmp")
    with open(os.open(beside, os.O_WRONLY | os.O_CREAT | os.O_TRUNC, 0o600), "wb") as journal:
        journal.write(content)
        journal.flush()
        os.fsync(journal.fileno())
    beside.replace(file)


def _encode_lines(batch: Batch, seal: Seal | None) -> Iterator[bytes]:
    return (_encode(line) + b"\n" for line in _lines(batch, seal))


def _lines(batch: Batch, seal: Seal | None) -> Iterable[Line]:
    for path, entry in batch.entries.items():
        text = str(path)
        if entry.raw is None:
            yield Line(text, None, entry.sequence)
            continue
        made = seal.make(batch.cluster, text, entry.key_id, entry.raw) if entry.key_id and seal is not None else ""
        yield Line(text, entry.raw.decode("ascii"), seal=made)


_decode = msgspec.json.Decoder(Line).decode
_encode = msgspec.json.Encoder().encode
