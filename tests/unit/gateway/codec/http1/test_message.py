"""Where a head ends, and whether its lines are what every parser takes them for."""

from __future__ import annotations

from hypothesis import example, given
from hypothesis import strategies as st

from gateway.codec.http1.message import Fault, cut_head, write_fields
from gateway.codec.limits import CodecLimits

LIMITS = CodecLimits(header_bytes=60)
PIECES = st.sampled_from([b"GET / HTTP/1.1", b"a: b", b"\r\n", b"\n", b"\r", b" ", b"\t", b"\x00", b"\x80", b"x" * 20])


def cut(data: bytes, looked_at: int) -> int | str:
    try:
        return cut_head(data, looked_at, LIMITS)
    except Fault as fault:
        return fault.code


@given(st.lists(PIECES, max_size=12))
@example([b"GET / HTTP/1.1", b"\r\n", b"\r\n", b"\n"])
@example([b"GET / HTTP/1.1", b"\r\n", b"\t", b"a: b", b"\r\n", b"\r\n"])
def test_a_head_that_comes_at_once_is_cut_like_one_in_pieces(pieces: list[bytes]) -> None:
    """A whole head is looked at in one pass, and must not be allowed anything that is refused when it comes slowly."""
    data = b"".join(pieces)
    assert cut(data, 0) == cut(data, 1)


def test_a_field_that_would_end_its_line_is_left_out() -> None:
    """RFC 9110 section 5.5: a message must not be split."""
    assert write_fields([(b"a", b"1"), (b"b", b"2\r\nc: 3"), (b"d", b"4")]) == b"a: 1\r\nd: 4\r\n"
    assert write_fields([(b"b", b"2\n")]) == b""
