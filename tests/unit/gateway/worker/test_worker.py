"""A worker in this process, with a controller that says what a test wants."""

from __future__ import annotations

import logging
import os
import socket
import ssl
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from datetime import timedelta
from pathlib import Path

import dns.message
import msgspec
import pytest
import trio
import trio.testing

from discovery.model import Endpoint, Locality, Port, Protocol, ServiceName
from gateway.codec.choose import mesh_codec
from gateway.codec.events import Header, RequestHead, Response, ResponseHead
from gateway.codec.http2_frames import PREFACE
from gateway.control import (
    Certificate,
    ControlChannel,
    Drain,
    Explain,
    Explained,
    Hello,
    Listen,
    ListenerSpec,
    Message,
    Report,
    SigningRequest,
    Unlisten,
)
from gateway.failover.events import Cause, EventKind
from gateway.process.state_dir import listen_control
from gateway.snapshot import (
    LocalEndpoint,
    LocalResource,
    PeerResource,
    RemoteShare,
    Resource,
    ServiceResource,
    Update,
)
from gateway.telemetry import EXPIRED
from gateway.traffic import Timeouts, TrafficSettings
from gateway.transport.client_connection import ClientConnection
from gateway.transport.dial import dial, handshake
from gateway.transport.reactor import Reactor
from gateway.transport.tls_socket import TlsSocket
from gateway.tunnel.identity import Identity
from gateway.tunnel.tunnels import TUNNELS_PER_GATEWAY
from gateway.worker import worker as worker_module
from gateway.worker.worker import Worker
from tests.gateway_ends import (
    DEADLINE_S,
    Backend,
    make_authority,
    make_identity,
    peer_of,
    read,
    shake_hands,
    wait_until,
    wall_clock,
)
from trust.authority import Authority
from trust.keys import PrivateKey
from trust.svid import make_signing_request

LOCAL = LocalResource("acme", "east", Locality(), "east.test")
NAME = ServiceName("shop", "payments")
HOST = b"payments.shop.svc.clusterset.local"
GET = b"GET / HTTP/1.1\r\nhost: %b\r\n\r\n" % HOST


@pytest.fixture(scope="module")
def authorities(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Authority]:
    directory = tmp_path_factory.mktemp("authorities")
    return {cluster: make_authority(directory, cluster) for cluster in ("east", "west", "north")}


@pytest.fixture(autouse=True)
def quick(monkeypatch: pytest.MonkeyPatch) -> None:
    """What is done every so often is done often here."""
    for name, value in {
        "REPORT_INTERVAL_S": 0.01,
        "REPORT_DELAY_S": 0.0,
        "RECONNECT_S": 0.005,
        "SWEEP_INTERVAL_S": 0.01,
    }.items():
        monkeypatch.setattr(worker_module, name, value)
    monkeypatch.setattr("gateway.worker.departure.DRAIN_CHECK_S", 0.005)


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


async def test_a_worker_introduces_itself_and_gets_ready(tmp_path: Path, authorities: dict[str, Authority]) -> None:
    """It is ready when it has an SVID and a snapshot, and not before."""
    async with worker_at(tmp_path, authorities["east"], certify=False) as scene:
        await wait_until(lambda: scene.boss.hellos)
        assert (scene.boss.hellos[0].worker_id, scene.boss.hellos[0].pid) == ("w1-0", os.getpid())
        assert not (await scene.boss.last_report()).ready
        chain = authorities["east"].issue_gateway(Identity().signing_request(), now=wall_clock(), lifetime_s=600.0)
        await scene.boss.channel.send(Certificate(chain))
        await scene.boss.channel.send(Certificate([b"rubbish"]))
        await scene.settled()
        assert not scene.boss.reports[-1].ready, "a certificate for another key is of no use, and no harm"


async def test_a_request_from_a_workload(tmp_path: Path, authorities: dict[str, Authority]) -> None:
    """From a socket that the controller gave to an endpoint that it named; it is counted."""
    async with worker_at(tmp_path, authorities["east"]) as scene:
        backend = Backend()
        await scene.boss.say(service(backend.address))
        address = await scene.boss.listen("http", "http")
        with await dial(address) as client:
            client.send(GET)
            await read(await backend.accept())
            backend.accepted[0].send(OK)
            assert (await read(client)).startswith(b"HTTP/1.1 200 OK\r\n")
        labels = "local|shop/payments|local|200|"
        report = await scene.boss.last_report(lambda report: report.counters["isthmus_requests"].get(labels))
        assert report.counters["isthmus_accepted_connections"] == {"http": 1}
        backend.close()


