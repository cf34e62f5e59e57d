"""One worker in this process, with what is around it: its controller, local clients, a peer's gateway."""

from __future__ import annotations

import logging
import os
import socket
import ssl
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from pathlib import Path

import msgspec
import trio
import trio.testing

from discovery.model import Endpoint, Locality, Port, Protocol, ServiceName
from gateway.codec.choose import mesh_codec
from gateway.codec.events import Header, RequestHead, ResponseHead
from gateway.control import (
    Certificate,
    ControlChannel,
    Explained,
    Hello,
    Listen,
    ListenerSpec,
    Message,
    Report,
    SigningRequest,
)
from gateway.process.state_dir import listen_control
from gateway.snapshot import (
    LocalEndpoint,
    LocalResource,
    Resource,
    ServiceResource,
    Update,
)
from gateway.telemetry import EXPIRED
from gateway.transport.client_connection import ClientConnection, ResponseHandler
from gateway.transport.dial import dial, handshake
from gateway.transport.reactor import Reactor
from gateway.transport.tls_socket import TlsSocket
from gateway.tunnel.identity import Identity
from gateway.worker.worker import Worker
from tests.gateway_ends import (
    DEADLINE_S,
    make_identity,
    peer_of,
    shake_hands,
    wait_until,
    wall_clock,
)
from trust.authority import Authority

LOCAL = LocalResource("acme", "east", Locality(), "east.test")
NAME = ServiceName("shop", "payments")
HOST = b"payments.shop.svc.clusterset.local"
GET = b"GET / HTTP/1.1\r\nhost: %b\r\n\r\n" % HOST


def service(
    address: str, *, vip: str = "", protocol: Protocol = Protocol.HTTP, consumers: tuple[str, ...] = ("*",)
) -> ServiceResource:
    host, _, port = address.rpartition(":")
    endpoint = LocalEndpoint(Endpoint(host, {"http": int(port)}), healthy=True)
    return ServiceResource(NAME, vip, (Port("http", 80, protocol),), (endpoint,), consumers)


class Boss:
    """The controller's side: it welcomes the worker, certifies it, and keeps its last report."""

    def __init__(self, state_dir: Path, authority: Authority, nursery: trio.Nursery) -> None:
        self.authority = authority
        self.reports: list[Report] = []
        self.hellos: list[Hello] = []
        self.explained: list[Explained] = []
        self.brought: list[ListenerSpec] = []
        self.requests = 0
        self.certify = True
        self.channel: ControlChannel
        self._channels: list[ControlChannel] = []
        self._server = listen_control(state_dir)
        self._nursery = nursery
        self._sockets: list[socket.socket] = []

    async def welcome(self) -> None:
        sock, _ = await self._server.accept()
        self.channel = ControlChannel(sock)
        self._channels.append(self.channel)
        self._nursery.start_soon(self._hear, self.channel)

    async def _hear(self, channel: ControlChannel) -> None:
        try:
            while True:
                message, descriptors = await channel.receive()
                for descriptor in descriptors:
                    os.close(descriptor)
                await self._take(message)
        except Exception:
            logging.getLogger("test").debug("the worker's channel ended")

    async def _take(self, message: Message) -> None:
        if isinstance(message, Report):
            self.reports.append(message)
        elif isinstance(message, Hello):
            self.hellos.append(message)
        elif isinstance(message, Explained):
            self.explained.append(message)
        elif isinstance(message, Listen):
            self.brought += message.listeners
        elif isinstance(message, SigningRequest):
            self.requests += 1
            if self.certify:
                chain = self.authority.issue_gateway(message.csr, now=wall_clock(), lifetime_s=600.0)
                await self.channel.send(Certificate(chain))

    async def say(self, *resources: Resource, removals: tuple[str, ...] = (), reset: bool = False) -> None:
        await self.channel.send(Update([*resources], [*removals], reset))

    async def listen(self, name: str, kind: str, *, service: str = "", port: str = "") -> str:
        """Opens a socket for the worker. Returns its address."""
        sock = socket.socket(type=socket.SOCK_DGRAM if kind == "dns-udp" else socket.SOCK_STREAM)
        sock.bind(("127.0.0.1", 0))
        if kind != "dns-udp":
            sock.listen()
        sock.setblocking(False)
        self._sockets.append(sock)
        address = f"127.0.0.1:{sock.getsockname()[1]}"
        await self.channel.send(Listen([ListenerSpec(name, kind, address, service, port)]), [sock.fileno()])
        return address

    async def last_report(self, condition: Callable[[Report], object] = lambda report: True) -> Report:
        await wait_until(lambda: self.reports and condition(self.reports[-1]))
        return self.reports[-1]

    def leave(self) -> None:
        """As a controller that is killed: its sockets are closed, and those it gave to workers live on there."""
        self.channel.close()

    def close(self) -> None:
        self._server.close()
        for channel in self._channels:
            channel.close()
        for sock in self._sockets:
            sock.close()


