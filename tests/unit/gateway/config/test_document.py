"""YAML with lines, and nothing that surprises."""

from __future__ import annotations

from contextlib import suppress

import pytest
from hypothesis import given
from hypothesis import strategies as st

from gateway.config.document import DocumentError, parse_document


def test_scalars_are_those_of_yaml_1_2() -> None:
    """`no` is Norway, `1:30` is an address, `2024-01-01` is text: YAML 1.1 makes them other things."""
    text = '[no, on, 1:30, 2024-01-01, 0x10, 010, 1_000, 12, -3, 1.5, 1e3, true, "12", null, ~, .inf]'
    assert parse_document(text).plain() == (
        *("no", "on", "1:30", "2024-01-01", "0x10", 10, "1_000", 12, -3, 1.5, "1e3", True, "12", None, None, ".inf"),
    )


def test_keys_are_always_text() -> None:
    """A cluster may be called 1."""
    assert parse_document("{1: a, true: b, ~: c}").plain() == {"1": "a", "true": "b", "~": "c"}


def test_lines_are_found() -> None:
    """Of a key, of an item, and of what stands around something that is not there."""
    document = parse_document("a: 1\nb:\n  c:\n  - 1\n  - d: 2\n")
    assert document.line_of(()) == 1
    assert document.line_of(("b",)) == 2
    assert document.line_of(("b", "c", 1)) == 5
    assert document.line_of(("b", "c", 1, "d")) == 5
    assert document.line_of(("b", "missing")) == 2
    assert document.line_of(("b", "c", 7)) == 3
    assert document.line_of(("a", "deeper")) == 1


@pytest.mark.parametrize("text", ["", "# only a comment\n", "---\n", "~"])
def test_an_empty_document(text: str) -> None:
    """It has no value; whoever asked for keys says what is missing."""
    assert parse_document(text).plain() is None


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("? [a, b]\n: 1\n", "a key that is not text"),
        ("a: *b\n", "*b repeats nothing that is complete before it"),
        ("a: !secret x\n", "the tag !secret is not known here"),
        ("a: 1\nb: 2\na: 3\n", "the key is here twice (first on line 1)"),
        ("a: 1\n---\nb: 1\n", "a second document begins here"),
        ("<<: {a: 1}\n<<: {b: 1}\n", "the key is here twice (first on line 1)"),
    ],
)
def test_what_is_refused(text: str, message: str) -> None:
    """Each would be taken in silence by a common YAML loader, as something that its writer may not have meant."""
    with pytest.raises(DocumentError) as caught:
        parse_document(text)
    assert caught.value.message == message


def test_depth_is_bounded_however_it_comes_about() -> None:
    """By nesting (whose parsing time would grow with its square) and by aliases in aliases."""
    with pytest.raises(DocumentError, match="nested deeper"):
        parse_document("[" * 1_000_000)
    chain = "a0: &a0 [x]\n" + "".join(f"a{n}: &a{n} [*a{n - 1}]\n" for n in range(1, 100))
    with pytest.raises(DocumentError, match="nested deeper"):
        parse_document(chain)


@given(st.text(alphabet=st.sampled_from(list("ab:-[]{},&*!|>'\"#?% \n\t\x00é~1")), max_size=40))
def test_any_text_is_a_document_or_an_error_with_a_reason(text: str) -> None:
    """Whatever is in the file, the answer is a message and never a traceback."""
    with suppress(DocumentError):
        document = parse_document(text)
        list(document.empty_locations())
        document.plain()
