"""Connections to local endpoints: kept, shared, waited for, given up."""

from __future__ import annotations

import socket
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

import pytest
import trio

from discovery.model import Protocol
from gateway.codec.choose import endpoint_codec, mesh_codec
from gateway.codec.events import Header, RequestHead, ResponseHead
from gateway.endpoint import endpoints as endpoints_module
from gateway.endpoint.endpoints import (
    FRESH_S,
    IDLE_S,
    STREAMS_PER_CONNECTION,
    EndpointPool,
    EndpointPools,
    endpoint_protocol,
)
from gateway.failover.retry import Failure
from gateway.request.attempt import Attempt
from gateway.traffic import Limits
from gateway.transport.client_connection import ClientConnection, ResponseHandler
from gateway.transport.reactor import Reactor
from gateway.transport.reactor_dial import Done, start_dial
from gateway.transport.server_connection import RequestHandler, ServerConnection
from tests.gateway_ends import deaf_address, running_reactor, seeded, wait_until
from tests.ports import refusing_address

pytestmark = pytest.mark.stand_in  # `Try` is no `Attempt`.

GET = RequestHead(b"GET", b"http", b"payments", b"/", [])
OK = b"HTTP/1.1 200 OK\r\ncontent-length: 0\r\n\r\n"


class Try(ResponseHandler):
    """An attempt, as far as a pool looks at it. It sends a GET and lets the connection go when the answer is there."""

    def __init__(self) -> None:
        self.ended = False
        self.conn: ClientConnection | None = None
        self.stream_id = 0
        self.status = 0
        self.lost: bool | None = None
        self.failure: Failure | None = None
        self.detail = ""

    def attached(self, conn: ClientConnection) -> None:
        self.conn = conn
        self.stream_id = conn.open(GET, True, self)

    def failed(self, failure: Failure, detail: str) -> None:
        self.ended, self.failure, self.detail = True, failure, detail

    def on_informational(self, head: ResponseHead) -> None: ...

    def on_response(self, head: ResponseHead, end_stream: bool) -> None:
        self.status, self.ended = head.status, True
        assert self.conn is not None
        self.conn.release(self.stream_id)

    def on_response_data(self, data: bytes, end_stream: bool) -> None: ...
    def on_stall(self, *, mute: bool) -> None: ...
    def on_response_trailers(self, headers: list[Header]) -> None: ...

    def on_response_reset(self, code: int, *, unprocessed: bool, lost: bool) -> None:
        self.lost, self.ended = lost, True


class Endpoint:
    """A server whose accepted sockets a test speaks for."""

    def __init__(self) -> None:
        self.listener = socket.create_server(("127.0.0.1", 0))
        self.address = f"127.0.0.1:{self.listener.getsockname()[1]}"
        self.listener.setblocking(False)

    async def accept(self) -> socket.socket:
        await trio.lowlevel.wait_readable(self.listener)
        sock, _ = self.listener.accept()
        sock.setblocking(False)
        return sock


async def request_on(sock: socket.socket) -> bytes:
    await trio.lowlevel.wait_readable(sock)
    return sock.recv(65_536)


def submit(pool: EndpointPool, reactor: Reactor) -> Try:
    attempt = Try()
    pool.submit(attempt)  # type: ignore[arg-type]
    reactor.flush()
    return attempt


@asynccontextmanager
async def pool_of(protocol: Protocol, address: str = "") -> AsyncIterator[tuple[EndpointPool, Endpoint, Reactor]]:
    endpoint = Endpoint()
    with endpoint.listener:
        async with running_reactor() as (reactor, nursery):
            pools = EndpointPools(reactor, nursery, lambda protocol: endpoint_codec("auto", protocol, seeded()))
            pool = pools.get(address or endpoint.address, protocol)
            try:
                yield pool, endpoint, reactor
            finally:
                for conn in [*pool.connections]:
                    conn.abort()
                reactor.flush()


async def test_a_connection_is_used_again() -> None:
    """The second request costs no handshake."""
    async with pool_of(Protocol.HTTP) as (pool, endpoint, reactor):
        first = submit(pool, reactor)
        assert pool.in_progress == 1
        with await endpoint.accept() as sock:
            assert (await request_on(sock)).startswith(b"GET / HTTP/1.1\r\n")
            sock.send(OK)
            await wait_until(lambda: first.status)
            assert pool.in_progress == 0
            second = submit(pool, reactor)
            assert second.conn is first.conn
            await request_on(sock)
            sock.send(OK)
            await wait_until(lambda: second.status)
            assert len(pool.connections) == 1


