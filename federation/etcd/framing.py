"""gRPC on the wire: message frames, timeouts, status fields (gRPC over HTTP/2, doc/PROTOCOL-HTTP2.md). No I/O."""

from __future__ import annotations

import struct
import urllib.parse
from collections.abc import Iterable

from federation.etcd.errors import GrpcStatus, RpcError

# One answer of etcd has no limit of its own (a page of 5,000 keys of 1.5 MB each), so this is only what we are ready
# to hold in memory for one message: more is refused, and tells the reader to ask for smaller pages.
MAX_MESSAGE_BYTES = 256 * 1024 * 1024

_PREFIX = struct.Struct(">BI")
_STATUS_DIGITS = 9
# How gRPC reads these HTTP statuses (doc/http-grpc-status-mapping.md): a proxy has no server to give.
_GATEWAY_TROUBLE = (b"429", b"502", b"503", b"504")


def encode_message(payload: bytes) -> bytes:
    """A length-prefixed, uncompressed message."""
    return _PREFIX.pack(0, len(payload)) + payload


class MessageReader:
    """Cuts one stream's DATA into messages, however they were split."""

    def __init__(self) -> None:
        self._chunks = bytearray()
        self._need = _PREFIX.size

    def feed(self, data: bytes) -> list[bytes]:
        """Takes bytes, returns the messages that they complete. Raises RpcError for a frame that is not acceptable."""
        self._chunks += data
        messages = []
        while len(self._chunks) >= self._need:
            compressed, size_bytes = _PREFIX.unpack_from(self._chunks)
            if compressed:
                raise RpcError(GrpcStatus.INTERNAL, "a compressed message came, which nobody asked for")
            if size_bytes > MAX_MESSAGE_BYTES:
                raise RpcError(
                    GrpcStatus.RESOURCE_EXHAUSTED,
                    f"a message of {size_bytes} bytes is more than {MAX_MESSAGE_BYTES}: read in smaller pages",
                )
            end = _PREFIX.size + size_bytes
            if len(self._chunks) < end:
                self._need = end
                break
            messages.append(bytes(self._chunks[_PREFIX.size : end]))
            del self._chunks[:end]
            self._need = _PREFIX.size
        return messages


def encode_timeout(timeout_s: float) -> bytes:
    """The `grpc-timeout` field in milliseconds; at most 8 digits are allowed."""
    return b"%dm" % max(1, min(99_999_999, int(timeout_s * 1000)))


def status_from_fields(fields: Iterable[tuple[bytes, bytes]]) -> RpcError | None:
    """What an answer's trailers say: None for OK. Trailers without a readable status are an error of their own."""
    found = dict(fields)
    text = found.get(b"grpc-status", b"")
    if not text.isdigit() or len(text) > _STATUS_DIGITS:
        return RpcError(GrpcStatus.UNKNOWN, "the answer ended without a grpc-status; is this an etcd endpoint?")
    status = int(text)
    if status == GrpcStatus.OK:
        return None
    message = urllib.parse.unquote_to_bytes(found.get(b"grpc-message", b"")).decode(errors="replace")
    return RpcError(status, message)


def check_answer_head(fields: Iterable[tuple[bytes, bytes]]) -> RpcError | None:
    """Whether an answer's head is gRPC's at all: a proxy or a web server in etcd's place is told apart here."""
    found = dict(fields)
    http_status = found.get(b":status", b"")
    content_type = found.get(b"content-type", b"")
    if http_status == b"200" and content_type.startswith(b"application/grpc"):
        return None
    seen = f"HTTP status {http_status.decode(errors='replace')}, content-type {content_type.decode(errors='replace')!r}"
    status = GrpcStatus.UNAVAILABLE if http_status in _GATEWAY_TROUBLE else GrpcStatus.UNIMPLEMENTED
    return RpcError(status, f"what answers is not gRPC ({seen}); check etcd.endpoints")