class Scene:
    def __init__(self, boss: Boss, worker: Worker, nursery: trio.Nursery) -> None:
        self.boss = boss
        self.worker = worker
        self.nursery = nursery
        self.ended = trio.Event()
        self._settled = 10

    async def ready(self) -> None:
        await self.boss.last_report(lambda report: report.ready)

    async def settled(self, **settings: int) -> None:
        """Everything that was said so far is done: an order more is, and nobody has anything left to do."""
        self._settled += 1
        last = msgspec.structs.replace(LOCAL, dns_ttl_s=float(self._settled), **settings)
        await self.boss.say(last)
        await wait_until(lambda: self.worker._routes.local == last)
        await trio.testing.wait_all_tasks_blocked()


@asynccontextmanager
async def worker_at(state_dir: Path, authority: Authority, *, certify: bool = True) -> AsyncIterator[Scene]:
    async with trio.open_nursery() as nursery:
        boss = Boss(state_dir, authority, nursery)
        boss.certify = certify
        scene: Scene

        async def run() -> None:
            async with trio.open_nursery() as inner:
                reactor = Reactor()
                inner.start_soon(reactor.run)
                inner.start_soon(reactor.keep_time)
                scene.worker = Worker(state_dir, "w1-0", inner, reactor)
                await scene.worker.run()
            scene.ended.set()

        scene = Scene(boss, None, nursery)  # type: ignore[arg-type]
        nursery.start_soon(run)
        with trio.fail_after(DEADLINE_S):
            await boss.welcome()
            await boss.say(LOCAL, reset=True)
            try:
                yield scene
            finally:
                shut(scene.worker)
        nursery.cancel_scope.cancel()
    boss.close()


def shut(worker: Worker) -> None:
    """Closes what a process closes by ending."""
    for name in [*worker._reception.listeners]:
        worker._reception.unlisten(name)
    for peer in [*worker._routes.peers]:
        worker._tunnels.remove_peer(peer)
    for conn in [*worker._clientele.served]:
        conn.abort()
    for pool in worker._pools._pools.values():
        for upstream in [*pool.connections]:
            upstream.abort()
    worker._reactor.flush()


OK = b"HTTP/1.1 200 OK\r\ncontent-length: 0\r\n\r\n"


async def mesh_client(address: str, identity: Identity, cluster: str = "east") -> ssl.SSLSocket:
    return await shake_hands(await dial(address), identity.client_context(cluster), server=False)


class Answer(ResponseHandler):
    def __init__(self) -> None:
        self.status = 0
        self.ended = False
        self.lost: bool | None = None
        self.said = b""

    def on_informational(self, head: ResponseHead) -> None: ...

    def on_response(self, head: ResponseHead, end_stream: bool) -> None:
        self.status, self.ended = head.status, end_stream

    def on_response_data(self, data: bytes, end_stream: bool) -> None:
        self.said += data
        self.ended = end_stream

    def on_stall(self, *, mute: bool) -> None: ...

    def on_response_trailers(self, headers: list[Header]) -> None: ...

    def on_response_reset(self, code: int, *, unprocessed: bool, lost: bool) -> None:
        self.lost = lost


class WestGateway:
    """A peer's tunnel, on the worker's own reactor."""

    def __init__(self, reactor: Reactor, tls: TlsSocket) -> None:
        self.goaways = 0
        self.conn = ClientConnection(
            reactor, tls, mesh_codec("auto", client=True), going_away=lambda: setattr(self, "goaways", self.goaways + 1)
        )
        self.conn.start()
        self._reactor = reactor
        reactor.flush()

    def ask(self) -> Answer:
        answer = Answer()
        self.conn.open(RequestHead(b"GET", b"http", HOST + b":80", b"/", []), True, answer)
        self._reactor.flush()
        return answer


@asynccontextmanager
async def mesh(scene: Scene, authorities: dict[str, Authority]) -> AsyncIterator[tuple[str, WestGateway]]:
    """The worker believes west, and west has a tunnel to it."""
    await scene.boss.say(peer_of(authorities["west"]))
    address = await scene.boss.listen("mesh", "mesh")
    await scene.ready()
    west = make_identity(authorities["west"], peer_of(authorities["east"]))
    gateway = WestGateway(
        scene.worker._reactor, await handshake(await dial(address), west.client_context("east"), server=False)
    )
    await wait_until(lambda: scene.worker._clientele.peers)
    try:
        yield address, gateway
    finally:
        gateway.conn.abort()
        scene.worker._reactor.flush()


async def read_tls(tls: ssl.SSLSocket) -> bytes:
    while True:
        try:
            return tls.recv(65_536)
        except ssl.SSLWantReadError:
            await trio.lowlevel.wait_readable(tls)


async def expired(scene: Scene, labels: str) -> None:
    """Waits until a connection was counted as ended for its silence, which is no refusal."""
    report = await scene.boss.last_report(lambda report: labels in report.counters[EXPIRED.name])
    assert not report.refusals
