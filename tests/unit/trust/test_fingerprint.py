"""The forms of a fingerprint that people paste."""

from __future__ import annotations

import pytest

from trust.errors import TrustError
from trust.fingerprint import fingerprint_of, parse_fingerprint

CANONICAL = fingerprint_of(b"certificate")
DIGITS = CANONICAL.removeprefix("sha256:")
PAIRS = ":".join(DIGITS[at : at + 2] for at in range(0, 64, 2)).upper()


@pytest.mark.parametrize(
    "text",
    [
        CANONICAL,
        CANONICAL.upper(),
        f"  {CANONICAL}\n",
        PAIRS,
        PAIRS.lower(),
        f"sha256:{PAIRS}",
        f"sha256 Fingerprint={PAIRS}",
        f"SHA256 Fingerprint={PAIRS}",
    ],
)
def test_all_forms_give_the_canonical_one(text: str) -> None:
    """Pins are compared as strings, so there is one spelling inside."""
    assert parse_fingerprint(text) == CANONICAL


@pytest.mark.parametrize(
    "text",
    [
        "",
        DIGITS,
        "sha256:",
        CANONICAL[:-1],
        CANONICAL + "0",
        CANONICAL[:-1] + "g",
        "sha1:" + DIGITS,
        PAIRS[:-3],
        "x" * 999,
    ],
)
def test_others_are_refused_with_the_expected_form(text: str) -> None:
    """A half-pasted pin must not become a pin that nothing matches, discovered at the first handshake."""
    with pytest.raises(TrustError, match="expected 'sha256:' and 64 hexadecimal digits") as caught:
        parse_fingerprint(text)
    assert caught.value.code == "malformed-fingerprint"
    assert len(str(caught.value)) < 400
