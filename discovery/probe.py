"""Makes one health check: connects, and where asked, sends one GET and reads the response's status."""

from __future__ import annotations

import socket
import urllib.parse

import h2.config
import h2.connection
import h2.events
import h2.exceptions
import httptools
import trio

from discovery.health_state import Probe
from discovery.model import Protocol

_HEAD_BYTES = 65_536
_READ_BYTES = 16_384
_USER_AGENT = "isthmus-health"


class _Failed(Exception):
    """A check failed; the text is its bounded reason."""


async def make_probe(probe: Probe) -> str | None:
    """Checks an endpoint within `probe.check.timeout_s`.

    Returns None for success, else the reason: `timeout`, `refused`, `unreachable`, `unresolvable`, `closed` (no whole
    response), `malformed` (no HTTP), or `http-<status>` for a status outside 200 to 399.
    """
    with trio.move_on_after(probe.check.timeout_s):
        try:
            return await _probe(probe)
        except _Failed as failed:
            return str(failed)
        except socket.gaierror:
            return "unresolvable"
        except OSError as error:
            return "refused" if _is_refused(error) else "unreachable"
        except trio.BrokenResourceError:
            return "closed"
        except (httptools.HttpParserError, h2.exceptions.ProtocolError):
            return "malformed"
    return "timeout"


def _is_refused(error: OSError) -> bool:
    """Whether every address refused. trio gives the attempts as a group, as the cause."""
    attempts = error.__cause__.exceptions if isinstance(error.__cause__, BaseExceptionGroup) else (error,)
    return all(isinstance(attempt, ConnectionRefusedError) for attempt in attempts)


async def _probe(probe: Probe) -> str | None:
    stream = await trio.open_tcp_stream(probe.endpoint.address, probe.port)
    try:
        if probe.protocol is None:
            return None
        status_of = _http2_status if probe.protocol is Protocol.HTTP2 else _http1_status
        status = await status_of(stream, _authority(probe), _path(probe))
    finally:
        await trio.aclose_forcefully(stream)
    return None if 200 <= status < 400 else f"http-{status}"


async def _http1_status(stream: trio.SocketStream, authority: str, path: str) -> int:
    request = (
        f"GET {path} HTTP/1.1\r\nHost: {authority}\r\nUser-Agent: {_USER_AGENT}\r\nAccept: */*\r\n"
        "Connection: close\r\n\r\n"
    )
    await stream.send_all(request.encode())
    reader = _StatusReader()
    size = 0
    while reader.status is None:
        size += len(data := await _receive(stream))
        if size > _HEAD_BYTES:
            raise _Failed("malformed")
        reader.parser.feed_data(data)
    return reader.status


class _StatusReader:
    """Notes the final status (not a 1xx) of what its parser is fed."""

    def __init__(self) -> None:
        self.status: int | None = None
        self.parser = httptools.HttpResponseParser(self)

    def on_headers_complete(self) -> None:
        status = self.parser.get_status_code()
        if self.status is None and status >= 200:
            self.status = status


async def _http2_status(stream: trio.SocketStream, authority: str, path: str) -> int:
    """HTTP/2 with prior knowledge (RFC 9113 section 3.3)."""
    connection = h2.connection.H2Connection(h2.config.H2Configuration())
    connection.initiate_connection()
    head = [(":method", "GET"), (":scheme", "http"), (":authority", authority), (":path", path)]
    connection.send_headers(1, [*head, ("user-agent", _USER_AGENT), ("accept", "*/*")], end_stream=True)
    size = 0
    while True:
        await stream.send_all(connection.data_to_send())
        size += len(data := await _receive(stream))
        if size > _HEAD_BYTES or data.startswith(b"HTTP/"):
            # h2 would wait for the 4 MiB that the frame header in `HTTP/1.1` announces.
            raise _Failed("malformed")
        for event in connection.receive_data(data):
            if isinstance(event, h2.events.ResponseReceived):
                return _status_of(event)
            if isinstance(event, h2.events.StreamReset | h2.events.ConnectionTerminated):
                raise _Failed("closed")


def _status_of(event: h2.events.ResponseReceived) -> int:
    status = dict(event.headers or ()).get(b":status", b"")
    if not (len(status) == 3 and status.isdigit()):
        raise _Failed("malformed")
    return int(status)


async def _receive(stream: trio.SocketStream) -> bytes:
    data = await stream.receive_some(_READ_BYTES)
    if not data:
        raise _Failed("closed")
    return bytes(data)


def _authority(probe: Probe) -> str:
    address = probe.endpoint.address
    return f"[{address}]:{probe.port}" if ":" in address else f"{address}:{probe.port}"


def _path(probe: Probe) -> str:
    # Whatever a source put there, it stays one line of ASCII.
    return urllib.parse.quote(probe.check.http_path, safe="/?&=%:@!$'()*+,;~-._")
