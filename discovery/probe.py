"""Makes one health check: connects, and where asked, speaks HTTP or the gRPC health protocol on the connection."""

from __future__ import annotations

import socket
from collections.abc import Awaitable, Callable
from typing import TypeAlias

import h2.exceptions
import httptools
import trio

from discovery.health_state import Probe
from discovery.model import Protocol
from discovery.probe_grpc import ask_grpc
from discovery.probe_http import ask_http1, ask_http2
from discovery.probe_stream import CheckFailed

Connect: TypeAlias = Callable[[Probe], Awaitable[trio.abc.Stream]]
"""Opens a connection to `probe.endpoint.address` at `probe.port`; OSError if it can't."""


async def connect_plain(probe: Probe) -> trio.abc.Stream:
    """TCP without TLS."""
    return await trio.open_tcp_stream(probe.endpoint.address, probe.port)


async def make_probe(probe: Probe, connect: Connect = connect_plain) -> str | None:
    """Checks an endpoint within `probe.check.timeout_s`.

    Returns None for success, else the reason: `timeout`, `refused`, `unreachable`, `unresolvable`, `closed` (no whole
    answer), `malformed` (another protocol), `http-<status>` for a status that is not among the expected ones,
    `not-serving` for an answer of the gRPC health protocol, `grpc-<code>` for a call of it that failed.
    """
    with trio.move_on_after(probe.check.timeout_s):
        try:
            return await _probe(probe, connect)
        except CheckFailed as failed:
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


async def _probe(probe: Probe, connect: Connect) -> str | None:
    stream = await connect(probe)
    try:
        return await _ask(stream, probe)
    finally:
        await trio.aclose_forcefully(stream)


async def _ask(stream: trio.abc.Stream, probe: Probe) -> str | None:
    check = probe.check
    if probe.protocol is None:
        return None
    if check.grpc_service is not None:
        return await ask_grpc(stream, _authority(probe), check.grpc_service)
    ask = ask_http2 if probe.protocol is Protocol.HTTP2 else ask_http1
    status = await ask(stream, check.http_host or _authority(probe), check.http_path)
    return None if any(first <= status <= last for first, last in check.http_statuses) else f"http-{status}"


def _authority(probe: Probe) -> str:
    address = probe.endpoint.address
    return f"[{address}]:{probe.port}" if ":" in address else f"{address}:{probe.port}"
