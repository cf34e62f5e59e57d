"""The journal of one cluster on disk: what lies at each path, in parts that are sealed as a whole.

A part is a mark, which says how long it is, and lines:

    {"size":901,"lines":1,"key_id":"<a public key>","seal":"<that they were verified under it>"}
    {"path":"exports/shop/payments","value":"eyJh…","sequence":17,"export":{"ports":[…]}}

Whatever was written at once and under one key is one part, or a few where it is much, so that a hundred thousand
records are believed by some dozen seals. What an export says stands beside it, so that a sealed one need not be taken
apart again; without a good seal nobody looks at that.
"""

from __future__ import annotations

import hashlib
import os
from collections import Counter
from collections.abc import Iterator
from pathlib import Path as FilePath
from typing import Annotated

import msgspec

from federation.paths import Path, known_path, parse_path
from federation.seal import Seal
from federation.values import ExportValue

_PART_LINES = 2_048
"""At most: what is written in a thread keeps the event loop waiting for a part at a time, some milliseconds."""
_UNREADABLE = (msgspec.DecodeError, ValueError, RecursionError)


class Entry(msgspec.Struct, frozen=True, gc=False):
    """What is noted of a path. `raw` (ASCII: a JWS, or an address) was verified there under the key that `key_id`
    stands for, unless that is empty; without `raw` nothing lies there now, and what lay there before had this
    sequence. A record that was verified has its sequence, and if it is an export, what it says."""

    raw: bytes | None
    key_id: bytes = b""
    sequence: int = -1
    export: ExportValue | None = None


