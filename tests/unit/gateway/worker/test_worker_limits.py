"""What a worker does to a client that goes over its limits, with each HTTP/2 engine: the protocol's own refusal, and a
count of it. Real sockets; how each engine sees what comes is in tests/conformance/codec."""

from __future__ import annotations

import socket
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from pathlib import Path

import msgspec
import pytest
import trio
from hyperframe.frame import Frame, GoAwayFrame, HeadersFrame

from gateway.codec.events import ErrorCode
from gateway.codec.headers import HEADER_LIMIT
from gateway.codec.http2.engine import available_engines
from gateway.codec.http2.floods import RESETS, UNSENT_ACKS
from gateway.codec.limits import FLOOD, STREAM_LIMIT, CodecLimits
from gateway.control import Report
from gateway.telemetry import REFUSED
from gateway.transport.dial import dial
from tests.gateway_ends import make_authority, read
from tests.http2_wire import GET, POST, Wire
from tests.worker_rig import LOCAL, Scene, worker_at
from trust.authority import Authority

LIMITS = CodecLimits()


@pytest.fixture(scope="module")
def east(tmp_path_factory: pytest.TempPathFactory) -> Authority:
    return make_authority(tmp_path_factory.mktemp("authority"), "east")


def pings(wire: Wire) -> bytes:
    return wire.ping() * (UNSENT_ACKS + 10)


def settings(wire: Wire) -> bytes:
    return wire.settings({}) * (UNSENT_ACKS + 10)


def rapid_resets(wire: Wire) -> bytes:
    """CVE-2023-44487."""
    return b"".join(wire.headers(2 * i + 1, GET) + wire.rst(2 * i + 1, 8) for i in range(RESETS + 600))


def continuations(wire: Wire) -> bytes:
    """CVE-2024-27316."""
    return wire.headers(1, [*GET, (b"x", b"y" * 1_000)], pieces=40)


def hpack_bomb(wire: Wire) -> bytes:
    """A field of 4 KiB that is put into the table once and named again by a byte each."""
    return wire.headers(1, [*GET, *[(b"x", b"y" * 3_800)] * 1_000], pieces=2)


FLOODS: list[Callable[[Wire], bytes]] = [pings, settings, rapid_resets, continuations, hpack_bomb]


@asynccontextmanager
async def client_of(scene: Scene, engine: str) -> AsyncIterator[socket.socket]:
    """A connection to the worker's local listener."""
    await scene.boss.say(msgspec.structs.replace(LOCAL, http2_codec=engine))
    address = await scene.boss.listen("http", "http")
    with await dial(address) as client:
        yield client


async def pour(sock: socket.socket, data: bytes) -> None:
    """Sends all of it, unless the other side has had enough."""
    left = memoryview(data)
    try:
        while left:
            await trio.lowlevel.wait_writable(sock)
            left = left[sock.send(left) :]
    except ConnectionError:
        pass


async def everything(sock: socket.socket) -> bytes:
    """What comes until the other side has nothing more to say."""
    heard = b""
    try:
        while chunk := await read(sock):
            heard += chunk
    except ConnectionError:
        pass
    return heard


async def counted(scene: Scene, reason: str) -> None:
    """Waits until one refusal was counted, for this reason."""

    def seen(report: Report) -> bool:
        return report.counters[REFUSED.name] == {f"http|{reason}": 1.0} and f"http: {reason}" in report.refusals

    await scene.boss.last_report(seen)


@pytest.mark.parametrize("engine", available_engines())
@pytest.mark.parametrize("flood", FLOODS, ids=lambda flood: flood.__name__)
async def test_a_flood_is_refused_and_counted(
    tmp_path: Path, east: Authority, flood: Callable[[Wire], bytes], engine: str
) -> None:
    """GOAWAY (RFC 9113 section 6.8) is the last that its sender hears; libnghttp2 sees resets as an error
    of its peer's, which it calls INTERNAL_ERROR."""
    wire = Wire()
    async with worker_at(tmp_path, east) as scene, client_of(scene, engine) as flooder:
        await pour(flooder, wire.hello(client=True) + flood(wire))
        last = wire.read(await everything(flooder))[-1]
        assert isinstance(last, GoAwayFrame)
        assert last.error_code in (ErrorCode.ENHANCE_YOUR_CALM, ErrorCode.PROTOCOL_ERROR, ErrorCode.INTERNAL_ERROR)
        await counted(scene, FLOOD)


@pytest.mark.parametrize("engine", available_engines())
async def test_fields_above_the_limit_are_answered_and_counted(tmp_path: Path, east: Authority, engine: str) -> None:
    """431 on the one stream, as the others of its connection have done nothing: they go on."""
    wire = Wire()
    async with worker_at(tmp_path, east) as scene, client_of(scene, engine) as client:
        large = [*GET, (b"x", b"y" * LIMITS.header_bytes)]
        client.send(wire.hello(client=True) + wire.headers(1, large, end_stream=True, pieces=5))
        said = await said_until(client, wire, HeadersFrame)
        assert (b":status", b"431") in said.fields  # type: ignore[attr-defined]
        await counted(scene, HEADER_LIMIT)
        client.send(wire.headers(3, GET, end_stream=True))
        said = await said_until(client, wire, HeadersFrame)
        assert (b":status", b"404") in said.fields  # type: ignore[attr-defined]


@pytest.mark.parametrize("engine", available_engines())
async def test_streams_above_the_limit_are_refused_and_counted(tmp_path: Path, east: Authority, engine: str) -> None:
    """A client that knows how many we take and opens more breaks the protocol (RFC 9113 section 5.1.2)."""
    wire = Wire()
    streams = [wire.headers(2 * i + 1, POST) for i in range(LIMITS.concurrent_streams + 1)]
    async with worker_at(tmp_path, east) as scene, client_of(scene, engine) as client:
        client.send(wire.hello(client=True))
        await read(client)
        client.send(wire.settings_ack() + b"".join(streams))
        said = await said_until(client, wire, GoAwayFrame)
        assert said.error_code == ErrorCode.PROTOCOL_ERROR  # type: ignore[attr-defined]
        assert said.last_stream_id == 2 * LIMITS.concurrent_streams - 1  # type: ignore[attr-defined]
        await counted(scene, STREAM_LIMIT)


async def said_until(sock: socket.socket, wire: Wire, kind: type[Frame]) -> Frame:
    """The first frame of a kind."""
    heard = b""
    while True:
        chunk = await read(sock)
        assert chunk, "the connection ended before"
        heard += chunk
        for frame in whole_frames(wire, heard):
            if isinstance(frame, kind):
                return frame


def whole_frames(wire: Wire, data: bytes) -> list[Frame]:
    """The frames that have come in full."""
    end = 0
    while len(data) >= end + 9 and len(data) >= (after := end + 9 + int.from_bytes(data[end : end + 3], "big")):
        end = after
    return wire.read(data[:end])
