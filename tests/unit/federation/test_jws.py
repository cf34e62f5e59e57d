"""Base64url as records have it: one spelling for each sequence of bytes."""

from __future__ import annotations

import base64
import itertools

import pytest

from federation.jws import decode_segment, encode_segment

CHARACTERS = b"ABQgwz09-_+/=.!\n \x80"
"""Some whose last bits are set and some whose are not, and what another base64, or none, would have."""


def canonical(segment: bytes) -> bytes | None:
    """What a segment stands for by the letter of RFC 7515: only its own encoding is it."""
    padded = segment + b"=" * (-len(segment) % 4)
    try:
        decoded = base64.urlsafe_b64decode(padded)
    except ValueError:
        return None
    return decoded if base64.urlsafe_b64encode(decoded).rstrip(b"=") == segment else None


@pytest.mark.parametrize("length", range(5))
def test_a_segment_has_one_spelling(length: int) -> None:
    """A signature that could be respelled would let a stranger change a record's bytes without breaking it."""
    for letters in itertools.product(CHARACTERS, repeat=length):
        segment = bytes(letters)
        expected = canonical(segment)
        try:
            decoded = decode_segment(segment)
        except ValueError:
            assert expected is None, segment
        else:
            assert decoded == expected, segment
            assert encode_segment(decoded) == segment