class Batch(msgspec.Struct, frozen=True):
    """Entries for one cluster's journal: all of it (`whole`), or more of it."""

    cluster: str
    entries: dict[Path, Entry]
    whole: bool

    @property
    def lines(self) -> int:
        """How many it becomes, with the mark of each part."""
        by_key = Counter(entry.key_id for entry in self.entries.values())
        return len(self.entries) + sum(-(-count // _PART_LINES) for count in by_key.values())


class JournalEnd(msgspec.Struct, frozen=True):
    """Tells one state of a journal from every other: how long it is, and a digest over the seals of all its parts, in
    hexadecimal."""

    size_bytes: int = 0
    chain: str = ""

    def after(self, part: bytes, seal: str) -> JournalEnd:
        """One part more, mark and lines."""
        return JournalEnd(self.size_bytes + len(part), hashlib.sha256((self.chain + seal).encode()).hexdigest())


class Journal(msgspec.Struct, frozen=True):
    """What a journal held: its entries in order, how many lines it had, and the numbers of those that can't be read.
    Not `ended`: more can't be appended, as it could not be told apart from what is there. `end` is None where a part
    was read without its seal."""

    entries: list[tuple[Path, Entry]]
    lines: int
    unreadable: list[int]
    ended: bool
    end: JournalEnd | None = None


class _Mark(msgspec.Struct, frozen=True):
    size: Annotated[int, msgspec.Meta(ge=0)]
    """Bytes of the lines."""
    lines: Annotated[int, msgspec.Meta(ge=0)]
    key_id: str = ""
    """Empty: of these lines no signature was verified, and the seal says no more than that we wrote them."""
    seal: str = ""


class _Line(msgspec.Struct, omit_defaults=True):
    path: str
    value: str | None = None
    sequence: int = -1


class _SealedLine(_Line, omit_defaults=True):
    export: ExportValue | None = None


def read_journal(content: bytes, cluster: str, seal: Seal) -> Journal:
    """Never raises for what it finds."""
    entries: list[tuple[Path, Entry]] = []
    unreadable: list[int] = []
    begin = number = 0
    end: JournalEnd | None = JournalEnd()
    while begin < len(content):
        after_mark = content.find(b"\n", begin) + 1
        mark = _read_mark(content[begin : after_mark - 1]) if after_mark else None
        if mark is None or after_mark + mark.size > len(content):
            entries += _read_each(content[begin:], number, unreadable)
            return Journal(entries, number, unreadable, ended=False)
        part, begin = content[begin : after_mark + mark.size], after_mark + mark.size
        lines = content[after_mark:begin]
        if seal.fits(mark.seal, cluster, mark.key_id, _FORM, lines):
            entries += _read_sealed(lines, mark.key_id.encode())
            end = end.after(part, mark.seal) if end is not None else None
        else:
            entries += _read_unsealed(lines, number + 1, unreadable)
            end = None
        number += mark.lines + 1
    return Journal(entries, number, unreadable, ended=True, end=end)


def _read_mark(text: bytes) -> _Mark | None:
    try:
        return _mark.decode(text)
    except _UNREADABLE:
        return None


def _read_sealed(lines: bytes, key_id: bytes) -> Iterator[tuple[Path, Entry]]:
    """Lines that we wrote, every byte of them."""
    for line in _sealed.decode_lines(lines):
        raw = line.value.encode("ascii") if line.value is not None else None
        yield known_path(line.path), Entry(raw, key_id, line.sequence, line.export)


def _read_unsealed(lines: bytes, before: int, unreadable: list[int]) -> Iterator[tuple[Path, Entry]]:
    """At once if all can be read; otherwise one by one."""
    try:
        read = [*map(_unsealed_entry, _unsealed.decode_lines(lines))]
    except _UNREADABLE:
        yield from _read_each(lines, before, unreadable)
    else:
        yield from read


def _read_each(lines: bytes, before: int, unreadable: list[int]) -> Iterator[tuple[Path, Entry]]:
    for number, text in enumerate(lines.split(b"\n"), before + 1):
        if text and _read_mark(text) is None:
            try:
                yield _unsealed_entry(_unsealed.decode(text))
            except _UNREADABLE:
                unreadable.append(number)


def _unsealed_entry(line: _Line) -> tuple[Path, Entry]:
    """Raises ValueError for what is no path, or not ASCII."""
    path = parse_path(line.path)
    if path is None:
        raise ValueError(f"{line.path[:64]!r} is no path")
    if line.value is None:
        return path, Entry(None, sequence=line.sequence)
    return path, Entry(line.value.encode("ascii"))


def write_batch(file: FilePath, batch: Batch, seal: Seal, end: JournalEnd | None = None) -> JournalEnd | None:
    """Appends to the journal, whose end is this one if it is known, or replaces it. Returns its end then. Raises
    OSError."""
    parts = [*_parts(batch, seal)]
    content = b"".join(part for part, _ in parts)
    end = JournalEnd() if batch.whole else end
    for part, made in parts:
        end = end.after(part, made) if end is not None else None
    if not batch.whole:
        with file.open("ab") as journal:
            journal.write(content)
        return end
    beside = file.with_suffix(".tmp")
    with open(os.open(beside, os.O_WRONLY | os.O_CREAT | os.O_TRUNC, 0o600), "wb") as journal:
        journal.write(content)
        journal.flush()
        os.fsync(journal.fileno())
    beside.replace(file)
    return end


def _parts(batch: Batch, seal: Seal) -> Iterator[tuple[bytes, str]]:
    """Each with its seal."""
    by_key: dict[bytes, list[tuple[Path, Entry]]] = {}
    for path, entry in batch.entries.items():
        by_key.setdefault(entry.key_id, []).append((path, entry))
    for key_id, entries in by_key.items():
        for begin in range(0, len(entries), _PART_LINES):
            yield _part(batch.cluster, key_id.decode(), entries[begin : begin + _PART_LINES], seal)


def _part(cluster: str, key_id: str, entries: list[tuple[Path, Entry]], seal: Seal) -> tuple[bytes, str]:
    text = _encoder.encode_lines([_sealed_line(path, entry) for path, entry in entries])
    made = seal.make(cluster, key_id, _FORM, text)
    return _encoder.encode(_Mark(len(text), len(entries), key_id, made)) + b"\n" + text, made


def _sealed_line(path: Path, entry: Entry) -> _SealedLine:
    value = entry.raw.decode("ascii") if entry.raw is not None else None
    return _SealedLine(str(path), value, entry.sequence, entry.export)


_mark = msgspec.json.Decoder(_Mark)
_unsealed = msgspec.json.Decoder(_Line)
_sealed = msgspec.json.Decoder(_SealedLine)
_encoder = msgspec.json.Encoder()
_FORM = hashlib.sha256(msgspec.json.encode(msgspec.json.schema(_SealedLine))).digest()
"""A program that takes more or less out of a record than the one that wrote it looks at the records again."""
