"""The journal's form: what a seal covers is believed as a whole, and what it does not is only read."""

from __future__ import annotations

from pathlib import Path as FilePath

import msgspec
import pytest

from discovery.model import Port, Protocol, ServiceName
from federation import paths
from federation.journal import Batch, Entry, Journal, read_journal, write_batch
from federation.seal import Seal
from federation.values import ExportValue

A, B = paths.export(ServiceName("shop", "a")), paths.export(ServiceName("shop", "b"))
VIP, ACK = paths.vip(ServiceName("shop", "a")), paths.ack("east")
EXPORT = ExportValue((Port("http", 80, Protocol.HTTP),), ("*",), 1.0)
SEAL = Seal(bytes(32))
SEALED = Entry(b"a.b.c", b"x.y", 7, EXPORT)


def written(directory: FilePath, *batches: dict[paths.Path, Entry]) -> bytes:
    file = directory / "west.jsonl"
    file.unlink(missing_ok=True)
    for entries in batches:
        write_batch(file, Batch("west", entries, whole=False), SEAL)
    return file.read_bytes()


def read(content: bytes, seal: Seal = SEAL, cluster: str = "west") -> Journal:
    return read_journal(content, cluster, seal)


def test_what_is_written_is_read(tmp_path: FilePath) -> None:
    """Records under two keys, an address, a tombstone, in several batches: in order, with what was verified."""
    first = {A: SEALED, ACK: Entry(b"d.e.f", b"x.z", 3), VIP: Entry(b"127.80.0.2")}
    second = {A: Entry(None, sequence=9), B: SEALED}
    content = written(tmp_path, first, second)
    journal = read(content)
    assert journal.entries == [*first.items(), *second.items()]
    assert (journal.unreadable, journal.ended) == ([], True)
    assert journal.lines == len(content.splitlines()) == sum(Batch("west", e, False).lines for e in (first, second))


def test_much_is_written_in_parts(tmp_path: FilePath) -> None:
    """Each is sealed by itself, their marks are counted as lines, and all of it is read."""
    entries = {paths.export(ServiceName("shop", f"s{number}")): SEALED for number in range(5_000)}
    entries |= {paths.vip(ServiceName("shop", f"s{number}")): Entry(b"127.80.0.2") for number in range(10)}
    content = written(tmp_path, entries)
    journal = read(content)
    assert journal.entries == [*entries.items()]
    assert journal.lines == len(content.splitlines()) == Batch("west", entries, False).lines == 5_014
    assert journal.end is not None
    assert journal.end.size_bytes == len(content)


@pytest.mark.parametrize("seal", [Seal(b"\1" * 32), SEAL])
def test_without_its_seal_a_part_says_no_more_than_its_records(tmp_path: FilePath, seal: Seal) -> None:
    """Whoever can write the file can't write what records say, nor call them verified: neither with lines of his own
    under the mark, nor with a mark or a whole journal from elsewhere."""
    content = written(tmp_path, {A: SEALED})
    cases = [read(content, Seal(b"\2" * 32)), read(content, cluster="eu")]
    for old, new in ((b'"http"', b'"grpc"'), (b"a.b.c", b"a.b.d"), (b"shop/a", b"shop/x"), (b"x.y", b"x.z")):
        assert old in content
        cases.append(read(content.replace(old, new), seal))
    cases.append(read(content.replace(b'"sequence":7', b'"sequence":9'), seal))
    for journal in cases:
        ((_, entry),) = journal.entries
        assert (entry.key_id, entry.export, entry.sequence) == (b"", None, -1)
        assert entry.raw in (b"a.b.c", b"a.b.d")


def test_a_seal_under_no_key_verifies_nothing(tmp_path: FilePath) -> None:
    """It spares a look at how paths are spelled; what lies there is looked at as if there were none."""
    content = written(tmp_path, {A: Entry(b"a.b.c"), VIP: Entry(b"127.80.0.2")})
    assert read(content).entries == read(content, Seal(b"\1" * 32)).entries
    assert not any(entry.key_id for _, entry in read(content).entries)


def test_another_form_is_read_without_its_seal(tmp_path: FilePath, monkeypatch: pytest.MonkeyPatch) -> None:
    """A program that takes more out of an export than the one that wrote the journal must look at the record itself."""
    content = written(tmp_path, {A: SEALED})
    monkeypatch.setattr("federation.journal._FORM", bytes(32))
    assert read(content).entries == [(A, Entry(b"a.b.c"))]


def test_a_part_that_is_torn_or_damaged_costs_no_other(tmp_path: FilePath) -> None:
    """A power cut tears the last; a bad line is named by its number; what came before is believed by its seal."""
    content = written(tmp_path, {A: SEALED}, {B: SEALED, ACK: Entry(b"d.e.f", b"x.y", 3)})
    whole = content.splitlines(keepends=True)
    assert len(whole) == 5
    for length in range(len(whole[0] + whole[1]) + 1, len(content)):
        torn = read(content[:length])
        assert torn.entries[0] == (A, SEALED)
        assert not torn.ended
        assert all(entry.key_id == b"" for _, entry in torn.entries[1:])
    bad = whole[3].replace(b'"path"', b'"pith"')
    damaged = read(b"".join([*whole[:3], bad, whole[4]]))
    assert damaged.entries == [(A, SEALED), (ACK, Entry(b"d.e.f"))]
    assert damaged.unreadable == [4]


def test_a_mark_that_lies_is_none(tmp_path: FilePath) -> None:
    """About its size, or with numbers that are none: what follows is read line by line, and nothing raises."""
    content = written(tmp_path, {A: SEALED})
    mark, line = content.splitlines(keepends=True)
    for size in (b"-1", b"99999999999999999999", b'"many"', b"0"):
        lied = mark.replace(b'"size":%d' % len(line), b'"size":' + size) + line
        assert lied != content
        assert (A, Entry(b"a.b.c")) in read(lied).entries
        assert all(not entry.key_id for _, entry in read(lied).entries)
    cut = read(mark.replace(b'"size":%d' % len(line), b'"size":3') + line)
    assert (cut.entries, cut.ended) == ([], False)


def test_the_form_is_json_lines(tmp_path: FilePath) -> None:
    """People look into it with the tools that they have."""
    lines = [msgspec.json.decode(line) for line in written(tmp_path, {A: SEALED}).splitlines()]
    assert lines[0]["key_id"] == "x.y"
    assert lines[1]["path"] == "exports/shop/a"
