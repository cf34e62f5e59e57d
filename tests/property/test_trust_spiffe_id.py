"""SPIFFE IDs: any text is either refused with our own error, or is the one spelling of what it means."""

from __future__ import annotations

from collections.abc import Callable
from typing import TypeVar

from hypothesis import given
from hypothesis import strategies as st

from trust.errors import TrustError
from trust.fingerprint import parse_fingerprint
from trust.spiffe_id import parse_spiffe_id, parse_trust_domain, workload_id

Parsed = TypeVar("Parsed")

trust_domains = st.from_regex(r"[a-z0-9._-]{1,255}", fullmatch=True)
segments = st.from_regex(r"[A-Za-z0-9._-]{1,40}", fullmatch=True).filter(lambda text: text not in (".", ".."))
near_misses = st.text(alphabet="spife:/acmet.-_%@?#A1 \n\x00é", max_size=60).map(lambda text: "spiffe://" + text)


def parsed_or_refused(parse: Callable[[str], Parsed], text: str) -> Parsed | TrustError:
    try:
        return parse(text)
    except TrustError as error:
        return error


@given(trust_domains, st.lists(segments, max_size=8))
def test_every_canonical_id_survives_a_round_trip(trust_domain: str, path: list[str]) -> None:
    """What the grammar allows is accepted, and comes out as it went in."""
    text = "spiffe://" + "/".join([trust_domain, *path])
    assert str(parse_spiffe_id(text)) == text


@given(st.text() | near_misses)
def test_any_text_is_canonical_or_refused(text: str) -> None:
    """Two texts never mean the same ID."""
    parsed = parsed_or_refused(parse_spiffe_id, text)
    if isinstance(parsed, TrustError):
        assert parsed.code == "malformed-spiffe-id"
        assert str(parsed).isprintable()
    else:
        assert str(parsed) == text
        assert parse_trust_domain(parsed.trust_domain) == parsed.trust_domain


@given(trust_domains, st.text(max_size=20), st.text(max_size=20))
def test_a_workload_id_is_a_valid_id_with_these_two_names(trust_domain: str, namespace: str, account: str) -> None:
    """No choice of names reaches another ID."""
    try:
        identity = workload_id(trust_domain, namespace, account)
    except TrustError:
        return
    assert parse_spiffe_id(str(identity)) == identity
    assert identity.path.split("/") == ["", "ns", namespace, "sa", account]


@given(st.text() | st.from_regex(r"(sha256[: ])?([0-9a-fA-F]{2}:?){30,34}"))
def test_a_fingerprint_is_canonical_or_refused(text: str) -> None:
    """Parsing is idempotent: the result is the form that pins are compared in."""
    parsed = parsed_or_refused(parse_fingerprint, text)
    if isinstance(parsed, TrustError):
        assert parsed.code == "malformed-fingerprint"
    else:
        assert parse_fingerprint(parsed) == parsed
        assert len(parsed) == len("sha256:") + 64