async def test_requests_at_once_get_connections_of_their_own() -> None:
    """HTTP/1.1 carries one at a time. All are kept afterwards."""
    async with pool_of(Protocol.HTTP) as (pool, endpoint, reactor):
        attempts = [submit(pool, reactor) for _ in range(3)]
        socks = [await endpoint.accept() for _ in attempts]
        for sock in socks:
            await request_on(sock)
        assert pool.in_progress == 3
        for sock in socks:
            sock.send(OK)
        await wait_until(lambda: all(attempt.status for attempt in attempts))
        assert (pool.in_progress, len(pool.connections)) == (0, 3)
        for sock in socks:
            sock.close()


async def test_a_connection_that_the_server_closed_is_not_used() -> None:
    """A server's own idle timeout is shorter than ours as often as not."""
    async with pool_of(Protocol.HTTP) as (pool, endpoint, reactor):
        first = submit(pool, reactor)
        sock = await endpoint.accept()
        await request_on(sock)
        sock.send(OK)
        await wait_until(lambda: first.status)
        sock.close()
        await wait_until(lambda: not pool.connections)
        second = submit(pool, reactor)
        with await endpoint.accept() as sock:
            await request_on(sock)
            sock.send(OK)
            await wait_until(lambda: second.status)


async def test_a_connection_that_is_closed_as_it_is_used() -> None:
    """The one that loses the race is told that its connection was lost, which says whether it may try again."""
    async with pool_of(Protocol.HTTP) as (pool, endpoint, reactor):
        first = submit(pool, reactor)
        sock = await endpoint.accept()
        await request_on(sock)
        sock.send(OK)
        await wait_until(lambda: first.status)
        second = submit(pool, reactor)
        assert second.conn is first.conn
        sock.close()
        await wait_until(lambda: second.lost)


async def test_one_that_was_idle_is_looked_at_before_it_is_used() -> None:
    """The server's idle timeout ended it after the reactor looked for the last time: a POST would be lost on it."""
    async with pool_of(Protocol.HTTP) as (pool, endpoint, reactor):
        first = submit(pool, reactor)
        sock = await endpoint.accept()
        await request_on(sock)
        sock.send(OK)
        await wait_until(lambda: first.status)
        sock.close()
        (conn,) = pool.connections
        conn.last_active = reactor.now - FRESH_S - 0.1
        second = submit(pool, reactor)
        assert second.conn is not conn
        with await endpoint.accept() as sock:
            await request_on(sock)
            sock.send(OK)
            await wait_until(lambda: second.status)


async def test_one_that_was_idle_and_is_well_is_used_again() -> None:
    """A look changes nothing."""
    async with pool_of(Protocol.HTTP) as (pool, endpoint, reactor):
        first = submit(pool, reactor)
        with await endpoint.accept() as sock:
            await request_on(sock)
            sock.send(OK)
            await wait_until(lambda: first.status)
            (conn,) = pool.connections
            conn.last_active = reactor.now - FRESH_S - 0.1
            second = submit(pool, reactor)
            assert second.conn is conn
            await request_on(sock)
            sock.send(OK)
            await wait_until(lambda: second.status)


async def test_refused() -> None:
    """Nothing was processed, and the address and the reason are there for people."""
    address = refusing_address()
    async with pool_of(Protocol.HTTP, address) as (pool, _, reactor):
        attempts = [submit(pool, reactor) for _ in range(3)]
        await wait_until(lambda: all(attempt.failure for attempt in attempts))
        assert {attempt.failure for attempt in attempts} == {Failure.CONNECT}
        assert address in attempts[0].detail
        assert "refused" in attempts[0].detail
        assert pool.in_progress == 0


@pytest.mark.parametrize("address", ["no port", "x" * 64 + ".test:80", "256.256.256.256:80"])
async def test_an_address_that_is_none(address: str) -> None:
    """It fails the request and nothing else."""
    async with pool_of(Protocol.HTTP, address) as (pool, _, reactor):
        attempt = submit(pool, reactor)
        await wait_until(lambda: attempt.failure)
        assert attempt.failure is Failure.CONNECT


