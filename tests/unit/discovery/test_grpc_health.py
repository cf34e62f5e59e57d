"""The health protocol's two messages, against the protobuf runtime as reference."""

from __future__ import annotations

import struct
from typing import Any

import pytest
from google.protobuf import descriptor_pb2, descriptor_pool, message_factory
from hypothesis import given
from hypothesis import strategies as st

from discovery.grpc_health import NotHealthAnswer, ServingStatus, decode_answer, encode_request

_STRING = descriptor_pb2.FieldDescriptorProto.TYPE_STRING
_INT32 = descriptor_pb2.FieldDescriptorProto.TYPE_INT32
_DOUBLE = descriptor_pb2.FieldDescriptorProto.TYPE_DOUBLE
_FLOAT = descriptor_pb2.FieldDescriptorProto.TYPE_FLOAT


def _reference() -> tuple[Any, Any]:
    """The two messages as protobuf makes them; the answer with fields of later versions, of every wire type."""
    file = descriptor_pb2.FileDescriptorProto(name="health.proto", package="test.health", syntax="proto3")
    for name, fields in (
        ("Request", [("service", 1, _STRING)]),
        ("Answer", [("status", 1, _INT32), ("b", 2, _STRING), ("c", 3, _DOUBLE), ("d", 4, _FLOAT), ("e", 200, _INT32)]),
    ):
        message = file.message_type.add(name=name)
        for field, number, kind in fields:
            message.field.add(name=field, number=number, type=kind, label=1)
    pool = descriptor_pool.DescriptorPool()
    pool.Add(file)
    request, answer = (pool.FindMessageTypeByName(f"test.health.{name}") for name in ("Request", "Answer"))
    return message_factory.GetMessageClass(request), message_factory.GetMessageClass(answer)


REQUEST, ANSWER = _reference()


def framed(message: bytes) -> bytes:
    return struct.pack(">BI", 0, len(message)) + message


@given(st.text(max_size=300))
def test_requests_are_what_protobuf_writes(service: str) -> None:
    """Also for names longer than one byte of length tells."""
    assert encode_request(service) == framed(REQUEST(service=service).SerializeToString())


@given(st.integers(0, 2**31 - 1), st.text(max_size=200), st.floats(), st.floats(width=32), st.integers(-5, 5))
def test_answers_are_read_as_protobuf_writes_them(status: int, b: str, c: float, d: float, e: int) -> None:
    """Unknown fields are passed over, and unknown statuses are UNKNOWN."""
    body = framed(ANSWER(status=status, b=b, c=c, d=d, e=e).SerializeToString())
    expected = ServingStatus(status) if status <= 3 else ServingStatus.UNKNOWN
    assert decode_answer(body) is expected


@given(st.binary(max_size=40))
def test_anything_else_is_refused_and_never_raises_otherwise(garbage: bytes) -> None:
    """Endpoints are not trusted to speak the protocol."""
    for body in (garbage, framed(garbage)):
        try:
            assert decode_answer(body) in ServingStatus
        except NotHealthAnswer:
            pass


@pytest.mark.parametrize("message", [b"\x08", b"\x08" + b"\xff" * 11, b"\x12\x05ab", b"\x0b", b"\x1d\0"])
def test_a_broken_message_is_named(message: bytes) -> None:
    """A number without an end, a field beyond the message, a group."""
    with pytest.raises(NotHealthAnswer):
        decode_answer(framed(message))
