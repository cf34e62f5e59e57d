"""HTTP/2 on the level of frames (RFC 9113 section 4), as far as a codec must know them itself."""

from __future__ import annotations

import struct
from collections.abc import Iterator, Mapping
from typing import Final

from gateway.codec.http2.extended_connect import ENABLE_CONNECT_PROTOCOL, TAKES_UPGRADES
from gateway.codec.limits import CodecLimits, Lent

PREFACE: Final = b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n"
HEADER_BYTES: Final = 9
# The beginning of a frame's header: 24 bits of length and 8 of type, then the flags (RFC 9113 section 4.1).
_unpack_from: Final = struct.Struct(">IB").unpack_from
_pack_setting: Final = struct.Struct(">HI").pack

DATA: Final = 0x0
HEADERS: Final = 0x1
RST_STREAM: Final = 0x3
SETTINGS: Final = 0x4
PUSH_PROMISE: Final = 0x5
PING: Final = 0x6
GOAWAY: Final = 0x7
CONTINUATION: Final = 0x9
# Not types of frames, but what else a splitter finds.
CONNECTION_PREFACE: Final = -1
OVERLONG: Final = -2

END_STREAM = ACK = 0x1
END_HEADERS: Final = 0x4

ASSUMED_STREAMS: Final = 100
"""How many streams a client opens before the server's SETTINGS say how many it takes."""
UNLIMITED_STREAMS: Final = 0x7FFFFFFF


def settings(limits: CodecLimits, *, client: bool) -> dict[int, int]:
    """The SETTINGS that either engine begins with (RFC 9113 section 6.5.2, RFC 8441 section 3)."""
    common = {0x4: limits.stream_window, 0x5: limits.frame_bytes, 0x6: limits.header_bytes}
    if client:
        return {0x2: 0, **common}
    return {0x3: limits.concurrent_streams, ENABLE_CONNECT_PROTOCOL: 1, TAKES_UPGRADES: 1, **common}


def settings_frame(settings: Mapping[int, int]) -> bytes:
    """A SETTINGS frame (RFC 9113 section 6.5)."""
    pairs = b"".join(_pack_setting(code, value) for code, value in settings.items())
    return len(pairs).to_bytes(3, "big") + bytes([SETTINGS, 0, 0, 0, 0, 0]) + pairs


def goaway_frame(last_stream_id: int, code: int, debug: bytes = b"") -> bytes:
    """A GOAWAY frame (RFC 9113 section 6.8)."""
    header = (8 + len(debug)).to_bytes(3, "big") + b"\x07\x00\x00\x00\x00\x00"
    return header + last_stream_id.to_bytes(4, "big") + code.to_bytes(4, "big") + debug


class HeadWatch:
    """Where in a client's frames a connection stands, without keeping any of their bytes."""

    __slots__ = ("_header", "_in_block", "_left")

    def __init__(self) -> None:
        self._left = len(PREFACE)
        """Bytes still to come of the present frame, or of the preface."""
        self._header = b""
        """The beginning of a frame's header."""
        self._in_block = False

    @property
    def inside(self) -> bool:
        """Whether the rest of a frame, or of a header block, is still to come."""
        return self._left > 0 or self._in_block or bool(self._header)

    def look(self, data: Lent) -> None:
        """Follows what has come. Bytes that are no HTTP/2 end the connection elsewhere."""
        at, size = self._left, len(data)
        if self._header:
            data = self._header + data
            size, self._header = len(data), b""
        while at + HEADER_BYTES <= size:
            length_and_type, flags = _unpack_from(data, at)
            if length_and_type & 0xFF in (HEADERS, CONTINUATION):
                self._in_block = not flags & END_HEADERS
            at += HEADER_BYTES + (length_and_type >> 8)
        if at >= size:
            self._left = at - size
        else:
            self._left, self._header = 0, bytes(data[at:])


class FrameSplitter:
    """Cuts a connection's bytes at the ends of frames."""

    def __init__(self, *, preface: bytes, frame_bytes: int) -> None:
        """`preface` is what comes before the first frame, if anything."""
        self._buffer = bytearray()
        self._preface = preface
        self._frame_bytes = frame_bytes

    @property
    def inside(self) -> bool:
        """Whether the rest of a frame, or of the preface, is still to come."""
        return bool(self._buffer or self._preface)

    def split(self, data: Lent) -> Iterator[tuple[bytes, int, int]]:
        """(frame, type, flags) for all that is whole. The preface, or what is not one, comes as CONNECTION_PREFACE; a
        frame above `frame_bytes` as OVERLONG, by its header alone, and nothing after it."""
        buffer = self._buffer
        buffer += data
        if self._preface:
            size = min(len(buffer), len(self._preface))
            if size < len(self._preface) and self._preface.startswith(buffer[:size]):
                return
            self._preface = b""
            yield self._cut(size), CONNECTION_PREFACE, 0
        while len(buffer) >= HEADER_BYTES:
            length = int.from_bytes(buffer[:3], "big")
            if length > self._frame_bytes:
                yield self._cut(HEADER_BYTES), OVERLONG, 0
                return
            if len(buffer) < HEADER_BYTES + length:
                return
            kind, flags = buffer[3], buffer[4]
            yield self._cut(HEADER_BYTES + length), kind, flags

    def _cut(self, size: int) -> bytes:
        frame = bytes(self._buffer[:size])
        del self._buffer[:size]
        return frame