async def test_a_virtual_ip_of_a_service_that_is_gone(tmp_path: Path, authorities: dict[str, Authority]) -> None:
    """Its listener outlives it by a moment: the connection is closed, and counted as refused."""
    async with worker_at(tmp_path, authorities["east"]) as scene:
        address = await scene.boss.listen("vip/a", "vip", service="service/shop/gone", port="http")
        with await dial(address) as client:
            assert await read(client) == b""
        report = await scene.boss.last_report(lambda report: report.refusals)
        assert "service/shop/gone has no port http any more" in report.refusals["vip: no-route"]


async def test_changes_of_the_snapshot_are_counted(tmp_path: Path, authorities: dict[str, Authority]) -> None:
    """By what changed. What is said once more is none, and neither is what goes that nobody knew."""
    async with worker_at(tmp_path, authorities["east"]) as scene:
        for port in (1, 1, 2):
            await scene.boss.say(service(f"127.0.0.1:{port}"))
        await scene.boss.say(removals=("service/shop/payments", "service/shop/nobody"))
        counted = {"local": 1.0, "service": 3.0}
        await scene.boss.last_report(lambda report: report.counters["isthmus_snapshot_changes"] == counted)


async def test_names_are_answered(tmp_path: Path, authorities: dict[str, Authority]) -> None:
    """On the sockets for DNS, as soon as there is a snapshot."""
    async with worker_at(tmp_path, authorities["east"]) as scene:
        await scene.boss.say(service("127.0.0.1:9", vip="127.80.0.7"))
        address = await scene.boss.listen("dns-udp", "dns-udp")
        host, _, port = address.rpartition(":")
        with socket.socket(type=socket.SOCK_DGRAM) as client:
            client.setblocking(False)
            client.connect((host, int(port)))
            client.send(dns.message.make_query(NAME.fqdn, "A").to_wire())
            assert "127.80.0.7" in dns.message.from_wire(await read(client)).to_text()


@pytest.mark.parametrize("kind", ["dns-udp", "dns-tcp", "http", "mesh"])
async def test_a_listener_that_comes_and_goes_at_once(
    tmp_path: Path, authorities: dict[str, Authority], kind: str
) -> None:
    """Both orders are read together; the task that would serve it has not begun. Nothing of it may stay open."""
    async with worker_at(tmp_path, authorities["east"]) as scene:
        if kind != "mesh":
            await scene.ready()
        before = set(os.listdir("/proc/self/fd"))
        await scene.boss.listen("one", kind)
        await scene.boss.channel.send(Unlisten(["one"]))
        scene.boss._sockets.pop().close()
        await scene.settled()
        assert scene.worker._reception.listeners == {}
        await wait_until(lambda: set(os.listdir("/proc/self/fd")) <= before)


async def test_a_listener_that_moves(tmp_path: Path, authorities: dict[str, Authority]) -> None:
    """The same name with another address replaces it; the same once more is the same."""
    async with worker_at(tmp_path, authorities["east"]) as scene:
        old = await scene.boss.listen("http", "http")
        new = await scene.boss.listen("http", "http")
        await wait_until(lambda: scene.worker._reception.listeners["http"][0].address == new)
        with await dial(new) as client:
            client.send(GET)
            assert (await read(client)).startswith(b"HTTP/1.1 404 ")
        scene.boss._sockets[0].close()
        with pytest.raises(OSError, match="refused"):
            await dial(old)


async def mesh_client(address: str, identity: Identity, cluster: str = "east") -> ssl.SSLSocket:
    return await shake_hands(await dial(address), identity.client_context(cluster), server=False)


class Answer:
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


async def test_a_request_from_a_peer(tmp_path: Path, authorities: dict[str, Authority]) -> None:
    """Over mutual TLS, to a local endpoint; its connection is shown by its cluster."""
    async with worker_at(tmp_path, authorities["east"]) as scene, mesh(scene, authorities) as (_, west):
        backend = Backend()
        await scene.boss.say(service(backend.address, consumers=("west",)))
        await wait_until(lambda: len(scene.worker._routes))
        answer = west.ask()
        await read(await backend.accept())
        backend.accepted[0].send(OK)
        await wait_until(lambda: answer.ended)
        assert answer.status == 200
        assert (await scene.boss.last_report(lambda report: report.inbound)).inbound == {"west": 1}
        backend.close()