async def test_an_endpoint_that_does_not_answer(monkeypatch: pytest.MonkeyPatch) -> None:
    """Its packets are dropped somewhere: the wait is bounded."""
    monkeypatch.setattr(endpoints_module, "CONNECT_TIMEOUT_S", 0.02)
    async with deaf_address() as address, pool_of(Protocol.HTTP, address) as (pool, _, reactor):
        attempt = submit(pool, reactor)
        await wait_until(lambda: attempt.failure)
        assert attempt.detail == f"{address} did not accept a connection within 0.02 s"


async def test_an_endpoint_that_is_too_busy_to_accept_is_dialled_again(monkeypatch: pytest.MonkeyPatch) -> None:
    """Its queue is full of others while it serves those that it has: a thousand downloads began at once, and none of
    the requests that came with them shall be refused for it."""
    monkeypatch.setattr(endpoints_module, "CONNECT_TIMEOUT_S", 0.3)
    monkeypatch.setattr(endpoints_module, "DIALS_LIMIT", 30)
    with socket.create_server(("127.0.0.1", 0), backlog=0) as listener:
        address = f"127.0.0.1:{listener.getsockname()[1]}"
        async with pool_of(Protocol.HTTP, address) as (pool, _, reactor):
            submit(pool, reactor)
            served, _ = listener.accept()
            with served, socket.socket() as other:
                other.connect(listener.getsockname())
                second = submit(pool, reactor)
                served.send(OK.replace(b"0\r\n", b"1000000\r\n"))

                def still_waiting() -> bool:
                    served.send(b"more")
                    return second.failure is None and second.conn is None

                with trio.move_on_after(0.4):
                    await wait_until(lambda: not still_waiting())
                assert still_waiting()
                accepted, _ = listener.accept()
                with accepted, trio.fail_after(20):
                    await wait_until(lambda: not still_waiting())
        assert second.failure is None


class Gate:
    """Holds dialling back until a test opens it."""

    def __init__(self) -> None:
        self.opened = trio.Event()

    def start_dial(self, reactor: Reactor, nursery: trio.Nursery, address: str, timeout_s: float, done: Done) -> None:
        nursery.start_soon(self._later, reactor, nursery, address, timeout_s, done)

    async def _later(self, reactor: Reactor, nursery: trio.Nursery, address: str, timeout_s: float, done: Done) -> None:
        await self.opened.wait()
        start_dial(reactor, nursery, address, timeout_s, done)
        reactor.flush()


async def test_those_who_wait_are_served_in_order(monkeypatch: pytest.MonkeyPatch) -> None:
    """And a connection that is released meanwhile goes to whoever has waited longest."""
    async with pool_of(Protocol.HTTP) as (pool, endpoint, reactor):
        first = submit(pool, reactor)
        sock = await endpoint.accept()
        await request_on(sock)
        gate = Gate()
        monkeypatch.setattr(endpoints_module, "start_dial", gate.start_dial)
        waiting = [submit(pool, reactor) for _ in range(2)]
        sock.send(OK)
        await wait_until(lambda: first.status)
        assert waiting[0].conn is first.conn
        assert waiting[1].conn is None
        gate.opened.set()
        await wait_until(lambda: waiting[1].conn)
        assert waiting[1].conn is not first.conn
        sock.close()


async def test_one_that_ended_while_it_waited_is_passed_over(monkeypatch: pytest.MonkeyPatch) -> None:
    """Its client went away. What was opened for it serves the next, or is kept."""
    gate = Gate()
    monkeypatch.setattr(endpoints_module, "start_dial", gate.start_dial)
    async with pool_of(Protocol.HTTP) as (pool, endpoint, reactor):
        gone, there = submit(pool, reactor), submit(pool, reactor)
        gone.ended = True
        gate.opened.set()
        socks = [await endpoint.accept() for _ in range(2)]
        await wait_until(lambda: there.conn)
        await wait_until(lambda: len(pool.connections) == 2)
        assert gone.conn is None
        assert pool.in_progress == 1
        for sock in socks:
            sock.close()


async def test_one_that_ended_while_it_waited_takes_no_ones_failure(monkeypatch: pytest.MonkeyPatch) -> None:
    """Two wait, both connections fail: the one that is still there must hear of it."""
    address = refusing_address()
    async with pool_of(Protocol.HTTP, address) as (pool, _, reactor):
        gone, there = submit(pool, reactor), submit(pool, reactor)
        gone.ended = True
        await wait_until(lambda: there.failure)
        assert gone.failure is None


