"""Bodies of HTTP/1.1 as bytes go out (RFC 9112 sections 6 and 7), of requests and of responses."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Final

from gateway.codec.events import Header, RequestHead, ResponseHead
from gateway.codec.http1.message import BODY_EXPECTED, CRLF, write_fields
from gateway.codec.output import Output

# How a body ends. Small ints: they are compared for each piece of it.
UNDECIDED: Final = 0
"""Its message has not begun."""
NONE: Final = 1
"""There is none, whatever is written."""
LENGTH: Final = 2
CHUNKED: Final = 3
CLOSE: Final = 4
"""With the connection: a response to HTTP/1.0."""
RAW: Final = 5
"""A tunnel's bytes."""
EARLY: Final = 6
"""A tunnel's bytes while there is no tunnel: they wait for `open_tunnel`, as they might be read as another message."""

LAST_CHUNK: Final = b"0\r\n\r\n"
_NO_BODY: Final = frozenset({204, 304})


class BodyWriter:
    """The body of the message that is on its way out, from `begin` to `end`."""

    def __init__(self, output: Output) -> None:
        self.framing = UNDECIDED
        self.left = 0
        """What is still to be written of the length that was announced: only the end of the connection can tell the
        other side of a body that ends before."""
        self._early: list[bytes] = []
        self._output = output

    @property
    def early_bytes(self) -> int:
        return sum(map(len, self._early)) if self._early else 0

    def begin(self, framing: int, length: int = 0) -> None:
        self.framing = framing
        self.left = length
        if self._early:
            self._early.clear()

    def begin_request(self, head: RequestHead, end_stream: bool) -> bytes:
        """Begins what follows a request that is no tunnel. Returns the fields that say how it ends, and what belongs to
        the connection of those in `head`."""
        extra = b""
        length = None
        for name, value in head.headers:
            if name == b"content-length":
                length = int(value)
            elif name == b"te":
                extra = b"connection: te\r\n"
        if length is not None:
            self.begin(LENGTH, length)
        elif not end_stream:
            self.begin(CHUNKED)
            extra += b"transfer-encoding: chunked\r\n"
        else:
            self.begin(NONE)
            if head.method in BODY_EXPECTED:
                extra += b"content-length: 0\r\n"
        return extra

    def begin_response(self, head: ResponseHead, end_stream: bool, *, method: bytes, minor: int) -> bytes:
        """Begins what follows a response to a request with this method and minor version. Returns the fields that say
        how it ends."""
        length = next((value for name, value in head.headers if name == b"content-length"), None)
        if method == b"HEAD" or head.status in _NO_BODY:
            self.begin(NONE)
        elif length is not None:
            self.begin(LENGTH, int(length))
        elif end_stream:
            self.begin(NONE)
            return b"content-length: 0\r\n"
        elif minor == 1:
            self.begin(CHUNKED)
            return b"transfer-encoding: chunked\r\n"
        else:
            self.begin(CLOSE)
        return b""

    def open_tunnel(self) -> None:
        """What was held goes first."""
        self.framing = RAW
        for data in self._early:
            self._output.add_body(data)
        self._early.clear()

    def write(self, data: bytes) -> None:
        framing = self.framing
        if framing == CHUNKED:
            self._output.add(b"%x\r\n" % len(data))
            self._output.add_body(data)
            self._output.add(CRLF)
        elif framing == LENGTH:
            # More than was said would be read as the next message.
            self._output.add_body(data[: self.left])
            self.left = max(0, self.left - len(data))
        elif framing == EARLY:
            self._early.append(data)
        elif framing != NONE:
            self._output.add_body(data)

    def end(self, trailers: Sequence[Header] = ()) -> None:
        """Trailers are left out where they cannot be said."""
        if self.framing == CHUNKED:
            self._output.add(b"0\r\n%b\r\n" % write_fields(trailers) if trailers else LAST_CHUNK)