async def test_a_peer_that_is_removed_is_cut_off(tmp_path: Path, authorities: dict[str, Authority]) -> None:
    """In the middle of a request, which its endpoint is told of as well."""
    async with worker_at(tmp_path, authorities["east"]) as scene, mesh(scene, authorities) as (address, west):
        backend = Backend()
        await scene.boss.say(service(backend.address))
        await wait_until(lambda: len(scene.worker._routes))
        answer = west.ask()
        upstream = await backend.accept()
        await read(upstream)
        await scene.boss.say(removals=("peer/west",))
        await wait_until(lambda: answer.lost)
        assert await read(upstream) == b""
        await wait_until(lambda: not scene.worker._clientele.peers)
        assert scene.worker._clientele.served == {}
        identity = make_identity(authorities["west"], peer_of(authorities["east"]))
        with await mesh_client(address, identity) as tls, pytest.raises(ssl.SSLError):
            await read_tls(tls)
        backend.close()


async def read_tls(tls: ssl.SSLSocket) -> bytes:
    while True:
        try:
            return tls.recv(65_536)
        except ssl.SSLWantReadError:
            await trio.lowlevel.wait_readable(tls)


async def test_a_root_that_is_withdrawn(tmp_path: Path, authorities: dict[str, Authority]) -> None:
    """The connections that it vouched for are closed; another gateway of the same peer may come with a new one."""
    async with worker_at(tmp_path, authorities["east"]) as scene, mesh(scene, authorities) as (_, west):
        both = (authorities["west"].root_der, authorities["north"].root_der)
        await scene.boss.say(PeerResource("west", "west.test", both))
        await scene.settled()
        assert scene.worker._clientele.peers
        await scene.boss.say(PeerResource("west", "west.test", both[1:]))
        await wait_until(lambda: west.conn.closed)
        assert not scene.worker._clientele.peers


def no_certificate(authorities: dict[str, Authority]) -> ssl.SSLContext:
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
    context.check_hostname = False
    context.verify_mode = ssl.CERT_NONE
    context.set_alpn_protocols(["h2"])
    return context


def of_a_stranger(authorities: dict[str, Authority]) -> ssl.SSLContext:
    return make_identity(authorities["north"], peer_of(authorities["east"])).client_context("east")


def without_h2(authorities: dict[str, Authority]) -> ssl.SSLContext:
    context = make_identity(authorities["west"], peer_of(authorities["east"])).client_context("east")
    context.set_alpn_protocols(["http/1.1"])
    return context


def old_tls(authorities: dict[str, Authority]) -> ssl.SSLContext:
    context = no_certificate(authorities)
    context.maximum_version = ssl.TLSVersion.TLSv1_2
    return context


@pytest.mark.parametrize(
    ("make", "reason"),
    [
        (no_certificate, "no-certificate"),
        (of_a_stranger, "unknown-authority"),
        (without_h2, "no-h2"),
        (old_tls, "tls-version"),
    ],
)
async def test_who_is_not_let_in(
    tmp_path: Path,
    authorities: dict[str, Authority],
    make: Callable[[dict[str, Authority]], ssl.SSLContext],
    reason: str,
) -> None:
    """Each is counted under its own reason, and described for people. The peer's tunnel beside it is not disturbed."""
    async with worker_at(tmp_path, authorities["east"]) as scene, mesh(scene, authorities) as (address, west):
        sock = await dial(address)
        try:
            with await shake_hands(sock, make(authorities), server=False) as tls:
                await read_tls(tls)
        except OSError:
            pass  # How a client hears of it is its own affair.
        report = await scene.boss.last_report(lambda report: report.refusals)
        assert list(report.refusals) == [f"mesh: {reason}"]
        assert "127.0.0.1:" in report.refusals[f"mesh: {reason}"]
        assert report.counters["isthmus_refusals"] == {f"mesh|{reason}": 1}
        answer = west.ask()
        await wait_until(lambda: answer.status == 404)


