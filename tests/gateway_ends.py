"""Both ends of what a worker drives, in one process: identities from real authorities, a running reactor, a mesh port.

Everything is on loopback and port 0.
"""

from __future__ import annotations

import random
import socket
import ssl
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from datetime import UTC, datetime
from pathlib import Path

import trio
import trio.testing

from gateway.codec.choose import mesh_codec
from gateway.codec.events import RequestHead, ResponseHead
from gateway.snapshot import GatewayAddress, PeerResource
from gateway.transport.dial import handshake
from gateway.transport.reactor import Reactor
from gateway.transport.server_connection import RequestHandler, ServerConnection
from gateway.tunnel.identity import Identity, Proof
from gateway.worker.acceptor import Acceptor
from trust.authority import Authority
from trust.errors import TrustError

DEADLINE_S = 30.0
"""How long a test waits for what must happen before it fails."""

Begin = Callable[[ServerConnection, int, RequestHead, bool], RequestHandler | None]


def wall_clock() -> datetime:
    return datetime.now(UTC)


def make_authority(directory: Path, cluster: str) -> Authority:
    return Authority.load_or_create(directory / cluster, f"{cluster}.test", wall_clock())


def make_identity(authority: Authority, *peers: PeerResource, lifetime_s: float = 3600.0) -> Identity:
    """A worker's identity with an SVID from `authority`, which believes `peers`."""
    identity = Identity()
    csr = identity.signing_request()
    identity.take_certificate(authority.issue_gateway(csr, now=wall_clock(), lifetime_s=lifetime_s))
    for peer in peers:
        identity.set_peer(peer)
    return identity


def peer_of(authority: Authority, *addresses: str, gateway: str = "g1") -> PeerResource:
    """A cluster as its peers see it: one gateway, with alternative addresses."""
    cluster = authority.trust_domain.removesuffix(".test")
    gateways = (GatewayAddress(gateway, addresses),) if addresses else ()
    return PeerResource(cluster, authority.trust_domain, (authority.root_der,), gateways)


@asynccontextmanager
async def running_reactor() -> AsyncIterator[tuple[Reactor, trio.Nursery]]:
    reactor = Reactor()
    async with trio.open_nursery() as nursery:
        nursery.start_soon(reactor.run)
        nursery.start_soon(reactor.keep_time)
        await trio.testing.wait_all_tasks_blocked()
        with trio.fail_after(DEADLINE_S):
            yield reactor, nursery
        nursery.cancel_scope.cancel()


@asynccontextmanager
async def deaf_address() -> AsyncIterator[str]:
    """Where connections are neither accepted nor refused: a listener whose queue is full."""
    with socket.create_server(("127.0.0.1", 0), backlog=0) as listener, socket.socket() as first:
        first.connect(listener.getsockname())
        yield f"127.0.0.1:{listener.getsockname()[1]}"


async def wait_until(condition: Callable[[], object]) -> None:
    """Waits for what other tasks or the kernel do soon. The surrounding deadline ends it when they do not."""
    while not condition():
        await trio.sleep(0.002)


def answer_ok(conn: ServerConnection, stream_id: int, head: RequestHead, end_stream: bool) -> None:
    conn.codec.send_response(stream_id, ResponseHead(200, [(b"content-length", b"0")]), True)
    conn.touch()


async def shake_hands(sock: socket.socket, context: ssl.SSLContext, *, server: bool) -> ssl.SSLSocket:
    """A TLS connection of the standard library's own, for the side that is not ours."""
    tls = context.wrap_socket(sock, server_side=server, do_handshake_on_connect=False)
    while True:
        try:
            tls.do_handshake()
            return tls
        except ssl.SSLWantReadError:
            await trio.lowlevel.wait_readable(tls)
        except OSError:
            tls.close()
            raise


class MeshPort:
    """A peer gateway's mesh listener, as a worker has it, without the worker."""

    def __init__(self, identity: Identity, reactor: Reactor, nursery: trio.Nursery, begin: Begin = answer_ok) -> None:
        self.connections: list[ServerConnection] = []
        self.refusals: list[str] = []
        self.shaken_hands = 0
        self._closed = False
        self._identity = identity
        self._reactor = reactor
        self._nursery = nursery
        self._begin = begin
        self._listener = socket.create_server(("127.0.0.1", 0))
        self.address = f"127.0.0.1:{self._listener.getsockname()[1]}"
        self._acceptor = Acceptor(reactor)
        self._acceptor.add(self._listener, lambda sock, client: nursery.start_soon(self._serve, sock))

    async def _serve(self, sock: socket.SocketType) -> None:
        try:
            tls = await handshake(sock, self._identity.server_context(), server=True)
        except OSError as error:
            self.refusals.append(str(error))
            return
        try:
            if self._closed:
                raise OSError("the port is closed")
            self._prove(tls)
        except (TrustError, OSError) as error:
            self.refusals.append(str(error))
            tls.close()
            return
        self.shaken_hands += 1
        conn = ServerConnection(self._reactor, tls, mesh_codec("auto", client=False), self._begin)
        self.connections.append(conn)
        conn.on_end = lambda: self.connections.remove(conn)
        conn.start()
        self._reactor.flush()

    def freeze(self) -> list[ServerConnection]:
        """From now on it reads nothing and accepts nobody, and closes no connection: whoever calls it closes these
        ones' sockets in the end."""
        self._acceptor.remove(self._listener)
        for conn in self.connections:
            self._reactor.unregister(conn.sock.fileno())
        return [*self.connections]

    def _prove(self, tls: object) -> Proof:
        return self._identity.prove(tls, wall_clock())  # type: ignore[arg-type]

    def close(self) -> None:
        self._closed = True
        self._acceptor.remove(self._listener)
        close_all(self._reactor, self.connections)


def close_all(reactor: Reactor, connections: list[ServerConnection]) -> None:
    for conn in [*connections]:
        conn.abort()
    reactor.flush()


def seeded() -> random.Random:
    return random.Random(11)


class Backend:
    """A local endpoint that a test speaks for."""

    def __init__(self) -> None:
        self.listener = socket.create_server(("127.0.0.1", 0))
        self.listener.setblocking(False)
        self.address = f"127.0.0.1:{self.listener.getsockname()[1]}"
        self.accepted: list[socket.socket] = []

    async def accept(self) -> socket.socket:
        await trio.lowlevel.wait_readable(self.listener)
        sock, _ = self.listener.accept()
        sock.setblocking(False)
        self.accepted.append(sock)
        return sock

    def close(self) -> None:
        for sock in [self.listener, *self.accepted]:
            sock.close()


async def read(sock: socket.socket) -> bytes:
    """What has come, or the end, as soon as there is either."""
    await trio.lowlevel.wait_readable(sock)
    return sock.recv(65_536)
