"""What both sides of HTTP/1.1 share: heads (RFC 9112 sections 2 to 5) and the fields that belong to a connection.

httptools (llhttp) reads the heads. It cannot be told to stop between two messages, nor that a response answers HEAD
or CONNECT, so the codecs give it exactly one head at a time and frame bodies themselves (`body`). Shapes that
different parsers read differently are refused before llhttp sees them: bare CR or LF, folded lines, control
characters, anything but one space inside the first line.
"""

from __future__ import annotations

import http
import re
from collections.abc import Sequence
from typing import Final

import httptools

from gateway.codec.events import Header
from gateway.codec.http1.head import Fields
from gateway.codec.limits import CodecLimits

CRLF: Final = b"\r\n"
HEAD_END: Final = b"\r\n\r\n"

# The last alternative is every control character but TAB, CR and LF; the first three are lines that end or begin in
# a way that only some parsers take.
_ODD_LINES: Final = re.compile(rb"(?:^|[^\r])\n|\r[^\n]|\n[ \t]|[\x00-\x08\x0b\x0c\x0e-\x1f\x7f]")

# A head that has come at once and has none of them: what nearly every head is, found in one pass. The rest is looked at
# more closely, to say what is wrong with it, or to go on when more has come.
_WHOLE_HEAD: Final = re.compile(rb"(?:[!-~\x80-\xff][\t -~\x80-\xff]*+\r\n)++\r\n")

_LEGAL_BYTES: Final = bytes(byte for byte in range(256) if byte in b"\t\r\n" or (byte >= 0x20 and byte != 0x7F))

_LINE_END: Final = re.compile(rb"[\r\n]")

_CONNECTION_FIELDS: Final = frozenset(
    {
        b"connection",
        b"content-length",
        b"expect",
        b"host",
        b"http2-settings",
        b"keep-alive",
        b"proxy-connection",
        b"te",
        b"transfer-encoding",
        b"upgrade",
    }
)

# What nearly every `connection` says; it names no field.
_PLAIN_CONNECTION: Final = {value: frozenset({value}) for value in (b"close", b"keep-alive")}

# A request with one of these methods and no body says so (RFC 9110 section 8.6).
BODY_EXPECTED: Final = frozenset({b"POST", b"PUT", b"PATCH"})

_REASONS: Final = {status.value: f"{status.value} {status.phrase}".encode() for status in http.HTTPStatus}


class Fault(Exception):
    """A message that cannot be taken. `status` is what a server answers. Never leaves the codec."""

    def __init__(self, status: int, code: str, detail: str) -> None:
        super().__init__(detail)
        self.status = status
        self.code = code
        self.detail = detail


class HeadReader:
    """llhttp's callbacks for one head at a time."""

    def __init__(self, kind: type[httptools.HttpRequestParser] | type[httptools.HttpResponseParser]) -> None:
        self._headers: list[Header] = []
        self._apart: list[Header] = []
        self.parser = kind(self)

    def on_header(self, name: bytes, value: bytes) -> None:
        # No other white space than space and TAB is left by `cut_head`.
        name, value = name.lower(), value.strip()
        if name not in _CONNECTION_FIELDS:
            self._headers.append((name, value))
        else:
            self._apart.append((name, value))
            if name == b"content-length":
                self._headers.append((name, value))

    def read(self, head: bytes, limits: CodecLimits) -> Fields:
        """One whole head, with its final empty line. Raises `Fault`."""
        self._headers, self._apart = [], []
        # A parser that has begun a body cannot be used for the next head: it begins afresh, in place.
        self.parser.__init__(self)  # type: ignore[misc]
        try:
            self.parser.feed_data(head)
        except httptools.HttpParserUpgrade:
            # CONNECT and Upgrade are looked at by the codec.
            pass
        except httptools.HttpParserInvalidMethodError as unknown:
            raise Fault(501, "unknown-method", "the method is not known") from unknown
        except httptools.HttpParserError as error:
            raise Fault(400, "malformed-head", str(error)) from error
        if len(self._headers) + len(self._apart) > limits.header_count:
            raise Fault(431, "header-limit", f"more than {limits.header_count} fields")
        return _fields(self._headers, self._apart)