class Http2Endpoint:
    """Serves HTTP/2 on what an endpoint accepts; answers when a test says so."""

    def __init__(self, reactor: Reactor, sock: socket.socket) -> None:
        self.open: list[int] = []
        self.conn = ServerConnection(reactor, sock, mesh_codec("auto", client=False), self._begin)
        self.conn.start()
        self._reactor = reactor
        reactor.flush()

    def _begin(
        self, conn: ServerConnection, stream_id: int, head: RequestHead, end_stream: bool
    ) -> RequestHandler | None:
        self.open.append(stream_id)
        return None

    def answer_all(self) -> None:
        for stream_id in self.open:
            self.conn.codec.send_response(stream_id, ResponseHead(200, []), True)
        self.open.clear()
        self.conn.touch()
        self._reactor.flush()


async def test_http2_requests_share_a_connection() -> None:
    """Up to a number; then another connection is opened beside it."""
    async with pool_of(Protocol.HTTP2) as (pool, endpoint, reactor):
        first = submit(pool, reactor)
        server = Http2Endpoint(reactor, await endpoint.accept())
        await wait_until(lambda: server.open)
        attempts = [first, *(submit(pool, reactor) for _ in range(STREAMS_PER_CONNECTION - 1))]
        await wait_until(lambda: len(server.open) == STREAMS_PER_CONNECTION)
        assert {attempt.conn for attempt in attempts} == {first.conn}
        assert pool.in_progress == STREAMS_PER_CONNECTION
        extra = submit(pool, reactor)
        second = Http2Endpoint(reactor, await endpoint.accept())
        await wait_until(lambda: second.open)
        assert extra.conn is not first.conn
        server.answer_all()
        second.answer_all()
        await wait_until(lambda: all(attempt.status for attempt in [*attempts, extra]))
        assert pool.in_progress == 0
        server.conn.abort()
        second.conn.abort()


async def answered(server: Http2Endpoint, attempt: Try) -> None:
    await wait_until(lambda: server.open)
    server.answer_all()
    await wait_until(lambda: attempt.status)


async def test_a_burst_on_http2_opens_one_connection(monkeypatch: pytest.MonkeyPatch) -> None:
    """All of a cold start's requests wait for the same; and if it cannot be had, all of them hear of it."""
    gate = Gate()
    monkeypatch.setattr(endpoints_module, "start_dial", gate.start_dial)
    async with pool_of(Protocol.GRPC) as (pool, endpoint, reactor):
        attempts = [submit(pool, reactor) for _ in range(STREAMS_PER_CONNECTION)]
        gate.opened.set()
        server = Http2Endpoint(reactor, await endpoint.accept())
        await wait_until(lambda: len(server.open) == STREAMS_PER_CONNECTION)
        assert {attempt.conn for attempt in attempts} == set(pool.connections)
        assert len(pool.connections) == 1
        server.conn.abort()
    address = refusing_address()
    async with pool_of(Protocol.GRPC, address) as (pool, _, reactor):
        attempts = [submit(pool, reactor) for _ in range(STREAMS_PER_CONNECTION + 1)]
        await wait_until(lambda: all(attempt.failure for attempt in attempts))
        assert pool.in_progress == 0


async def test_a_pool_keeps_nothing_of_requests_that_are_over() -> None:
    """One connection carries them one after the other for days."""
    async with pool_of(Protocol.HTTP2) as (pool, endpoint, reactor):
        first = submit(pool, reactor)
        server = Http2Endpoint(reactor, await endpoint.accept())
        await answered(server, first)
        for _ in range(20):
            await answered(server, submit(pool, reactor))
        held = sum(len(value) for value in vars(pool).values() if isinstance(value, list))
        assert held == 1, "the connection itself"
        server.conn.abort()


async def test_a_raw_connection_is_never_kept(monkeypatch: pytest.MonkeyPatch) -> None:
    """The endpoint may have greeted or hung up by the time when the next client comes."""
    gate = Gate()
    monkeypatch.setattr(endpoints_module, "start_dial", gate.start_dial)
    async with pool_of(Protocol.TCP) as (pool, endpoint, reactor):
        gone = submit(pool, reactor)
        gone.ended = True
        gate.opened.set()
        with await endpoint.accept() as sock:
            assert await request_on(sock) == b"", "it is closed at once"
        await wait_until(lambda: not pool.connections)
        assert pool.in_progress == 0


