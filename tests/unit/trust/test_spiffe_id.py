"""The character rules and limits of SPIFFE-ID section 2."""

from __future__ import annotations

import pytest

from trust.errors import TrustError
from trust.spiffe_id import SpiffeId, controller_id, gateway_id, parse_spiffe_id, parse_trust_domain, workload_id


@pytest.mark.parametrize(
    ("text", "trust_domain", "path"),
    [
        ("spiffe://acme.test/ns/shop/sa/web", "acme.test", "/ns/shop/sa/web"),
        ("spiffe://acme.test", "acme.test", ""),
        ("spiffe://a_b-c.1/X.y_Z-0", "a_b-c.1", "/X.y_Z-0"),
        ("spiffe://acme.test/.../..a", "acme.test", "/.../..a"),
        ("spiffe://" + "a" * 255 + "/x", "a" * 255, "/x"),
    ],
)
def test_canonical_ids_are_taken_apart(text: str, trust_domain: str, path: str) -> None:
    """And put together again as the same text, because IDs are compared as strings."""
    parsed = parse_spiffe_id(text)
    assert parsed == SpiffeId(trust_domain, path)
    assert str(parsed) == text


@pytest.mark.parametrize(
    "text",
    [
        "",
        "spiffe://",
        "spiffe:///path",
        "SPIFFE://acme.test/a",
        "https://acme.test/a",
        "spiffe:acme.test/a",
        "spiffe://Acme.test/a",
        "spiffe://acme.test:443/a",
        "spiffe://user@acme.test/a",
        "spiffe://acme.test/",
        "spiffe://acme.test/a/",
        "spiffe://acme.test/a//b",
        "spiffe://acme.test/./a",
        "spiffe://acme.test/a/..",
        "spiffe://acme.test/a%20b",
        "spiffe://acme.test/a?q=1",
        "spiffe://acme.test/a#f",
        "spiffe://acme.test/é",
        "spiffe://acmé.test/a",
        "spiffe://acme.test/a\n",
        "spiffe://acme.test\n/a",
        " spiffe://acme.test/a",
        "spiffe://" + "a" * 256 + "/x",
        "spiffe://acme.test/" + "a" * 2048,
    ],
)
def test_anything_else_is_refused(text: str) -> None:
    """Nothing is normalised: two spellings of one ID would be two IDs somewhere."""
    with pytest.raises(TrustError) as caught:
        parse_spiffe_id(text)
    assert caught.value.code == "malformed-spiffe-id"
    assert len(str(caught.value)) < 400
    assert str(caught.value).isprintable(), "what a peer sent is escaped and cut"


def test_2048_bytes_is_the_limit() -> None:
    """SPIFFE-ID section 2.3 asks to support exactly so many."""
    longest = "spiffe://acme.test/".ljust(2048, "a")
    assert str(parse_spiffe_id(longest)) == longest
    with pytest.raises(TrustError):
        parse_spiffe_id(longest + "a")


def test_identities_of_isthmus() -> None:
    """DESIGN section 5's forms, which other meshes read."""
    assert str(gateway_id("east.test")) == "spiffe://east.test/ns/isthmus-system/sa/isthmus-gateway"
    assert str(controller_id("east.test")) == "spiffe://east.test/ns/isthmus-system/sa/isthmus-controller"
    assert str(workload_id("east.test", "shop", "web")) == "spiffe://east.test/ns/shop/sa/web"


@pytest.mark.parametrize(("namespace", "account"), [("a/b", "c"), ("", "c"), ("a", ".."), ("a", "c d")])
def test_a_workloads_names_cannot_escape_their_segment(namespace: str, account: str) -> None:
    """A service account called `../sa/isthmus-gateway` must not become a gateway."""
    with pytest.raises(TrustError):
        workload_id("east.test", namespace, account)


def test_trust_domains() -> None:
    """As a configuration gives them."""
    assert parse_trust_domain("east.acme.test") == "east.acme.test"
    for wrong in ("", "East.test", "spiffe://east.test", "east.test:1", "east.test/", "a" * 256, "east.test\n"):
        with pytest.raises(TrustError, match="is not a trust domain"):
            parse_trust_domain(wrong)
