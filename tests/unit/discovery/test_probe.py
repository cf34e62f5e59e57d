"""One check against servers that behave, misbehave, or are not there: real sockets on loopback."""

from __future__ import annotations

from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager

import h2.config
import h2.connection
import h2.events
import msgspec
import pytest
import trio
import trio.testing

from discovery.health_state import Probe
from discovery.model import Endpoint, HealthCheck, Protocol, ServiceName
from discovery.probe import make_probe

HTTP_CHECK = HealthCheck(http_path="/healthz", timeout_s=10.0)
Handler = Callable[[trio.SocketStream], Awaitable[None]]


def probe_of(
    port: int,
    protocol: Protocol | None = Protocol.HTTP,
    *,
    address: str = "127.0.0.1",
    check: HealthCheck = HTTP_CHECK,
) -> Probe:
    return Probe(ServiceName("shop", "payments"), Endpoint(address, {"p": port}), check, port, protocol, 1)


@asynccontextmanager
async def server(handler: Handler, address: str = "127.0.0.1") -> AsyncIterator[int]:
    async with trio.open_nursery() as nursery:
        [listener] = await trio.open_tcp_listeners(0, host=address)

        async def handle(stream: trio.SocketStream) -> None:
            try:
                await handler(stream)
            except (trio.BrokenResourceError, trio.ClosedResourceError):
                pass

        nursery.start_soon(trio.serve_listeners, handle, [listener])
        yield listener.socket.getsockname()[1]
        nursery.cancel_scope.cancel()


def saying(*parts: bytes) -> Handler:
    """A server that reads a request, then sends its parts one by one, and closes."""

    async def handle(stream: trio.SocketStream) -> None:
        await stream.receive_some(4096)
        for part in parts:
            await stream.send_all(part)
            await trio.testing.wait_all_tasks_blocked()

    return handle


@pytest.mark.parametrize(
    ("parts", "expected"),
    [
        ([b"HTTP/1.1 200 OK\r\ncontent-length: 2\r\n\r\nok"], None),
        ([b"HTTP/1.0 204 No Content\r\n\r\n"], None),
        ([b"HTTP/1.1 302 Found\r\nlocation: /\r\n\r\n"], None),
        ([b"HTTP/1.1 100 Continue\r\n\r\n", b"HTTP/1.1 200 OK\r\n\r\n"], None),
        ([b"HTTP/1.1 100 Continue\r\n\r\nHTTP/1.1 503 No\r\ncontent-length: 0\r\n\r\n"], "http-503"),
        ([b"H", b"TTP/1.1 5", b"00 Oh\r", b"\n", b"x: y\r\n\r", b"\n"], "http-500"),
        ([b"HTTP/1.1 404 Not Found\r\n\r\n"], "http-404"),
        ([b"HTTP/1.1 200 OK\r\n"], "closed"),
        ([], "closed"),
        ([b"SSH-2.0-OpenSSH_9.9\r\n"], "malformed"),
        ([b"\x16\x03\x01\x02\x00\x01\x00\x01\xfc\x03\x03"], "malformed"),
        ([b"HTTP/1.1 200 OK\r\n" + b"x: " + b"y" * 200_000], "malformed"),
    ],
)
async def test_what_http_servers_say(parts: list[bytes], expected: str | None) -> None:
    """200 to 399 is healthy; everything else is told apart by a bounded reason."""
    async with server(saying(*parts)) as port:
        assert await make_probe(probe_of(port)) == expected


async def test_the_request_is_one_that_any_server_understands() -> None:
    """HTTP/1.1 needs a host (RFC 9112 section 3.2), and a path from a source must not smuggle lines in."""
    received: list[bytes] = []

    async def note(stream: trio.SocketStream) -> None:
        received.append(bytes(await stream.receive_some(4096)))
        await stream.send_all(b"HTTP/1.1 200 OK\r\n\r\n")

    strange = HealthCheck(http_path="/health z\r\nx-evil: 1?a=b&c=%20é", timeout_s=10.0)
    async with server(note) as port:
        assert await make_probe(probe_of(port, check=strange)) is None
    head, *fields = received[0].decode().split("\r\n")
    assert head == "GET /health%20z%0D%0Ax-evil:%201?a=b&c=%20%C3%A9 HTTP/1.1"
    assert f"Host: 127.0.0.1:{port}" in fields
    assert "Connection: close" in fields


