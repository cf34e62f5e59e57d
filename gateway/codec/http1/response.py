"""An HTTP/1.1 response's head, as a client reads it (RFC 9112 sections 4 and 6)."""

from __future__ import annotations

import http
import re
from typing import Final

import httptools

from gateway.codec.http1.body import BodyReader, ChunkedBody, EndlessBody, LengthBody
from gateway.codec.http1.head import Fields
from gateway.codec.http1.message import CRLF, Fault, HeadReader, status_and_reason
from gateway.codec.limits import CodecLimits

_STATUS_LINE: Final = re.compile(rb"HTTP/1\.([01]) ([1-5][0-9]{2})(?: [\t -~\x80-\xff]*)?")
_SEEN: Final = {b"HTTP/1.1 " + status_and_reason(status.value): (1, status.value) for status in http.HTTPStatus}
"""What nearly all responses begin with: the minor version and the status."""


class ResponseReader:
    """Reads one head at a time."""

    def __init__(self, limits: CodecLimits) -> None:
        self._limits = limits
        self._reader = HeadReader(httptools.HttpResponseParser)
        self._minor = 1

    def read(self, data: bytes) -> tuple[int, Fields]:
        """A whole head: its status and its fields. Raises `Fault`."""
        end = data.find(CRLF)
        line = data[:end]
        self._minor, status = _SEEN.get(line) or _read_status_line(line)
        return status, self._reader.read(data, self._limits)

    def keeps_alive(self, fields: Fields) -> bool:
        """Whether the response that was read last lets the connection live."""
        return b"close" not in fields.connection and (self._minor == 1 or b"keep-alive" in fields.connection)

    def body(self, method: bytes, status: int, fields: Fields) -> BodyReader:
        """What follows the final response that was read last, to a request with this method. Raises `Fault`."""
        if method == b"HEAD" or status in (204, 304):
            return LengthBody(0)
        if coding := fields.transfer_encoding:
            if coding != b"chunked" or self._minor == 0:
                raise Fault(502, "unknown-coding", "the only transfer coding spoken here is chunked")
            return ChunkedBody(self._limits)
        return EndlessBody() if fields.content_length is None else LengthBody(fields.content_length)


def _read_status_line(line: bytes) -> tuple[int, int]:
    """Raises `Fault`."""
    found = _STATUS_LINE.fullmatch(line)
    if found is None:
        raise Fault(502, "malformed-head", "the first line is not 'version status reason'")
    return int(found[1]), int(found[2])
