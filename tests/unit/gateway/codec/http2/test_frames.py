"""Where in a client's frames a connection stands, however its bytes are cut."""

from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st

from gateway.codec.http2.frames import CONTINUATION, DATA, END_HEADERS, HEADERS, PING, PREFACE, FrameSplitter, HeadWatch

# Frames that are whole messages of their own, and header blocks in one to three pieces.
_sizes = st.integers(0, 300)


def frame(kind: int, flags: int, size: int) -> bytes:
    return size.to_bytes(3, "big") + bytes([kind, flags]) + bytes(4) + bytes(size)


@st.composite
def units(draw: st.DrawFn) -> bytes:
    """One thing that may not be left half done: a frame, or a header block with its continuations."""
    if draw(st.booleans()):
        return frame(draw(st.sampled_from([DATA, PING])), 0, draw(_sizes))
    pieces = draw(st.lists(_sizes, min_size=1, max_size=3))
    kinds = [HEADERS, *[CONTINUATION] * (len(pieces) - 1)]
    last = len(pieces) - 1
    return b"".join(
        frame(kind, END_HEADERS if i == last else 0, size)
        for i, (kind, size) in enumerate(zip(kinds, pieces, strict=True))
    )


@given(st.lists(units(), max_size=6), st.lists(st.integers(1, 40), min_size=1))
def test_a_connection_is_inside_until_the_last_byte_of_a_unit(frames: list[bytes], cuts: list[int]) -> None:
    """Slowloris on HTTP/2 is any wait inside; outside, a quiet client does nothing wrong."""
    watch, splitter = HeadWatch(), FrameSplitter(preface=PREFACE, frame_bytes=65_536)
    ends, total = set(), 0
    for unit in [PREFACE, *frames]:
        total += len(unit)
        ends.add(total)
    stream, at = b"".join([PREFACE, *frames]), 0
    for i in range(len(stream)):
        size = cuts[i % len(cuts)]
        watch.look(stream[at : at + size])
        list(splitter.split(stream[at : at + size]))
        at += size
        assert watch.inside is (at not in ends and at < total)
        if splitter.inside:
            assert watch.inside
        if at >= total:
            break
