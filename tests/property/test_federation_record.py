"""Records: no change of any byte survives, and nothing that is not a record raises anything but a refusal."""

from __future__ import annotations

import pytest
from cryptography.hazmat.primitives.asymmetric import ec
from hypothesis import given, settings
from hypothesis import strategies as st

from federation.errors import RecordRefused, RefusalCode
from federation.jws import RecordHeader
from federation.record import open_record, sign_record
from trust.keys import PrivateKey

KEY = PrivateKey.generate()
PUBLIC = KEY.public_key
NOW = 1_800_000_000.0
RAW = sign_record(
    b'{"ports":[{"name":"http","port":80,"protocol":"http"}],"to":["*"],"created":1.0}',
    federation="acme",
    cluster="west",
    path="exports/shop/pay",
    sequence=7,
    issued_at=NOW,
    key=KEY,
    kid="k1",
)


def key_for(header: RecordHeader, now: float) -> ec.EllipticCurvePublicKey:
    return PUBLIC


def refusal(raw: bytes) -> RefusalCode | None:
    try:
        open_record(
            raw,
            federation="acme",
            cluster="west",
            path="exports/shop/pay",
            key_for=key_for,
            last_sequence=6,
            now=NOW,
        )
    except RecordRefused as refused:
        return refused.code
    return None


def test_the_untouched_record_is_good() -> None:
    """What the others here start from."""
    assert refusal(RAW) is None


@pytest.mark.parametrize("flip", [0x01, 0x20, 0x80])
def test_every_changed_byte_is_noticed(flip: int) -> None:
    """Each byte in turn, also the last ones of the signature, whose unused bits base64 would let pass."""
    for index in range(len(RAW)):
        tampered = bytearray(RAW)
        tampered[index] ^= flip
        assert refusal(bytes(tampered)) is not None, f"byte {index}"


@settings(max_examples=200)
@given(st.data())
def test_every_edit_is_noticed(data: st.DataObject) -> None:
    """Cut, doubled, and rewritten pieces."""
    start = data.draw(st.integers(0, len(RAW)))
    end = data.draw(st.integers(start, min(len(RAW), start + 40)))
    piece = data.draw(st.binary(max_size=40) | st.just(RAW[start:end] * 2))
    edited = RAW[:start] + piece + RAW[end:]
    assert edited == RAW or refusal(edited) is not None


@settings(max_examples=200)
@given(st.binary(max_size=300) | st.from_regex(rb"[A-Za-z0-9_=-]{0,80}\.[A-Za-z0-9_=-]{0,80}\.[A-Za-z0-9_=-]{0,90}"))
def test_anything_else_is_refused_and_never_raises(raw: bytes) -> None:
    assert refusal(raw) is not None
