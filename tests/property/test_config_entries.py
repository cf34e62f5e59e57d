"""A file that is read again means what it would mean if it were read for the first time."""

from __future__ import annotations

from collections.abc import Iterator

from hypothesis import example, given
from hypothesis import strategies as st

from discovery.config_values import Location
from gateway.config.document import DocumentError, Node, Plain, parse_document
from gateway.config.entries import Entries

LINES = (
    "services:",
    "services: # ours",
    "services: []",
    "imports:",
    "a: 1",
    '  b: "c',
    '  d"',
    "- name: x",
    "- name: y",
    "  ports: [{port: 1},",
    "    {port: 2}]",
    "  - name: z",
    "    e: &anchor 7",
    "    f: *anchor",
    "  text: |+",
    "  text: >-",
    "    words",
    "",
    "   ",
    "# nothing",
    "  # nothing",
    "-",
    "- - 1",
    "- {name: w}",
    "---",
    "...",
    "%YAML 1.1",
    "\t- tab",
    "- name: 'it''s",
    "  g: ]",
    "  g: }",
    "\r- lone",
)
TEXTS = st.lists(st.sampled_from(LINES), max_size=14).map(lambda lines: "\n".join(lines) + "\n")
FILES = st.one_of(TEXTS, TEXTS.map(str.rstrip), TEXTS.map(lambda text: "services:\n" + text))

Meaning = tuple[Plain, dict[Location, int]] | tuple[int, str, Location]


def locations(node: Node, at: Location = ()) -> Iterator[Location]:
    yield at
    if isinstance(node.value, dict):
        for key, entry in node.value.items():
            yield from locations(entry.node, (*at, key))
    elif isinstance(node.value, list):
        for index, below in enumerate(node.value):
            yield from locations(below, (*at, index))


def meaning(node: Node) -> Meaning:
    return node.plain(), {at: node.line_of(at) for at in locations(node)}


def read_once(text: str) -> Meaning:
    try:
        return meaning(parse_document(text))
    except DocumentError as error:
        return error.line, error.message, error.location


def read_again(entries: Entries, text: str) -> Meaning:
    try:
        return meaning(entries.parse(text))
    except DocumentError as error:
        return error.line, error.message, error.location


@given(st.lists(FILES, min_size=1, max_size=4))
@example(["services:\n- name: x\n- name: x\n", "a: 1\nservices:\n- name: y\n- name: x\n"])
@example(["services:\n- text: |+\n    words\n\n- name: x\n", "services:\n- name: x\n- text: |+\n    words\n\n"])
@example(['a: "c\nservices:\n- name: x\n  d"\n'])
@example(["services:\n- name: x\nservices:\n- name: y\n"])
@example(["services:\n- e: &anchor 7\n- f: *anchor\n"])
def test_entries_that_were_seen_before_change_nothing(texts: list[str]) -> None:
    """Whatever the lines are, also where the guess of what is an entry is wrong: values, lines and refusals are those
    of a parser that sees the whole file."""
    entries = Entries()
    for text in texts:
        assert read_again(entries, text) == read_once(text)