async def test_a_handshake_that_stalls(
    tmp_path: Path, authorities: dict[str, Authority], monkeypatch: pytest.MonkeyPatch
) -> None:
    """It is given a few seconds; and there is a bound on how many are under way."""
    monkeypatch.setattr("gateway.worker.reception.HANDSHAKE_TIMEOUT_S", 1.0)
    monkeypatch.setattr("gateway.worker.handshake_slots.HANDSHAKES_LIMIT", 3)
    async with worker_at(tmp_path, authorities["east"]) as scene:
        address = await scene.boss.listen("mesh", "mesh")
        await scene.ready()
        silent = [await dial(address) for _ in range(5)]
        for sock in silent:
            await read(sock)
            sock.close()
        refused = "isthmus_refusals"
        counts = {"mesh|overload": 2, "mesh|handshake-timeout": 3}
        await scene.boss.last_report(lambda report: report.counters[refused] == counts)
        assert scene.worker._reception.handshakes.taken == 0


async def test_a_defect_in_judging_a_peer(
    tmp_path: Path,
    authorities: dict[str, Authority],
    monkeypatch: pytest.MonkeyPatch,
    caplog: pytest.LogCaptureFixture,
) -> None:
    """Certificates come from outside and are read by code of others. It costs that peer's connection only."""
    async with worker_at(tmp_path, authorities["east"]) as scene, mesh(scene, authorities) as (address, west):

        def broken(*_: object) -> None:
            raise RuntimeError("a defect")

        monkeypatch.setattr(scene.worker._identity, "prove", broken)
        identity = make_identity(authorities["west"], peer_of(authorities["east"]))
        with await mesh_client(address, identity) as tls:
            assert await read_tls(tls) == b""
        report = await scene.boss.last_report(lambda report: report.refusals)
        assert "mesh: internal-error" in report.refusals
        assert report.counters["isthmus_defects"] == {"worker": 1}
        assert "nobody foresaw" in caplog.text
        answer = west.ask()
        await wait_until(lambda: answer.status == 404)


async def test_peers_wait_until_there_is_an_svid(tmp_path: Path, authorities: dict[str, Authority]) -> None:
    """In the socket's queue: turned away they would back off, and be away for longer."""
    async with worker_at(tmp_path, authorities["east"], certify=False) as scene:
        await scene.boss.say(peer_of(authorities["west"]))
        address = await scene.boss.listen("mesh", "mesh")
        sock = await dial(address)
        await scene.settled()
        assert scene.worker._reception.handshakes.taken == 0
        await wait_until(lambda: scene.boss.requests)
        scene.worker._identity._pending = None
        csr = scene.worker._identity.signing_request()
        chain = authorities["east"].issue_gateway(csr, now=wall_clock(), lifetime_s=600.0)
        await scene.boss.channel.send(Certificate(chain))
        west = make_identity(authorities["west"], peer_of(authorities["east"]))
        tls = await handshake(sock, west.client_context("east"), server=False)
        await wait_until(lambda: scene.worker._clientele.peers)
        tls.close()


async def test_workloads_wait_until_the_first_tunnels_were_tried(
    tmp_path: Path, authorities: dict[str, Authority], monkeypatch: pytest.MonkeyPatch
) -> None:
    """A worker that has just begun would refuse what another could have carried. It waits as long as a tunnel may come,
    while peers and resolvers need none."""
    monkeypatch.setattr(worker_module, "FIRST_TUNNELS_S", 60.0)
    async with worker_at(tmp_path, authorities["east"]) as scene:
        west = Backend()
        try:
            await scene.boss.say(peer_of(authorities["west"], west.address), LOCAL, reset=True)
            http = await scene.boss.listen("http", "http")
            with await dial(http) as client:
                client.send(GET)
                await wait_until(lambda: scene.worker._reception.accepts("mesh", "dns-udp"))
                await scene.settled()
                assert not scene.worker._reception.accepts("http")
                assert not scene.boss.reports[-1].ready
                for _ in range(TUNNELS_PER_GATEWAY):
                    (await west.accept()).close()
                assert (await read(client)).startswith(b"HTTP/1.1 404 ")
            await scene.ready()
        finally:
            west.close()


async def test_workloads_do_not_wait_for_ever(
    tmp_path: Path, authorities: dict[str, Authority], monkeypatch: pytest.MonkeyPatch
) -> None:
    """A peer that is gone, or an SVID that does not come, must not stop what is local."""
    monkeypatch.setattr(worker_module, "FIRST_TUNNELS_S", 0.05)
    async with worker_at(tmp_path, authorities["east"], certify=False) as scene:
        http = await scene.boss.listen("http", "http")
        with await dial(http) as client:
            client.send(GET)
            assert (await read(client)).startswith(b"HTTP/1.1 404 ")
        assert not scene.worker._reception.accepts("mesh")


