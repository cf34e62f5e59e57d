"""The messages of gRPC's health protocol (grpc.health.v1, grpc's doc/health-checking.md), without I/O.

Two messages of one field each, so they are written and read by hand: `HealthCheckRequest{string service = 1}` and
`HealthCheckResponse{ServingStatus status = 1}`.
"""

from __future__ import annotations

import enum
import struct

METHOD_PATH = "/grpc.health.v1.Health/Check"
_PREFIX = struct.Struct(">BI")
_FIELD_SERVICE = 0x0A
_FIELD_STATUS = 1
_VARINT, _FIXED64, _LENGTH, _FIXED32 = 0, 1, 2, 5
_MAX_VARINT_BYTES = 10


class ServingStatus(enum.IntEnum):
    UNKNOWN = 0
    SERVING = 1
    NOT_SERVING = 2
    SERVICE_UNKNOWN = 3


_STATUSES: dict[int, ServingStatus] = {int(status): status for status in ServingStatus}


class NotHealthAnswer(Exception):
    """What came is no answer of the health protocol."""


def encode_request(service: str) -> bytes:
    """The request's one message with its length prefix; an empty name asks for the whole server."""
    name = service.encode()
    message = bytes([_FIELD_SERVICE]) + _encode_varint(len(name)) + name if name else b""
    return _PREFIX.pack(0, len(message)) + message


def decode_answer(body: bytes) -> ServingStatus:
    """The whole body of an answer. A status of a later version of the protocol counts as UNKNOWN.

    Raises:
        NotHealthAnswer: it is not one whole, uncompressed message of this kind.
    """
    if len(body) < _PREFIX.size:
        raise NotHealthAnswer("no whole message")
    compressed, size_bytes = _PREFIX.unpack_from(body)
    if compressed or len(body) != _PREFIX.size + size_bytes:
        raise NotHealthAnswer("not one uncompressed message")
    number = _status_field(body[_PREFIX.size :])
    return _STATUSES.get(number, ServingStatus.UNKNOWN)


def _status_field(message: bytes) -> int:
    """The last value of the field, as protobuf bids; 0 where there is none. Other fields are passed over."""
    status = at = 0
    while at < len(message):
        tag, at = _decode_varint(message, at)
        kind = tag & 7
        if kind == _VARINT:
            value, at = _decode_varint(message, at)
            status = value if tag >> 3 == _FIELD_STATUS else status
        elif kind == _LENGTH:
            length, at = _decode_varint(message, at)
            at += length
        elif kind in (_FIXED64, _FIXED32):
            at += 8 if kind == _FIXED64 else 4
        else:
            raise NotHealthAnswer(f"wire type {kind}")
    if at != len(message):
        raise NotHealthAnswer("a field ends beyond the message")
    return status


def _encode_varint(number: int) -> bytes:
    encoded = bytearray()
    while number > 0x7F:
        encoded.append(number & 0x7F | 0x80)
        number >>= 7
    encoded.append(number)
    return bytes(encoded)


def _decode_varint(message: bytes, at: int) -> tuple[int, int]:
    number = 0
    for shift, byte in enumerate(message[at : at + _MAX_VARINT_BYTES]):
        number |= (byte & 0x7F) << (7 * shift)
        if not byte & 0x80:
            return number, at + shift + 1
    raise NotHealthAnswer("a number without an end")
