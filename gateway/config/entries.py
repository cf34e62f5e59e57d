"""A document most of whose services were there before: what stands in each of their entries is parsed once.

A file of a thousand services takes a fifth of a second to parse, and one that changes many times a second changes in an
entry or two. So the list below `services:` is cut into its entries by their indentation, and an entry that is letter
for letter what it was is not parsed again. The cut is a guess, as only a parser knows what a line is part of; it counts
if what is left of the file, with the list taken out, has an empty `services`, and if each entry is a list of one by
itself. Everything else is parsed as a whole: what is wrong, anchors and aliases, lists in brackets.
"""

from __future__ import annotations

import itertools
import re
from typing import Final

import msgspec

from gateway.config.document import MAX_DEPTH, DocumentError, Entry, Node, parent_of, parse_document

SERVICES: Final = "services"
_KEY_LINE: Final = re.compile(r"^services:[ ]*(?:#.*)?$", re.MULTILINE)
_ENTRY: Final = re.compile(r"( *)-(?: |$)")
_NO_CONTENT: Final = re.compile(r" *(?:#.*)?$")
# Ends of lines that YAML knows beside the line feed: with them, lines are not what they seem here.
_OTHER_LINE_ENDS: Final = re.compile("[\r\x85\u2028\u2029]")


class Piece(msgspec.Struct, frozen=True):
    """An entry of the list. `line` is that of its first line."""

    line: int
    text: str


class Entries:
    """Those of the last document, by their text."""

    def __init__(self) -> None:
        self._nodes: dict[str, Node] = {}

    def parse(self, text: str) -> Node:
        """As `parse_document`. An entry that was in the last document as well is the same node."""
        return self._parse_cut(text) or parse_document(text)

    def _parse_cut(self, text: str) -> Node | None:
        cut = cut_list(text)
        if cut is None:
            return None
        rest, key_line, pieces = cut
        try:
            root = parse_document(rest, plainly=True)
            nodes = [self._nodes.get(piece.text) or _entry(piece.text) for piece in pieces]
        except DocumentError:
            return None
        entry = root.value.get(SERVICES) if isinstance(root.value, dict) else None
        if entry is None or entry.line != key_line or entry.node.value is not None:
            return None
        self._nodes = {}
        for number, piece in enumerate(pieces):
            if piece.text in self._nodes:
                # Twice in one document: each has a place of its own.
                nodes[number] = msgspec.structs.replace(nodes[number])
            nodes[number].first_line = piece.line
            self._nodes[piece.text] = nodes[number]
        assert isinstance(root.value, dict)
        root.value[SERVICES] = Entry(key_line, parent_of(pieces[0].line, nodes, nodes))
        return root


def cut_list(text: str) -> tuple[str, int, list[Piece]] | None:
    """The text without the entries of `services` (their lines are empty), the line of the key, and the entries. None
    where the list is not written one entry below the other."""
    key = _KEY_LINE.search(text)
    if key is None or _OTHER_LINE_ENDS.search(text):
        return None
    key_line = text.count("\n", 0, key.start()) + 1
    lines = text[key.end() + 1 :].splitlines(keepends=True)
    starts, end = _starts_and_end(lines)
    if not starts:
        return None
    bounds = [*starts, end]
    pieces = [Piece(key_line + 1 + first, "".join(lines[first:last])) for first, last in itertools.pairwise(bounds)]
    rest = text[: key.end()] + "\n" * (end + 1) + "".join(lines[end:])
    return rest, key_line, pieces


def _starts_and_end(lines: list[str]) -> tuple[list[int], int]:
    """Where entries begin, and where the list ends: at a line that is not deeper than its first dash, and has none."""
    starts: list[int] = []
    dash, deeper = "-", " "
    for number, line in enumerate(lines):
        if starts and line.startswith(deeper):
            continue
        if _NO_CONTENT.match(line):
            continue
        begins = _ENTRY.match(line)
        if begins is not None and not starts:
            dash = begins[1] + "-"
            deeper = begins[1] + " "
        if begins is None or not line.startswith(dash):
            return starts, number
        starts.append(number)
    return starts, len(lines)


def _entry(text: str) -> Node:
    """What one entry says. Raises DocumentError if it says something by itself that it would not say in its place."""
    root = parse_document(text, plainly=True)
    if not isinstance(root.value, list) or len(root.value) != 1 or root.depth + 1 > MAX_DEPTH:
        raise DocumentError(root.line, "not an entry")
    return root.value[0]
