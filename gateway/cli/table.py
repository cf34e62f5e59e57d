"""Tables of text for people: columns aligned by their widest cell, nothing else."""

from __future__ import annotations

from collections.abc import Iterable, Sequence

_GAP = "  "


def format_table(heads: Sequence[str], rows: Iterable[Sequence[str]], indent: str = "") -> str:
    """The table's lines, each ended by a newline. An empty cell is shown as `-`, so that columns can be counted."""
    lines = [tuple(heads), *(tuple(printable(cell) or "-" for cell in row) for row in rows)]
    widths = [max(map(len, column)) for column in zip(*lines, strict=True)]
    return "".join(f"{indent}{_format_line(line, widths)}\n" for line in lines)


def _format_line(cells: Sequence[str], widths: Sequence[int]) -> str:
    return _GAP.join(cell.ljust(width) for cell, width in zip(cells, widths, strict=True)).rstrip()


def printable(text: str) -> str:
    """`text` on one line, without what a terminal would obey: much of it was written by others."""
    return "".join(char if char.isprintable() else " " for char in text).strip()


def format_duration(seconds: float) -> str:
    """Roughly how long, in the two greatest units: `1d 2h`, `3m 4s`, `12s`."""
    parts: list[str] = []
    rest = int(seconds)
    for unit, size in (("d", 86_400), ("h", 3_600), ("m", 60), ("s", 1)):
        count, rest = divmod(rest, size)
        if count or (unit == "s" and not parts):
            parts.append(f"{count}{unit}")
    return " ".join(parts[:2])
