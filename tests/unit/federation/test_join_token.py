"""Tokens: read as they are pasted, refused by name, and silent about their secret."""

from __future__ import annotations

import pickle
import traceback

import msgspec
import pytest

from federation.join_token import JoinToken, TokenRefused, encode_token, parse_token
from tests.join_parts import SECRET, make_token

_ROOT = "sha256:" + "ab" * 32
_TOKEN = make_token(_ROOT, invited="west")


def test_it_comes_back_as_it_was() -> None:
    """On one line, with nothing that a shell or a chat program would touch."""
    text = encode_token(_TOKEN)
    assert parse_token(text) == _TOKEN
    assert set(text) <= set("abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ0123456789-_.")


def test_line_breaks_of_a_paste_do_no_harm() -> None:
    """Terminals and mail programs wrap long lines."""
    text = encode_token(_TOKEN)
    assert parse_token(f"  {text[:80]}\n {text[80:160]}\r\n{text[160:]}\n") == _TOKEN


@pytest.mark.parametrize("kept", [30, 100, -1, -12, -20])
def test_a_truncated_one_is_called_so(kept: int) -> None:
    """The commonest mistake has its own name."""
    with pytest.raises(TokenRefused, match="truncated") as caught:
        parse_token(encode_token(_TOKEN)[:kept])
    assert caught.value.code == "truncated"


@pytest.mark.parametrize(
    ("text", "code"),
    [
        ("", "not-a-token"),
        ("sha256:abab", "not-a-token"),
        (encode_token(_TOKEN)[1:], "not-a-token"),
        (encode_token(_TOKEN).replace("isthmus1", "isthmus2"), "other-version"),
        (encode_token(_TOKEN) + ".x", "damaged"),
        (encode_token(_TOKEN) * 40, "damaged"),
        (encode_token(_TOKEN).swapcase().replace("ISTHMUS1", "isthmus1"), "damaged"),
        ("isthmus1.ä.aaaaaaaaaaaa", "damaged"),
    ],
)
def test_others_are_refused_by_name(text: str, code: str) -> None:
    """And the message repeats nothing of what was pasted: it may be a secret after all."""
    with pytest.raises(TokenRefused) as caught:
        parse_token(text)
    assert caught.value.code == code
    assert not any(part and part in str(caught.value) for part in text.split(".")[1:] if len(part) > 3)


@pytest.mark.parametrize(
    "changes",
    [
        {"federation": "a/b"},
        {"cluster": "east\n"},
        {"trust_domain": "East"},
        {"root": "sha256:12"},
        {"endpoints": ("file:///etc/passwd",)},
        {"endpoints": ("http://x\x1b[2J",)},
        {"prefix": "isthmus"},
        {"invitation": "../../x"},
        {"secret": b"short"},
        {"expires_at": -1.0},
        {"invited": "West"},
    ],
)
def test_what_it_says_is_checked(changes: dict[str, object]) -> None:
    """All of it ends in a file, a key of etcd or a terminal."""
    with pytest.raises(TokenRefused) as caught:
        parse_token(encode_token(msgspec.structs.replace(_TOKEN, **changes)))
    assert caught.value.code == "malformed"


def test_the_secret_does_not_show_itself() -> None:
    """Not in a repr, a format, a pickle, or a traceback that shows values."""
    token = parse_token(encode_token(_TOKEN))
    assert isinstance(token, JoinToken)
    shown = [repr(token), str(token), f"{token}", repr(token.secret), str(token.secret), repr([token.secret])]
    try:
        raise RuntimeError(token)
    except RuntimeError:
        shown.append(traceback.format_exc())
    assert not any(SECRET.hex() in text or repr(SECRET)[2:-1] in text for text in shown)
    with pytest.raises(TypeError):
        pickle.dumps(token)