async def test_a_silent_server_times_out(autojump_clock: trio.testing.MockClock) -> None:
    """Connecting works, an answer never comes: the timeout holds for the whole check."""
    ours, _theirs = trio.testing.memory_stream_pair()

    async def connect(probe: Probe) -> trio.abc.Stream:
        await trio.sleep(2)
        return ours

    began = trio.current_time()
    check = HealthCheck(http_path="/", timeout_s=5.0)
    assert await make_probe(probe_of(1, check=check), connect) == "timeout"
    assert trio.current_time() - began == pytest.approx(5.0)


async def test_nobody_listens() -> None:
    """A closed port, with and without HTTP, and a name that does not exist."""
    async with server(saying()) as port:
        pass
    assert await make_probe(probe_of(port)) == "refused"
    assert await make_probe(probe_of(port, None)) == "refused"
    assert await make_probe(probe_of(port, address="no such name")) == "unresolvable"


@pytest.mark.parametrize("address", ["127.0.0.1", "::1"])
async def test_a_connection_is_enough_without_a_path(address: str) -> None:
    """A TCP check sends nothing: the server's protocol is not ours to guess."""
    received: list[bytes] = []

    async def note(stream: trio.SocketStream) -> None:
        received.append(bytes(await stream.receive_some(4096)))

    async with server(note, address) as port:
        assert await make_probe(probe_of(port, None, address=address)) is None
        with trio.fail_after(10):
            while not received:
                await trio.lowlevel.checkpoint()
    assert received == [b""]


async def test_the_host_and_the_statuses_that_count_are_configured() -> None:
    """Virtual hosts answer by name, and some servers say 401 when all is well."""
    received: list[bytes] = []

    async def note(stream: trio.SocketStream) -> None:
        received.append(bytes(await stream.receive_some(4096)))
        await stream.send_all(b"HTTP/1.1 401 Unauthorized\r\n\r\n")

    check = HealthCheck(http_path="/", timeout_s=10.0, http_host="shop.example")
    async with server(note) as port:
        assert await make_probe(probe_of(port, check=check)) == "http-401"
        picky = msgspec.structs.replace(check, http_statuses=((200, 204), (401, 401)))
        assert await make_probe(probe_of(port, check=picky)) is None
    assert all(b"\r\nHost: shop.example\r\n" in request for request in received)


def http2(status: str | None) -> Handler:
    """A small HTTP/2 server; None resets the stream."""

    async def handle(stream: trio.SocketStream) -> None:
        connection = h2.connection.H2Connection(h2.config.H2Configuration(client_side=False))
        connection.initiate_connection()
        while True:
            await stream.send_all(connection.data_to_send())
            data = await stream.receive_some(4096)
            if not data:
                return
            for event in connection.receive_data(data):
                if not isinstance(event, h2.events.RequestReceived):
                    continue
                assert dict(event.headers)[b":path"] == b"/healthz"
                if status is None:
                    connection.reset_stream(1)
                else:
                    connection.send_headers(1, [(":status", status)], end_stream=True)

    return handle


@pytest.mark.parametrize(("status", "expected"), [("200", None), ("503", "http-503"), (None, "closed")])
async def test_http2_endpoints_are_asked_in_http2(status: str | None, expected: str | None) -> None:
    """An endpoint that speaks HTTP/2 only would refuse HTTP/1.1, and never be healthy."""
    async with server(http2(status)) as port:
        assert await make_probe(probe_of(port, Protocol.HTTP2)) == expected


async def test_http1_where_http2_was_expected() -> None:
    """A wrong protocol in the configuration is named, not raised."""
    async with server(saying(b"HTTP/1.1 400 Bad Request\r\n\r\n")) as port:
        assert await make_probe(probe_of(port, Protocol.HTTP2)) == "malformed"