async def test_serving_goes_on_without_a_controller(tmp_path: Path, authorities: dict[str, Authority]) -> None:
    """Its end is noticed by nobody outside, and the next one is shown the sockets that are served."""
    async with worker_at(tmp_path, authorities["east"]) as scene:
        backend = Backend()
        await scene.boss.say(service(backend.address))
        address = await scene.boss.listen("http", "http")
        await scene.ready()
        scene.boss.leave()
        with await dial(address) as client:
            client.send(GET)
            await read(await backend.accept())
            backend.accepted[0].send(OK)
            assert (await read(client)).startswith(b"HTTP/1.1 200 OK\r\n")
        await scene.boss.welcome()
        await wait_until(lambda: len(scene.boss.hellos) == 2)
        assert [spec.name for spec in scene.boss.brought] == ["http"]
        backend.close()


async def test_an_order_that_cannot_be_done(
    tmp_path: Path,
    authorities: dict[str, Authority],
    monkeypatch: pytest.MonkeyPatch,
    caplog: pytest.LogCaptureFixture,
) -> None:
    """The worker asks for a fresh start, and its connections go on."""
    async with worker_at(tmp_path, authorities["east"]) as scene:
        address = await scene.boss.listen("http", "http")
        await scene.ready()

        def broken(*_: object) -> None:
            raise RuntimeError("a defect")

        with await dial(address) as client:
            client.send(GET)
            assert (await read(client)).startswith(b"HTTP/1.1 404 ")
            with monkeypatch.context() as patch:
                patch.setattr(scene.worker, "_apply", broken)
                await scene.boss.say(LOCAL)
                await scene.boss.welcome()
            await wait_until(lambda: len(scene.boss.hellos) == 2)
            client.send(GET)
            assert (await read(client)).startswith(b"HTTP/1.1 404 ")
        assert "could not be done" in caplog.text


async def test_a_head_that_trickles(
    tmp_path: Path, authorities: dict[str, Authority], monkeypatch: pytest.MonkeyPatch
) -> None:
    """Slowloris: it is told, ended and named; a client beside it that has sent nothing yet is not."""
    monkeypatch.setattr("gateway.transport.idle.HEAD_S", 0.05)
    async with worker_at(tmp_path, authorities["east"]) as scene:
        address = await scene.boss.listen("http", "http")
        with await dial(address) as slow, await dial(address) as quiet:
            slow.send(b"GET / HT")
            answer = await read(slow)
            assert answer.startswith(b"HTTP/1.1 408 ")
            assert b"isthmus-reason: slow-head\r\n" in answer
            assert await read(slow) == b""
            report = await scene.boss.last_report(lambda report: report.refusals)
            assert list(report.refusals) == ["http: slow-head"]
            quiet.send(GET)
            assert (await read(quiet)).startswith(b"HTTP/1.1 404 ")


@pytest.mark.parametrize("engine", ["ngh2", "h2"])
async def test_an_http2_head_that_trickles(
    engine: str, tmp_path: Path, authorities: dict[str, Authority], monkeypatch: pytest.MonkeyPatch
) -> None:
    """A header block in pieces is a slow head as well; a client that has sent whole frames only is left alone."""
    monkeypatch.setattr("gateway.transport.idle.HEAD_S", 0.05)
    async with worker_at(tmp_path, authorities["east"]) as scene:
        await scene.boss.say(msgspec.structs.replace(LOCAL, http2_codec=engine))
        address = await scene.boss.listen("http", "http")
        with await dial(address) as slow, await dial(address) as quiet:
            for sock in (slow, quiet):
                sock.send(PREFACE + bytes.fromhex("000000040000000000"))
            # HEADERS of stream 1, not the end of its block.
            slow.send(bytes.fromhex("00000101000000000182"))
            while chunk := await read(slow):
                heard = chunk
            assert heard[-4:] == (0xB).to_bytes(4, "big"), "GOAWAY with ENHANCE_YOUR_CALM"
            report = await scene.boss.last_report(lambda report: report.refusals)
            assert list(report.refusals) == ["http: slow-head"]
            client = mesh_codec("h2", client=True)
            client.send_request(RequestHead(b"GET", b"http", b"nobody.test", b"/", []), True)
            await read(quiet)
            quiet.send(client.data_to_send()[len(PREFACE) :])
            assert await read(quiet)


