"""A file's services that did not change are not parsed again."""

from __future__ import annotations

import pytest

from gateway.config.document import Node
from gateway.config.entries import Entries, cut_list

BEGINNING = "federation: acme\nservices:\n"
PAYMENTS = "- name: payments\n  ports:\n  - port: 80\n"
LEDGER = "- {name: ledger}\n# the last one\n"


def services(node: Node) -> list[Node]:
    assert isinstance(node.value, dict)
    value = node.value["services"].node.value
    assert isinstance(value, list)
    return value


def test_an_entry_that_did_not_change_is_the_same_node() -> None:
    entries = Entries()
    first = services(entries.parse(BEGINNING + PAYMENTS + LEDGER + "dns: {}\n"))
    other, ledger = services(entries.parse(BEGINNING + PAYMENTS.replace("80", "81") + LEDGER + "dns: {}\n"))
    assert ledger is first[1]
    assert other is not first[0]


def test_lines_are_those_of_the_file_that_it_is_in_now() -> None:
    """A refusal names the line where the entry stands, not where it stood."""
    entries = Entries()
    assert entries.parse(BEGINNING + PAYMENTS).line_of(("services", 0, "ports", 0, "port")) == 5
    moved = entries.parse(BEGINNING + LEDGER + PAYMENTS)
    assert moved.line_of(("services", 1, "ports", 0, "port")) == 7
    assert moved.line_of(("services", 0)) == 3


def test_after_a_file_that_is_no_yaml_the_entries_are_still_known() -> None:
    """An editor that saves half a line costs one refusal, not the parsing of everything."""
    entries = Entries()
    (first,) = services(entries.parse(BEGINNING + PAYMENTS))
    with pytest.raises(Exception, match="not valid YAML"):
        entries.parse(BEGINNING + PAYMENTS + "- name: [\n")
    assert services(entries.parse(BEGINNING + PAYMENTS))[0] is first


@pytest.mark.parametrize("dash", ["- ", "  - "])
def test_the_list_ends_where_its_indentation_does(dash: str) -> None:
    cut = cut_list(f"services:\n\n{dash}name: a\n{dash}name: b\n\ndns: {{}}\n- odd\n")
    assert cut is not None
    rest, key_line, pieces = cut
    assert (rest, key_line) == ("services:\n\n\n\n\ndns: {}\n- odd\n", 1)
    assert [(piece.line, piece.text) for piece in pieces] == [(3, f"{dash}name: a\n"), (4, f"{dash}name: b\n\n")]


@pytest.mark.parametrize(
    "text", ["services: [{name: a}]\n", "services:\n", "dns: {}\n", "services:\n  a: 1\n", "services:\r\n- name: a\r\n"]
)
def test_other_ways_to_write_it_are_parsed_as_a_whole(text: str) -> None:
    assert cut_list(text) is None
