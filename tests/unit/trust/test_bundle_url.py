"""Which URLs a bundle endpoint may have."""

from __future__ import annotations

import contextlib
from urllib.parse import urlsplit

import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from trust.bundle_url import parse_bundle_url
from trust.errors import TrustError


@pytest.mark.parametrize(
    "url",
    [
        "https://partner.example/bundle.json",
        "https://partner.example:8443",
        "https://[::1]:8443/?a=b",
        "https://10.0.0.1/x",
    ],
)
def test_what_the_standard_allows(url: str) -> None:
    """SPIFFE Federation, section 5.2.1.1: https, and everything else but a user is free."""
    assert parse_bundle_url(url) == url


@pytest.mark.parametrize(
    "url",
    [
        "",
        "partner.example/bundle",
        "http://partner.example/",
        "https://",
        "https:///bundle",
        "https://user@partner.example/",
        "https://user:secret@partner.example/",
        "https://@partner.example/",
        "https://partner.example:0/",
        "https://partner.example:99999/",
        "https://partner.example:port/",
        "https://[::1/",
        "https://partner.example/#x",
        "https://partner.example/a b",
        "https://partner.example\\@evil.example/",
        "https://partner.example/\r\nx: y",
        "https://ärger.example/",
        "https://partner.example/" + "x" * 2048,
        "file:///etc/passwd",
    ],
)
def test_what_it_forbids(url: str) -> None:
    """Also where a redirect names it. What may hold a password is not repeated."""
    with pytest.raises(TrustError) as refused:
        parse_bundle_url(url)
    assert refused.value.code == "malformed-bundle-url"
    assert "secret" not in str(refused.value)


@given(st.text(max_size=60) | st.text(max_size=40).map("https://{}".format))
@example("https://[")
def test_any_text_is_taken_or_refused(text: str) -> None:
    """A redirect is a stranger's text."""
    with contextlib.suppress(TrustError):
        parts = urlsplit(parse_bundle_url(text))
        assert parts.scheme == "https"
        assert parts.hostname
        assert parts.username is None