async def test_what_is_not_used_is_closed() -> None:
    """Connections after a while, then the pool itself; one that carries a request stays, however long that takes."""
    async with running_reactor() as (reactor, nursery):
        endpoint = Endpoint()
        pools = EndpointPools(reactor, nursery, lambda protocol: endpoint_codec("auto", protocol, seeded()))
        pool = pools.get(endpoint.address, Protocol.HTTP)
        attempt = submit(pool, reactor)
        sock = await endpoint.accept()
        await request_on(sock)
        later = trio.current_time() + IDLE_S + 1
        pools.sweep(later)
        reactor.flush()
        assert len(pool.connections) == 1
        sock.send(OK)
        await wait_until(lambda: attempt.status)
        pools.sweep(trio.current_time())
        reactor.flush()
        assert len(pool.connections) == 1
        pools.sweep(later)
        reactor.flush()
        assert pool.connections == []
        assert await request_on(sock) == b""
        assert pools.get(endpoint.address, Protocol.HTTP) is pool
        pools.sweep(later)
        assert pools.get(endpoint.address, Protocol.HTTP) is not pool
        assert pools.load(endpoint.address, Protocol.HTTP) == 0
        assert pools.load("192.0.2.1:1", Protocol.HTTP) == 0
        sock.close()
        endpoint.listener.close()


async def test_a_defect_in_attaching_costs_one_connection(caplog: pytest.LogCaptureFixture) -> None:
    """It must not end the worker."""

    class Broken(Try):
        def attached(self, conn: ClientConnection) -> None:
            raise RuntimeError("a defect")

    async with pool_of(Protocol.HTTP) as (pool, endpoint, reactor):
        pool.submit(Broken())  # type: ignore[arg-type]
        reactor.flush()
        with await endpoint.accept() as sock:
            assert await request_on(sock) == b""
        await wait_until(lambda: not pool.connections)
        assert reactor.defects == 1
        assert "nobody foresaw" in caplog.text


def test_how_an_endpoint_is_spoken_to() -> None:
    """A CONNECT is raw bytes whatever the port is called; a WebSocket is HTTP."""
    connect = RequestHead(b"CONNECT", b"", b"ledger:7000", b"", [])
    websocket = RequestHead(b"CONNECT", b"http", b"chat", b"/", [], b"websocket")
    assert endpoint_protocol(Protocol.HTTP, connect) is Protocol.TCP
    assert endpoint_protocol(Protocol.HTTP, websocket) is Protocol.HTTP
    assert endpoint_protocol(Protocol.GRPC, GET) is Protocol.GRPC


def test_a_try_is_all_that_a_pool_needs_of_an_attempt() -> None:
    """The stand-in must not drift from what it stands for."""
    assert {"ended", "attached", "failed"} <= set(dir(Attempt))


async def test_no_more_connections_than_allowed() -> None:
    """What comes beyond them waits, and gets one that is free again; or a new one, when one has ended."""
    limits = Limits(connections=1)
    async with pool_of(Protocol.HTTP) as (pool, endpoint, reactor):
        attempts = [Try() for _ in range(3)]
        for attempt in attempts:
            assert pool.submit(attempt, limits) == ""  # type: ignore[arg-type]
        reactor.flush()
        with await endpoint.accept() as sock:
            await request_on(sock)
            sock.send(OK)
            await wait_until(lambda: attempts[0].status)
            await request_on(sock)
            assert len(pool.connections) == 1
        await wait_until(lambda: attempts[1].ended)
        with await endpoint.accept() as sock:
            await request_on(sock)
            sock.send(OK)
            await wait_until(lambda: attempts[2].status)


async def test_no_more_wait_than_allowed(monkeypatch: pytest.MonkeyPatch) -> None:
    """Those that were given up meanwhile do not wait any more, and make room."""
    monkeypatch.setattr(endpoints_module, "start_dial", Gate().start_dial)
    limits = Limits(connections=1, pending=2)
    async with pool_of(Protocol.HTTP) as (pool, _, reactor):
        attempts = [Try() for _ in range(2)]
        for attempt in attempts:
            assert pool.submit(attempt, limits) == ""  # type: ignore[arg-type]
        assert pool.submit(Try(), limits) == "pending"  # type: ignore[arg-type]
        attempts[0].ended = True
        assert pool.submit(Try(), limits) == ""  # type: ignore[arg-type]
        reactor.flush()
