"""What every protocol of a health check reads and writes through: bounded, and told apart from what it is not."""

from __future__ import annotations

from collections.abc import AsyncGenerator, Iterable

import h2.config
import h2.connection
import h2.events
import trio

ANSWER_LIMIT_BYTES = 65_536
USER_AGENT = "isthmus-health"
_READ_BYTES = 16_384


class CheckFailed(Exception):
    """A check failed; the text is its bounded reason."""


def scheme_of(stream: trio.abc.Stream) -> str:
    return "https" if isinstance(stream, trio.SSLStream) else "http"


async def receive(stream: trio.abc.Stream, size_bytes: int) -> bytes:
    """The next part of an answer of which `size_bytes` came so far."""
    data = await stream.receive_some(_READ_BYTES)
    if not data:
        raise CheckFailed("closed")
    if size_bytes + len(data) > ANSWER_LIMIT_BYTES:
        raise CheckFailed("malformed")
    return bytes(data)


async def http2_answer(
    stream: trio.abc.Stream, head: Iterable[tuple[str, str]], body: bytes = b""
) -> AsyncGenerator[h2.events.Event, None]:
    """One request over HTTP/2 with prior knowledge (RFC 9113 section 3.3): what is said about it, until it ends."""
    connection = h2.connection.H2Connection(h2.config.H2Configuration())
    connection.initiate_connection()
    connection.send_headers(1, [*head, ("user-agent", USER_AGENT)], end_stream=not body)
    if body:
        connection.send_data(1, body, end_stream=True)
    size_bytes = 0
    while True:
        await stream.send_all(connection.data_to_send())
        data = await receive(stream, size_bytes)
        size_bytes += len(data)
        if data.startswith(b"HTTP/"):
            # h2 would wait for the 4 MiB that the frame header in `HTTP/1.1` announces.
            raise CheckFailed("malformed")
        for event in connection.receive_data(data):
            yield event
            if isinstance(event, h2.events.StreamEnded):
                return
            if isinstance(event, h2.events.StreamReset | h2.events.ConnectionTerminated):
                raise CheckFailed("closed")


def http_status(headers: Iterable[tuple[bytes, bytes]] | None) -> int:
    status = dict(headers or ()).get(b":status", b"")
    if not (len(status) == 3 and status.isdigit()):
        raise CheckFailed("malformed")
    return int(status)
