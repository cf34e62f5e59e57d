"""Patterns over SPIFFE IDs let in whom they name and nobody else."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from trust.errors import TrustError
from trust.spiffe_id import SpiffeId, parse_spiffe_id
from trust.spiffe_pattern import parse_pattern

_SEGMENT = st.text("abcXYZ019-_", min_size=1, max_size=4)


@pytest.mark.parametrize(
    ("pattern", "identity", "expected"),
    [
        ("spiffe://west/ns/web/sa/*", "spiffe://west/ns/web/sa/frontend", True),
        ("spiffe://west/ns/*/sa/frontend", "spiffe://west/ns/web/sa/frontend", True),
        ("spiffe://west/ns/*/sa/frontend", "spiffe://west/ns/web/sa/backend", False),
        ("spiffe://west/ns/web/sa/frontend", "spiffe://west/ns/web/sa/frontend", True),
        ("spiffe://west/ns/web/sa/*", "spiffe://east/ns/web/sa/frontend", False),
        ("spiffe://west/ns/web/sa/*", "spiffe://west/ns/web/sa/a/b", False),
        ("spiffe://west/ns/web/sa/*", "spiffe://west/ns/web/sa", False),
        ("spiffe://west/*", "spiffe://west", False),
    ],
)
def test_who_fits(pattern: str, identity: str, expected: bool) -> None:
    """`*` is one whole segment: it never reaches over a slash, nor stands for none."""
    assert parse_pattern(pattern).matches(parse_spiffe_id(identity)) is expected


@pytest.mark.parametrize(
    "text",
    ["", "west/ns/web", "spiffe://*/ns/web/sa/a", "spiffe://west", "spiffe://west/", "spiffe://west/ns/we*/sa/a",
     "spiffe://west/ns//a", "spiffe://west/**", "spiffe://WEST/ns", "spiffe://west/ns/../a", "spiffe://west/ns/web/sa/*/",
     "https://west/ns"],
)  # fmt: skip
def test_what_is_no_pattern(text: str) -> None:
    """A pattern that can't mean what its writer hopes is refused rather than never fitting."""
    with pytest.raises(TrustError):
        parse_pattern(text)


@given(st.lists(_SEGMENT, min_size=1, max_size=5), st.data())
def test_a_pattern_made_of_an_id_fits_it(segments: list[str], data: st.DataObject) -> None:
    """Any segments may be replaced by stars; with one segment more or another trust domain it does not fit."""
    identity = SpiffeId("west.test", "/" + "/".join(segments))
    starred = [data.draw(st.sampled_from([segment, "*"])) for segment in segments]
    pattern = parse_pattern(f"spiffe://west.test/{'/'.join(starred)}")
    assert str(pattern) == f"spiffe://west.test/{'/'.join(starred)}"
    assert pattern.matches(identity)
    assert not pattern.matches(SpiffeId("west.test", identity.path + "/x"))
    assert not pattern.matches(SpiffeId("west.tes", identity.path))
