"""One GET on a connection that is open: what status does it answer? HTTP/1.1 and HTTP/2."""

from __future__ import annotations

import urllib.parse
from contextlib import aclosing

import h2.events
import httptools
import trio

from discovery.probe_stream import USER_AGENT, CheckFailed, http2_answer, http_status, receive, scheme_of


async def ask_http1(stream: trio.abc.Stream, host: str, path: str) -> int:
    """The final status, not a 1xx. Raises CheckFailed, HttpParserError, BrokenResourceError."""
    request = (
        f"GET {_quoted(path)} HTTP/1.1\r\nHost: {host}\r\nUser-Agent: {USER_AGENT}\r\nAccept: */*\r\n"
        "Connection: close\r\n\r\n"
    )
    await stream.send_all(request.encode())
    reader = _StatusReader()
    size_bytes = 0
    while reader.status is None:
        data = await receive(stream, size_bytes)
        size_bytes += len(data)
        reader.parser.feed_data(data)
    return reader.status


class _StatusReader:
    """Notes the final status of what its parser is fed."""

    def __init__(self) -> None:
        self.status: int | None = None
        self.parser = httptools.HttpResponseParser(self)

    def on_headers_complete(self) -> None:
        status = self.parser.get_status_code()
        if self.status is None and status >= 200:
            self.status = status


async def ask_http2(stream: trio.abc.Stream, host: str, path: str) -> int:
    """As `ask_http1`; raises h2's ProtocolError in place of HttpParserError."""
    head = [
        (":method", "GET"),
        (":scheme", scheme_of(stream)),
        (":authority", host),
        (":path", _quoted(path)),
        ("accept", "*/*"),
    ]
    async with aclosing(http2_answer(stream, head)) as events:
        async for event in events:
            if isinstance(event, h2.events.ResponseReceived):
                return http_status(event.headers)
    raise CheckFailed("malformed")


def _quoted(path: str) -> str:
    # Whatever a source put there, it stays one line of ASCII.
    return urllib.parse.quote(path, safe="/?&=%:@!$'()*+,;~-._")
