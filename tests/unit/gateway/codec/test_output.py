"""The queue of bytes that the text protocols' codecs hand out from."""

from __future__ import annotations

from gateway.codec.output import OUTPUT_BYTES, Output


def test_bytes_come_out_in_order_and_in_bounded_pieces() -> None:
    output = Output()
    data = bytes(range(256)) * 4_096
    for start in range(0, len(data), 10_000):
        output.add_body(data[start : start + 10_000])
    pieces = []
    while output:
        pieces.append(output.take())
        assert len(pieces[-1]) <= OUTPUT_BYTES
        assert output.body_bytes == len(output)
    assert b"".join(pieces) == data


def test_only_bodies_are_counted() -> None:
    output = Output()
    output.add(b"head")
    output.add_body(b"body")
    assert (len(output), output.body_bytes) == (8, 4)
    assert output.take() == b"headbody"
    assert (len(output), output.body_bytes) == (0, 0)