def cut_head(data: bytes, looked_at: int, limits: CodecLimits) -> int:
    """The size of the head that `data` begins with, 0 while its end has not come. The first `looked_at` bytes were
    seen by an earlier call: a head that comes byte by byte must not cost its square. Raises `Fault`."""
    if not looked_at and (whole := _WHOLE_HEAD.match(data)) is not None and whole.end() <= limits.header_bytes:
        return whole.end()
    start = max(0, looked_at - len(HEAD_END))
    end = data.find(HEAD_END, start)
    size = end + len(HEAD_END) if end >= 0 else len(data)
    if size > limits.header_bytes:
        raise Fault(431, "header-limit", f"the head is larger than {limits.header_bytes} bytes")
    if _is_odd(data, start, size) and (odd := _ODD_LINES.search(data, start, size)):
        raise Fault(400, "malformed-head", f"a bare or folded line or a control character at byte {odd.start()}")
    return size if end >= 0 else 0


def _is_odd(data: bytes, start: int, end: int) -> bool:
    """Whether `_ODD_LINES` may have something to find: an answer from a few passes at memory speed, where the
    expression looks at each byte. A CR at the very end is undecided, and left to the expression."""
    part = data[start:end]
    lines = part.count(CRLF)
    return (
        part.count(b"\n") != lines
        or part.count(b"\r") != lines
        or b"\n " in part
        or b"\n\t" in part
        or bool(part.translate(None, _LEGAL_BYTES))
    )


def _fields(headers: list[Header], apart: list[Header]) -> Fields:
    """Makes sense of what belongs to the connection (RFC 9110 section 7.6.1). Raises `Fault`."""
    fields = Fields(headers)
    te = connection = b""
    for name, value in apart:
        if name == b"host":
            fields.hosts.append(value)
        elif name == b"content-length":
            if fields.content_length is not None:
                raise Fault(400, "malformed-head", "two content-length fields")
            fields.content_length = int(value)
        elif name == b"connection":
            connection = connection + b"," + value if connection else value
        elif name == b"transfer-encoding":
            fields.transfer_encoding += b"," + value.lower() if fields.transfer_encoding else value.lower()
        elif name == b"upgrade":
            fields.upgrade += b"," + value if fields.upgrade else value
        elif name == b"te":
            te += b"," + value.lower()
        elif name == b"expect":
            fields.expect = value.lower()
    if te and b"trailers" in te:
        headers.append((b"te", b"trailers"))
    if connection:
        _drop_named(fields, connection)
    return fields


def _drop_named(fields: Fields, connection: bytes) -> None:
    """Removes the fields that `connection` names."""
    if plain := _PLAIN_CONNECTION.get(connection):
        fields.connection = plain
        return
    tokens = frozenset(token.strip(b" \t").lower() for token in connection.split(b","))
    fields.connection = tokens
    named = tokens - {b"close", b"keep-alive", b"upgrade", b"te", b"content-length"}
    if named:
        fields.headers = [header for header in fields.headers if header[0] not in named]


def write_fields(headers: Sequence[Header]) -> bytes:
    """The fields as lines. One that would end its line is left out: a message must not be split (RFC 9110 section
    5.5). No codec lets such a field in, so this is the second lock on that door."""
    if not headers:
        return b""
    parts: list[bytes] = []
    for name, value in headers:
        parts.append(name)
        parts.append(b": ")
        parts.append(value)
        parts.append(CRLF)
    lines = b"".join(parts)
    if lines.count(b"\n") != len(headers) or lines.count(b"\r") != len(headers):
        return write_fields([header for header in headers if not _LINE_END.search(b"".join(header))])
    return lines


def status_and_reason(status: int) -> bytes:
    """ "200 OK"; an unknown status has an empty reason, but its space (RFC 9112 section 4)."""
    return _REASONS.get(status) or b"%d " % status
