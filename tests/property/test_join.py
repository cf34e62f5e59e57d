"""No change of a token or of a request is accepted, whichever bit it is."""

from __future__ import annotations

import functools
import tempfile
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from federation.join_answer import RequestRefused
from federation.join_request import make_request
from federation.join_token import TokenRefused, encode_token, parse_token
from tests.join_parts import NOW, make_authority, make_invitation, make_token, open_by

_TOKEN = make_token("sha256:" + "ab" * 32)
_TEXT = encode_token(_TOKEN)


@functools.cache
def _request() -> tuple[str, bytes]:
    """East's root, and a good request of west's."""
    with tempfile.TemporaryDirectory() as directory:
        east, west = make_authority(Path(directory), "east"), make_authority(Path(directory), "west")
    return east.fingerprint, make_request(make_token(east.fingerprint), west, "west", NOW)


def _flip(data: bytes, bit: int) -> bytes:
    changed = bytearray(data)
    changed[bit // 8] ^= 1 << bit % 8
    return bytes(changed)


def test_every_bit_of_a_token() -> None:
    """All of them: there are few enough."""
    for bit in range(len(_TEXT) * 8):
        changed = _flip(_TEXT.encode(), bit).decode("latin-1")
        with pytest.raises(TokenRefused):
            parse_token(changed)


@given(st.integers(0, len(_TEXT) - 1))
def test_every_truncation_of_a_token(length: int) -> None:
    """However short."""
    with pytest.raises(TokenRefused):
        parse_token(_TEXT[:length])


@given(st.text(max_size=200), st.booleans())
def test_anything_is_read_or_refused(text: str, prefixed: bool) -> None:
    """Nothing that is pasted raises anything else."""
    with pytest.raises(TokenRefused):
        parse_token(f"isthmus1.{text}" if prefixed else text)


def test_the_request_is_good() -> None:
    """Or the next test would show nothing."""
    root, raw = _request()
    assert open_by(make_invitation(), root, raw).redemption.cluster == "west"


@given(st.data())
def test_any_bit_of_a_request(data: st.DataObject) -> None:
    """Header, chain, claims, redemption and both signatures."""
    root, raw = _request()
    bit = data.draw(st.integers(0, len(raw) * 8 - 1))
    with pytest.raises(RequestRefused):
        open_by(make_invitation(), root, _flip(raw, bit))


@given(st.binary(max_size=300))
def test_any_bytes_are_refused_as_a_request(raw: bytes) -> None:
    """A record's place may hold anything."""
    with pytest.raises(RequestRefused):
        open_by(make_invitation(), _request()[0], raw)
