"""Connections to local endpoints: pooled for HTTP/1.1, shared for HTTP/2, one each for raw TCP."""

from __future__ import annotations

import socket
from collections import deque
from collections.abc import Callable, Collection
from typing import Final

import trio

from discovery.model import Protocol
from gateway.codec.events import RequestHead
from gateway.codec.interface import Codec
from gateway.endpoint.tls import EndpointContexts
from gateway.failover.retry import Failure
from gateway.request.attempt import Attempt
from gateway.request.service_load import PoolUsage
from gateway.snapshot import UpstreamTls
from gateway.traffic import DEFAULT_TRAFFIC, Limits
from gateway.transport.client_connection import ClientConnection
from gateway.transport.dial import NoAnswerInTime
from gateway.transport.reactor import Reactor
from gateway.transport.reactor_dial import start_dial
from gateway.transport.tls_socket import TlsSocket

CONNECT_TIMEOUT_S: Final = 2.0
# So often is an endpoint dialled that does not accept, while others hear from it: it has more to accept than its queue
# holds, which is no reason to refuse anybody. One that says nothing to anyone is dialled once.
DIALS_LIMIT: Final = 3
# An idle connection is kept this long. Many servers close theirs after 5 to 75 s; ours goes first where it can, since a
# request on a connection that is just being closed costs a retry.
IDLE_S: Final = 30.0
# One that was idle for so long may have been closed by the endpoint in this very moment, so it is looked at before it
# is used: a POST that is lost on it can't be repeated. Where connections are used all the time, nothing is looked at.
FRESH_S: Final = 1.0
# HTTP/2 endpoints: streams on one connection before another is opened beside it.
STREAMS_PER_CONNECTION: Final = 100
# Looked up once: a member of an enumeration is found by its metaclass, in many steps.
_HTTP: Final = Protocol.HTTP
_TCP: Final = Protocol.TCP
# One connection carries many requests at once.
_SHARED: Final = (Protocol.HTTP2, Protocol.GRPC)


class EndpointPool:
    """All connections of this worker to one endpoint for one protocol."""

    def __init__(
        self,
        address: str,
        protocol: Protocol,
        *,
        reactor: Reactor,
        nursery: trio.Nursery,
        make_codec: Callable[[Protocol], Codec],
        tls: UpstreamTls | None = None,
        contexts: EndpointContexts,
    ) -> None:
        self.address = address
        self.protocol = protocol
        self.tls = tls
        self.connections: list[ClientConnection] = []
        self.last_used = reactor.now
        self._idle: list[ClientConnection] = []
        self._waiting: deque[Attempt] = deque()
        self._connecting = 0
        self._dialling = False
        self._connections_limit = DEFAULT_TRAFFIC.limits.connections
        self._shared = protocol in _SHARED
        # For how many that wait one new connection is enough.
        self._shared_by = STREAMS_PER_CONNECTION if self._shared else 1
        self._reactor = reactor
        self._nursery = nursery
        self._make_codec = make_codec
        self._contexts = contexts

    def __repr__(self) -> str:
        return f"<EndpointPool {self.address} {self.protocol}: {len(self.connections)} open, {len(self._idle)} idle>"

    @property
    def in_progress(self) -> int:
        """Requests on their way through this pool."""
        if self._shared:
            return sum(len(conn.handlers) for conn in self.connections) + len(self._waiting)
        return len(self.connections) - len(self._idle) + len(self._waiting)

    @property
    def usage(self) -> PoolUsage:
        pending = sum(not waiting.ended for waiting in self._waiting)
        return PoolUsage(self.address, self.in_progress, len(self.connections) + self._connecting, pending)

    def submit(self, attempt: Attempt, limits: Limits = DEFAULT_TRAFFIC.limits) -> str:
        """Attaches the attempt to a connection, at once where one is free. Returns the name of the limit that forbids
        it to wait for one, else ""."""
        self.last_used = self._reactor.now
        self._connections_limit = limits.connections
        conn = self._free()
        if conn is not None:
            attempt.attached(conn)
            return ""
        if len(self._waiting) >= limits.pending:
            # Those that were given up meanwhile do not wait any more.
            self._waiting = deque(waiting for waiting in self._waiting if not waiting.ended)
            if len(self._waiting) >= limits.pending:
                return "pending"
        self._waiting.append(attempt)
        self._connect_for_waiting()
        return ""

    def _connect_for_waiting(self) -> None:
        if self._dialling:
            # A connection that was there at once: whoever dials goes on.
            return
        self._dialling = True
        while (
            self._connecting * self._shared_by < len(self._waiting)
            and self._connecting + len(self.connections) < self._connections_limit
        ):
            self._connecting += 1
            self._dial(1)
        self._dialling = False

    def _dial(self, number: int) -> None:
        began = self._reactor.now

        def done(result: socket.SocketType | OSError) -> None:
            busy = isinstance(result, NoAnswerInTime) and any(conn.last_active > began for conn in self.connections)
            if busy and number < DIALS_LIMIT:
                self._dial(number + 1)
            else:
                self._dialled(result)

        start_dial(self._reactor, self._nursery, self.address, CONNECT_TIMEOUT_S, done)

    def _free(self) -> ClientConnection | None:
        if self._shared:
            usable = [conn for conn in self.connections if conn.usable]
            conn = min(usable, key=lambda conn: len(conn.handlers), default=None)
            return conn if conn is not None and len(conn.handlers) < STREAMS_PER_CONNECTION else None
        while self._idle:
            conn = self._idle.pop()
            if conn.last_active + FRESH_S < self._reactor.now:
                conn.look()
            if conn.usable:
                return conn
        return None

    def _dialled(self, result: socket.SocketType | OSError) -> None:
        if isinstance(result, NoAnswerInTime):
            self._connect_failed(f"{self.address} did not accept a connection within {CONNECT_TIMEOUT_S:g} s")
        elif isinstance(result, OSError):
            self._connect_failed(str(result))
        elif self.tls is None:
            self._take(result)
        else:
            self._nursery.start_soon(self._secure, result, self.tls)

    async def _secure(self, sock: socket.SocketType, tls: UpstreamTls) -> None:
        try:
            secured = await self._contexts.secure(sock, self.address, self.protocol, tls)
        except OSError as error:
            self._connect_failed(str(error))
        else:
            self._take(secured)
        self._reactor.flush()

    def _take(self, sock: socket.SocketType | TlsSocket) -> None:
        self._connecting -= 1
        conn = ClientConnection(self._reactor, sock, self._make_codec(self.protocol), released=self._released)
        conn.on_end = lambda: self._ended(conn)
        self.connections.append(conn)
        try:
            self._released(conn)
        except Exception:
            self._reactor.unforeseen(conn)
        if not conn.closed:
            conn.start()
        self._connect_for_waiting()

    def _connect_failed(self, detail: str) -> None:
        """Those fail for whom no other connection is under way."""
        self._connecting -= 1
        while len(self._waiting) > self._connecting * self._shared_by:
            attempt = self._waiting.popleft()
            if not attempt.ended:
                attempt.failed(Failure.CONNECT, detail)

    def _released(self, conn: ClientConnection) -> None:
        """A connection is free: whoever waits gets it."""
        while self._waiting and conn.usable:
            attempt = self._waiting.popleft()
            if not attempt.ended:
                attempt.attached(conn)
        if conn.handlers or conn.closed:
            return
        if self.protocol is _HTTP:
            # Whether it can carry another request is looked at when there is one.
            self._idle.append(conn)
        elif self.protocol is _TCP and conn.usable:
            # Whoever it was opened for is gone. It is not kept: the endpoint may have spoken already, or hung up.
            conn.abort()

    def _ended(self, conn: ClientConnection) -> None:
        self.connections.remove(conn)
        if conn in self._idle:
            self._idle.remove(conn)
        # There may be room for a new one now.
        self._connect_for_waiting()

    def close_idle(self, now: float) -> None:
        """Closes what was not used for a while."""
        for conn in [*self.connections]:
            if not conn.handlers and now - conn.last_active > IDLE_S:
                conn.abort()


