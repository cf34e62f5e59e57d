"""YAML as configuration needs it: plain values with the line of each, and nothing that surprises.

Built on the parser's events, so that hostile input is bounded before it is expanded. Differences from PyYAML's own
loader, each for a reason: scalars follow YAML 1.2's core schema (`no` and `1:30` are text, as their writer meant);
a key that comes twice is refused (the first would be lost silently); tags are refused (they build objects); nesting
is bounded (libyaml's time grows with the square of it), and so is what aliases may repeat (the "billion laughs").
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from typing import TypeAlias

import msgspec
import yaml

from discovery.config_values import Location

MAX_DEPTH = 32
_MAX_REPEATED = 10_000
"""How many nodes all aliases of a file may add."""

_INT = re.compile(r"[-+]?[0-9]{1,18}")
_FLOAT = re.compile(r"[-+]?([0-9]{1,18}\.[0-9]{0,18}|\.[0-9]{1,18})([eE][-+]?[0-9]{1,3})?")
_WORDS: dict[str, bool | None] = {
    word: value
    for name, value in (("null", None), ("true", True), ("false", False))
    for word in (name, name.capitalize(), name.upper())
} | {"": None, "~": None}
_LOADER = getattr(yaml, "CSafeLoader", yaml.SafeLoader)

Scalar: TypeAlias = str | int | float | bool | None
Plain: TypeAlias = "Scalar | dict[str, Plain] | tuple[Plain, ...]"


class DocumentError(Exception):
    """Text that is not a document we take. `line` counts from 1, 0 when unknown; `location` may be empty."""

    def __init__(self, line: int, message: str, hint: str = "", location: Location = ()) -> None:
        self.line, self.message, self.hint, self.location = line, message, hint, location
        super().__init__(message)


class Entry(msgspec.Struct):
    """A value in a mapping, and the line of its key."""

    line: int
    node: Node


class Node(msgspec.Struct):
    """A value and its line. `size` counts it and all below it, `depth` the levels below it. Lines of it and of what is
    below it are counted from `first_line`, which is another one than 1 where a part of a file was parsed by itself."""

    line: int
    value: Scalar | dict[str, Entry] | list[Node]
    size: int = 1
    depth: int = 0
    first_line: int = 1

    def plain(self) -> Plain:
        """The value without lines; lists as tuples."""
        if isinstance(self.value, dict):
            return {key: entry.node.plain() for key, entry in self.value.items()}
        if isinstance(self.value, list):
            return tuple(node.plain() for node in self.value)
        return self.value

    def line_of(self, location: Location) -> int:
        """The line of what stands at `location`, or of the nearest thing around it that exists."""
        line, before, node = self.line, 0, self
        for part in location:
            if isinstance(node.value, dict) and part in node.value:
                entry = node.value[str(part)]
                line, node = before + entry.line, entry.node
            elif isinstance(node.value, list) and isinstance(part, int) and part < len(node.value):
                node = node.value[part]
                before += node.first_line - 1
                line = before + node.line
            else:
                break
        return line

    def empty_locations(self, at: Location = ()) -> Iterator[Location]:
        """Where keys and list positions have no value."""
        if self.value is None:
            yield at
        elif isinstance(self.value, dict):
            for key, entry in self.value.items():
                yield from entry.node.empty_locations((*at, key))
        elif isinstance(self.value, list):
            for index, node in enumerate(self.value):
                yield from node.empty_locations((*at, index))


def parse_document(text: str, *, plainly: bool = False) -> Node:
    """Reads one YAML document. `plainly`: it shall mean the same in another place, so it has no anchors.

    Raises:
        DocumentError: it is no YAML, more than one document, or something from the list on top of this module.
    """
    try:
        builder = _Builder(yaml.parse(text, Loader=_LOADER))
        root = builder.build()
        if plainly and builder.anchors:
            raise DocumentError(0, "has anchors")
        return root
    except yaml.MarkedYAMLError as error:
        line = error.problem_mark.line + 1 if error.problem_mark is not None else 0
        said = ", ".join(part for part in (error.context, error.problem) if part)
        raise DocumentError(line, f"not valid YAML: {said}", _syntax_hint(said, _line(text, line))) from None
    except yaml.YAMLError as error:
        raise DocumentError(0, f"not valid YAML: {str(error).splitlines()[0]}") from None


def _syntax_hint(said: str, line: str) -> str:
    if "::" in line:
        return "an IPv6 address needs quotes around it"
    if "mapping values are not allowed" in said:
        return "a key's colon needs a blank after it, here or in the line above, and a text with a colon needs quotes"
    return ""


def _line(text: str, line: int) -> str:
    lines = text.splitlines()
    return lines[line - 1] if 0 < line <= len(lines) else ""


class _Builder:
    """Makes nodes of the parser's events."""

    def __init__(self, events: Iterator[yaml.Event]) -> None:
        self._events = events
        self.anchors: dict[str, Node] = {}
        self._repeated = 0

    def build(self) -> Node:
        root: Node | None = None
        for event in self._events:
            if isinstance(event, yaml.DocumentStartEvent):
                if root is not None:
                    raise DocumentError(_line_of(event), "a second document begins here", "only one is read")
                root = self._node(next(self._events), ())
        return root if root is not None else Node(1, None)

    def _node(self, event: yaml.Event, at: Location) -> Node:
        line = _line_of(event)
        if isinstance(event, yaml.AliasEvent):
            return self._alias(event, at)
        # After an alias, a node begins with a scalar or a collection: the parser's grammar has nothing else here.
        assert isinstance(event, yaml.ScalarEvent | yaml.CollectionStartEvent)
        if event.tag is not None and event.tag != "!":
            raise DocumentError(line, f"the tag {event.tag[:60]} is not known here", "remove it", at)
        if len(at) > MAX_DEPTH:
            raise _too_deep(line)
        if isinstance(event, yaml.ScalarEvent):
            node = Node(line, _scalar(event))
        elif isinstance(event, yaml.MappingStartEvent):
            node = self._mapping(line, at)
        else:
            node = self._sequence(line, at)
        if event.anchor is not None:
            self.anchors[event.anchor] = node
        return node

    def _mapping(self, line: int, at: Location) -> Node:
        entries: dict[str, Entry] = {}
        for event in self._until(yaml.MappingEndEvent):
            if not isinstance(event, yaml.ScalarEvent):
                raise DocumentError(_line_of(event), "a key that is not text", location=at)
            key = event.value
            if key in entries:
                message = f"the key is here twice (first on line {entries[key].line})"
                raise DocumentError(_line_of(event), message, location=(*at, key))
            entries[key] = Entry(_line_of(event), self._node(next(self._events), (*at, key)))
        return parent_of(line, entries, [entry.node for entry in entries.values()])

    def _sequence(self, line: int, at: Location) -> Node:
        nodes: list[Node] = []
        for event in self._until(yaml.SequenceEndEvent):
            nodes.append(self._node(event, (*at, len(nodes))))
        return parent_of(line, nodes, nodes)

    def _until(self, end: type[yaml.Event]) -> Iterator[yaml.Event]:
        for event in self._events:
            if isinstance(event, end):
                return
            yield event

    def _alias(self, event: yaml.AliasEvent, at: Location) -> Node:
        # An anchor is known when its node is complete, so that a node can't contain itself.
        node = self.anchors.get(event.anchor or "")
        if node is None:
            raise DocumentError(_line_of(event), f"*{event.anchor} repeats nothing that is complete before it")
        if len(at) + node.depth > MAX_DEPTH:
            raise _too_deep(_line_of(event))
        self._repeated += node.size
        if self._repeated > _MAX_REPEATED:
            raise DocumentError(_line_of(event), f"aliases repeat more than {_MAX_REPEATED} values", location=at)
        return node


def parent_of(line: int, value: dict[str, Entry] | list[Node], children: list[Node]) -> Node:
    size = 1 + sum(child.size for child in children)
    return Node(line, value, size, 1 + max((child.depth for child in children), default=0))


def _too_deep(line: int) -> DocumentError:
    return DocumentError(line, f"nested deeper than {MAX_DEPTH} levels")


def _line_of(event: yaml.Event) -> int:
    return event.start_mark.line + 1 if event.start_mark is not None else 0


def _scalar(event: yaml.ScalarEvent) -> Scalar:
    text: str = event.value
    if event.style is not None and event.style != "":
        return text
    if text in _WORDS:
        return _WORDS[text]
    if _INT.fullmatch(text):
        return int(text)
    return float(text) if _FLOAT.fullmatch(text) else text
