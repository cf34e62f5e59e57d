"""Bodies of HTTP/1.1 as bytes come in (RFC 9112 sections 6 and 7).

A reader takes what has come and gives the body bytes in it and what is left over: an unfinished line, or what
follows the message. `done` says that the body has ended.
"""

from __future__ import annotations

import re
from typing import Final, Protocol

from gateway.codec.events import Header
from gateway.codec.http1.message import CRLF, Fault
from gateway.codec.limits import CodecLimits

CHUNK_LINE_BYTES: Final = 1_024
"""A chunk's size with its extensions, which are read over (RFC 9112 section 7.1.1)."""

_CHUNK_LINE: Final = re.compile(rb"([0-9A-Fa-f]{1,15})(?:;[\t -~\x80-\xff]*)?")
_TRAILER_LINE: Final = re.compile(rb"([!#$%&'*+\-.^_`|~0-9A-Za-z]+):([\t -~\x80-\xff]*)")

# Fields that would change how a message is framed or routed mean nothing in a trailer (RFC 9110 section 6.5.1).
_NOT_IN_TRAILERS: Final = frozenset(
    {
        b"authorization",
        b"connection",
        b"content-encoding",
        b"content-length",
        b"content-type",
        b"expect",
        b"host",
        b"keep-alive",
        b"proxy-connection",
        b"te",
        b"trailer",
        b"transfer-encoding",
        b"upgrade",
    }
)


class BodyReader(Protocol):
    done: bool
    trailers: list[Header]

    def take(self, data: bytes) -> tuple[bytes, bytes]:
        """(body, rest). Raises `Fault`."""
        ...


class LengthBody:
    """A body of a known length."""

    def __init__(self, size: int) -> None:
        self._left = size
        self.done = size == 0
        self.trailers: list[Header] = []

    def take(self, data: bytes) -> tuple[bytes, bytes]:
        if len(data) < self._left:
            self._left -= len(data)
            return data, b""
        body, rest = data[: self._left], data[self._left :]
        self._left = 0
        self.done = True
        return body, rest


class EndlessBody:
    """A body that ends with the connection."""

    def __init__(self) -> None:
        self.done = False
        self.trailers: list[Header] = []

    def take(self, data: bytes) -> tuple[bytes, bytes]:
        return data, b""


class ChunkedBody:
    """A chunked body with its trailer section."""

    def __init__(self, limits: CodecLimits) -> None:
        self.done = False
        self.trailers: list[Header] = []
        self._limits = limits
        self._left = 0
        self._in_trailers = False
        self._trailer_bytes = 0
        self._trailer_count = 0
        # After a chunk's data comes its own CRLF.
        self._after_data = False

    def take(self, data: bytes) -> tuple[bytes, bytes]:
        parts: list[bytes] = []
        at = 0
        while not self.done and at < len(data):
            if self._left:
                part = data[at : at + self._left]
                parts.append(part)
                at += len(part)
                self._left -= len(part)
                self._after_data = not self._left
            elif self._after_data:
                if not CRLF.startswith(data[at : at + 2]):
                    raise Fault(400, "malformed-chunk", "a chunk is longer than its size says")
                if len(data) - at < 2:
                    break
                at += 2
                self._after_data = False
            else:
                line_end = self._line_end(data, at)
                if line_end < 0:
                    break
                self._read_line(data[at:line_end])
                at = line_end + 2
        return parts[0] if len(parts) == 1 else b"".join(parts), data[at:]

    def _line_end(self, data: bytes, at: int) -> int:
        """Where the line at `at` ends, -1 while it has not."""
        limit = self._limits.header_bytes - self._trailer_bytes if self._in_trailers else CHUNK_LINE_BYTES
        end = data.find(b"\n", at, at + limit)
        if end < 0:
            if len(data) - at >= limit:
                raise Fault(431 if self._in_trailers else 400, "header-limit", "a chunk's line or trailer is too long")
            return -1
        if end == at or data[end - 1] != 0x0D:
            raise Fault(400, "malformed-chunk", "a line of a chunked body ends with a bare LF")
        return end - 1

    def _read_line(self, line: bytes) -> None:
        if self._in_trailers:
            self._read_trailer(line)
            return
        found = _CHUNK_LINE.fullmatch(line)
        if found is None:
            raise Fault(400, "malformed-chunk", "a chunk's size is not a hexadecimal number")
        self._left = int(found[1], 16)
        self._in_trailers = not self._left

    def _read_trailer(self, line: bytes) -> None:
        if not line:
            self.done = True
            return
        self._trailer_bytes += len(line) + 2
        self._trailer_count += 1
        found = _TRAILER_LINE.fullmatch(line)
        if found is None:
            raise Fault(400, "malformed-trailer", "a line in the trailer section is not a field")
        if self._trailer_count > self._limits.header_count:
            raise Fault(431, "header-limit", f"more than {self._limits.header_count} trailer fields")
        name = found[1].lower()
        if name not in _NOT_IN_TRAILERS:
            self.trailers.append((name, found[2].strip(b" \t")))
