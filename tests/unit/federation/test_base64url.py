"""Base64url: one spelling for each value, so that nothing signed can be spelt in two ways."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from federation import base64url


@given(st.binary(max_size=64))
def test_what_is_written_is_read(data: bytes) -> None:
    text = base64url.encode(data)
    assert "=" not in text
    assert base64url.decode(text) == data


@pytest.mark.parametrize("text", ["QQ==", "QR", "Q", "QQ QQ", "QQ\n", "Qü", "Q+Q/", "*"])
def test_no_other_spelling_is_read(text: str) -> None:
    """Padding, bits left over, a lone character, white space, another alphabet."""
    with pytest.raises(ValueError):  # noqa: PT011 - this is what it promises
        base64url.decode(text)