async def test_a_connection_that_is_not_used(
    tmp_path: Path, authorities: dict[str, Authority], monkeypatch: pytest.MonkeyPatch
) -> None:
    """It is closed and counted, and nobody is called names for it. One with a request under way is not."""
    monkeypatch.setattr("gateway.transport.idle.KEEP_ALIVE_S", 0.05)
    async with worker_at(tmp_path, authorities["east"]) as scene:
        backend = Backend()
        await scene.boss.say(service(backend.address))
        address = await scene.boss.listen("http", "http")
        with await dial(address) as unused, await dial(address) as waiting:
            waiting.send(GET)
            await read(await backend.accept())
            assert await read(unused) == b""
            backend.accepted[0].send(OK)
            assert (await read(waiting)).startswith(b"HTTP/1.1 200 OK\r\n")
        await expired(scene, "http|idle")
        backend.close()


async def test_the_rest_of_a_request_that_was_answered(
    tmp_path: Path, authorities: dict[str, Authority], monkeypatch: pytest.MonkeyPatch
) -> None:
    """Nobody carries it any more, and its client does not send it: the connection is not held for ever."""
    monkeypatch.setattr("gateway.worker.clientele.SILENT_REST_S", 0.05)
    async with worker_at(tmp_path, authorities["east"]) as scene:
        address = await scene.boss.listen("http", "http")
        with await dial(address) as client:
            client.send(b"POST / HTTP/1.1\r\nhost: nobody.test\r\ncontent-length: 9\r\n\r\nx")
            assert (await read(client)).startswith(b"HTTP/1.1 404 ")
            assert await read(client) == b""
            await expired(scene, "http|silent-rest")


async def test_a_stream_on_which_nothing_moves(tmp_path: Path, authorities: dict[str, Authority]) -> None:
    """What the other side sends counts as well: a client that only listens is not silent."""
    async with worker_at(tmp_path, authorities["east"]) as scene:
        backend = Backend()
        timeouts = TrafficSettings(timeouts=(("shop/*", Timeouts(idle_s=0.1)),))
        await scene.boss.say(msgspec.structs.replace(LOCAL, traffic=timeouts))
        await scene.boss.say(service(backend.address))
        address = await scene.boss.listen("http", "http")
        with await dial(address) as client:
            client.send(GET)
            upstream = await backend.accept()
            await read(upstream)
            upstream.send(b"HTTP/1.1 200 OK\r\ntransfer-encoding: chunked\r\n\r\n")
            for _ in range(10):
                upstream.send(b"1\r\nx\r\n")
                assert await read(client)
                await trio.sleep(0.02)
            assert not (await read(client)).endswith(b"0\r\n\r\n"), "now nothing moves: it is broken off"
        backend.close()


async def test_a_peer_that_vanished(
    tmp_path: Path, authorities: dict[str, Authority], monkeypatch: pytest.MonkeyPatch
) -> None:
    """A gateway probes its tunnels: one that says nothing at all has lost its power, or its way."""
    monkeypatch.setattr("gateway.worker.clientele.SILENT_PEER_S", 0.05)
    async with worker_at(tmp_path, authorities["east"]) as scene, mesh(scene, authorities) as (_, west):
        await wait_until(lambda: west.conn.closed)
        assert not scene.worker._clientele.peers
        await expired(scene, "mesh|silent-peer")


async def expired(scene: Scene, labels: str) -> None:
    """Waits until a connection was counted as ended for its silence, which is no refusal."""
    report = await scene.boss.last_report(lambda report: labels in report.counters[EXPIRED.name])
    assert not report.refusals