class EndpointPools:
    """The pools of a worker, made when first needed and forgotten when long unused.

    Args:
        contexts: for endpoints that speak TLS.
    """

    def __init__(
        self,
        reactor: Reactor,
        nursery: trio.Nursery,
        make_codec: Callable[[Protocol], Codec],
        contexts: EndpointContexts | None = None,
    ) -> None:
        self._pools: dict[tuple[str, Protocol, UpstreamTls | None], EndpointPool] = {}
        self._reactor = reactor
        self._nursery = nursery
        self._make_codec = make_codec
        self._contexts = contexts or EndpointContexts(lambda: None)

    def get(self, address: str, protocol: Protocol, tls: UpstreamTls | None = None) -> EndpointPool:
        """What is spoken in TLS and what is not never share a connection, nor do those that believe others."""
        pool = self._pools.get((address, protocol, tls))
        if pool is None:
            pool = self._pools[address, protocol, tls] = EndpointPool(
                address,
                protocol,
                reactor=self._reactor,
                nursery=self._nursery,
                make_codec=self._make_codec,
                tls=tls,
                contexts=self._contexts,
            )
        return pool

    def load(self, address: str, protocol: Protocol, tls: UpstreamTls | None = None) -> int:
        pool = self._pools.get((address, protocol, tls))
        return pool.in_progress if pool is not None else 0

    def usage(self, addresses: Collection[str]) -> list[PoolUsage]:
        """Of those that there are connections to: several for an endpoint that is spoken to in several protocols."""
        return [pool.usage for (address, _, _), pool in self._pools.items() if address in addresses]

    def sweep(self, now: float) -> None:
        for key, pool in [*self._pools.items()]:
            pool.close_idle(now)
            if not pool.connections and not pool.in_progress and now - pool.last_used > IDLE_S:
                del self._pools[key]


def endpoint_protocol(service_protocol: Protocol, head: RequestHead) -> Protocol:
    """How an endpoint is spoken to for this request: a plain CONNECT is raw TCP, whatever the port is called."""
    if head.method == b"CONNECT" and not head.protocol:
        return _TCP
    return service_protocol