async def test_draining(tmp_path: Path, authorities: dict[str, Authority]) -> None:
    """Nothing new is accepted, peers are told to go elsewhere, what runs is finished, and then the worker ends."""
    async with worker_at(tmp_path, authorities["east"]) as scene, mesh(scene, authorities) as (_, west):
        backend = Backend()
        await scene.boss.say(service(backend.address))
        address = await scene.boss.listen("http", "http")
        await wait_until(lambda: len(scene.worker._routes))
        answer = west.ask()
        upstream = await backend.accept()
        await read(upstream)
        with await dial(address) as client:
            client.send(GET)
            second = await backend.accept()
            await read(second)
            await scene.boss.channel.send(Drain(1.0))
            await wait_until(lambda: west.goaways)
            await scene.boss.listen("late", "http")
            await scene.settled()
            assert scene.worker._reception.listeners == {}
            assert not west.conn.usable
            assert not scene.ended.is_set()
            second.send(OK)
            assert b"connection: close\r\n" in await read(client)
            upstream.send(OK)
            await wait_until(lambda: answer.ended)
            assert answer.status == 200
            await scene.ended.wait()
        backend.close()


async def test_draining_waits_for_a_slow_reader(tmp_path: Path, authorities: dict[str, Authority]) -> None:
    """Its answer is whole here, and has not left: ending now would cut it short."""
    body = bytes(240_000)
    async with worker_at(tmp_path, authorities["east"]) as scene:
        backend = Backend()
        await scene.boss.say(service(backend.address))
        address = await scene.boss.listen("http", "http")
        # Accepted sockets inherit it: the kernel takes little, and the rest of the answer stays here.
        scene.boss._sockets[-1].setsockopt(socket.SOL_SOCKET, socket.SO_SNDBUF, 32_768)
        with await dial(address) as client:
            client.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 32_768)
            client.send(GET)
            upstream = await backend.accept()
            await read(upstream)
            await send_all(upstream, b"HTTP/1.1 200 OK\r\ncontent-length: 240000\r\n\r\n" + body)
            (conn,) = scene.worker._clientele.served
            await wait_until(lambda: conn.unsent and not conn.codec.open_streams)
            await scene.boss.channel.send(Drain(5.0))
            # Peers get half a second to heed the GOAWAY; after that only this answer is waited for.
            with trio.move_on_after(0.6):
                await scene.ended.wait()
            assert not scene.ended.is_set()
            got = b""
            while chunk := await read(client):
                got += chunk
            assert got.partition(b"\r\n\r\n")[2] == body
            await scene.ended.wait()
        backend.close()


async def send_all(sock: socket.socket, data: bytes) -> None:
    rest = memoryview(data)
    while rest:
        try:
            rest = rest[sock.send(rest) :]
        except BlockingIOError:
            await trio.lowlevel.wait_writable(sock)


async def test_draining_has_an_end(tmp_path: Path, authorities: dict[str, Authority]) -> None:
    """A request that never ends does not keep the process."""
    async with worker_at(tmp_path, authorities["east"]) as scene:
        backend = Backend()
        await scene.boss.say(service(backend.address))
        address = await scene.boss.listen("http", "http")
        with await dial(address) as client:
            client.send(GET)
            await read(await backend.accept())
            await scene.boss.channel.send(Drain(0.05))
            await scene.boss.channel.send(Drain(0.05))
            await scene.ended.wait()
            shut(scene.worker)
        backend.close()


async def test_a_certificate_is_renewed_in_time(
    tmp_path: Path, authorities: dict[str, Authority], monkeypatch: pytest.MonkeyPatch
) -> None:
    """Before half of its life, by the wall clock; and a controller that does not answer is asked again."""
    monkeypatch.setattr(worker_module, "CLOCK_CHECK_S", 0.01)
    async with worker_at(tmp_path, authorities["east"]) as scene:
        await scene.ready()
        assert scene.boss.requests == 1
        svid = scene.worker._identity.svid
        assert svid is not None
        half = svid.not_before + (svid.not_after - svid.not_before) / 2
        monkeypatch.setattr(worker_module, "wall_clock", lambda: half)
        await wait_until(lambda: scene.boss.requests >= 2)
        await wait_until(lambda: scene.worker._identity.svid is not svid)


async def test_it_explains_where_requests_go(tmp_path: Path, authorities: dict[str, Authority]) -> None:
    """From its own state, by number, and says so when there is nothing to explain."""
    async with worker_at(tmp_path, authorities["east"]) as scene:
        await scene.boss.say(service("127.0.0.1:9"))
        for number, name in [(1, "shop/payments"), (2, "shop/nothing")]:
            await scene.boss.channel.send(Explain(number, name))
        await wait_until(lambda: len(scene.boss.explained) == 2)
        known, unknown = scene.boss.explained
        assert known.explanation is not None
        assert (known.request_id, known.explanation.service, known.explanation.port) == (1, "shop/payments", "http")
        assert [group.why for group in known.explanation.groups] == ["own zone"]
        assert unknown == Explained(2)


async def test_it_reports_each_failover_event_once(tmp_path: Path, authorities: dict[str, Authority]) -> None:
    """With the time at which it happened."""
    async with worker_at(tmp_path, authorities["east"]) as scene:
        remote = RemoteShare("west", ("http",))
        await scene.boss.say(ServiceResource(NAME, "", (Port("http", 80, Protocol.HTTP),), remotes=(remote,)))
        await scene.boss.say(PeerResource("west", "west.test", ()))
        await scene.boss.channel.send(Explain(1, "shop/payments"))
        await wait_until(lambda: any(report.events for report in scene.boss.reports))
        seen = len(scene.boss.reports)
        await wait_until(lambda: len(scene.boss.reports) > seen + 3)
        (event,) = [event for report in scene.boss.reports for event in report.events]
        assert (event.service, event.kind, event.cause) == ("shop/payments", EventKind.EXHAUSTED, Cause.TUNNELS)
        assert abs(event.at - wall_clock().timestamp()) < 60.0


async def test_an_svid_that_nobody_renews_yet_is_not_asked_for_without_end(
    tmp_path: Path, authorities: dict[str, Authority]
) -> None:
    """A Workload API renews by its own clock: the answer to a request may be the SVID that we have, which is past the
    time at which we ask."""
    key = PrivateKey.generate()
    began = wall_clock() - timedelta(seconds=400)
    chain = authorities["east"].issue_gateway(make_signing_request(key), now=began, lifetime_s=600.0)
    async with worker_at(tmp_path, authorities["east"], certify=False) as scene:
        for answered in range(1, 4):
            await wait_until(lambda answered=answered: scene.boss.requests >= min(answered, 2))  # type: ignore[misc]
            await scene.boss.channel.send(Certificate(chain, key.expose_private_der()))
        await scene.settled()
        assert scene.worker._identity.svid is not None
        assert scene.boss.requests == 2


async def test_a_client_too_many(tmp_path: Path, authorities: dict[str, Authority]) -> None:
    """It is told so in its own protocol, and counted. Who is in stays, and when one goes there is room."""
    async with worker_at(tmp_path, authorities["east"]) as scene:
        await scene.settled(connection_limit=1)
        address = await scene.boss.listen("http", "http")
        with await dial(address) as first:
            first.send(GET)
            assert (await read(first)).startswith(b"HTTP/1.1 404 ")
            with await dial(address) as second:
                second.send(GET)
                answer = await read(second)
                assert answer.startswith(b"HTTP/1.1 503 ")
                assert b"isthmus-reason: connection-limit\r\n" in answer
                assert b"connection: close\r\n" in answer
                assert await read(second) == b""
            with await dial(address) as third:
                client = mesh_codec("h2", client=True)
                client.send_request(RequestHead(b"GET", b"http", HOST, b"/", []), True)
                third.send(client.data_to_send())
                events: list[object] = []
                while chunk := await read(third):
                    events += client.receive(chunk)
                assert [event.head.status for event in events if isinstance(event, Response)] == [503]
            first.send(GET)
            assert (await read(first)).startswith(b"HTTP/1.1 404 ")
        await wait_until(lambda: not scene.worker._clientele.served)
        with await dial(address) as fourth:
            fourth.send(GET)
            assert (await read(fourth)).startswith(b"HTTP/1.1 404 ")
        refused, counts = "isthmus_refusals", {"http|connection-limit": 2}
        await scene.boss.last_report(lambda report: report.counters[refused] == counts)


async def test_a_peer_too_many(tmp_path: Path, authorities: dict[str, Authority]) -> None:
    """Its tunnels do not count against workloads' connections, nor these against its."""
    async with worker_at(tmp_path, authorities["east"]) as scene:
        await scene.settled(connection_limit=1)
        async with mesh(scene, authorities) as (address, west):
            http = await scene.boss.listen("http", "http")
            with await dial(address) as other, await dial(http) as client:
                assert await read(other) == b""
                client.send(GET)
                assert (await read(client)).startswith(b"HTTP/1.1 404 ")
            answer = west.ask()
            await wait_until(lambda: answer.status == 404)
            report = await scene.boss.last_report(lambda report: report.refusals)
            assert list(report.refusals) == ["mesh: connection-limit"]
