"""A peer's workload that comes to the mesh port by itself, as HBONE has it: by CONNECT, and only where it is named."""

from __future__ import annotations

import ssl
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from datetime import timedelta
from pathlib import Path

import msgspec
import pytest
import trio

from gateway.codec.choose import mesh_codec
from gateway.codec.events import ErrorCode, RequestHead
from gateway.codec.http2.frames import goaway_frame
from gateway.snapshot import PeerResource, ServiceResource
from gateway.transport.client_connection import ClientConnection
from gateway.transport.dial import dial, handshake
from tests.forge import Forge, p256, private_key_of
from tests.gateway_ends import Backend, make_authority, read, shake_hands, wait_until, wall_clock
from tests.worker_rig import HOST, Answer, Scene, read_tls, service, worker_at
from trust.authority import Authority
from trust.contexts import client_context
from trust.svid import svid_from

FRONTEND = "spiffe://west.test/ns/web/sa/frontend"


@pytest.fixture(scope="module")
def east(tmp_path_factory: pytest.TempPathFactory) -> Authority:
    return make_authority(tmp_path_factory.mktemp("authority"), "east")


@pytest.fixture(scope="module")
def west() -> Forge:
    """The authority of west, which certifies its workloads too."""
    return Forge.root(not_before=wall_clock() - timedelta(hours=1), not_after=wall_clock() + timedelta(days=1))


def workload_context(west: Forge, east: Authority, spiffe_id: str) -> ssl.SSLContext:
    key, now = p256(), wall_clock()
    leaf = west.leaf(spiffe_id, key=key, not_before=now - timedelta(minutes=1), not_after=now + timedelta(minutes=30))
    return client_context(svid_from([leaf], private_key_of(key)), [east.root_der])


@asynccontextmanager
async def mesh_of(
    state_dir: Path, east: Authority, west: Forge, *allow: str
) -> AsyncIterator[tuple[Scene, str, Backend]]:
    """A worker of east, which exports a service to west and lets these in."""
    async with worker_at(state_dir, east) as scene:
        backend = Backend()
        await scene.boss.say(PeerResource("west", "west.test", (west.der,)))
        await scene.boss.say(allowing(backend, *allow))
        await wait_until(lambda: len(scene.worker._routes))
        address = await scene.boss.listen("mesh", "mesh")
        await scene.ready()
        yield scene, address, backend
        backend.close()


def allowing(backend: Backend, *allow: str) -> ServiceResource:
    return msgspec.structs.replace(service(backend.address, consumers=("west",)), allow=allow)


@asynccontextmanager
async def tunnel(scene: Scene, address: str, context: ssl.SSLContext) -> AsyncIterator[ClientConnection]:
    tls = await handshake(await dial(address), context, server=False)
    conn = ClientConnection(scene.worker._reactor, tls, mesh_codec("auto", client=True))
    conn.start()
    try:
        yield conn
    finally:
        conn.abort()
        scene.worker._reactor.flush()


def ask(scene: Scene, conn: ClientConnection, method: bytes) -> Answer:
    answer = Answer()
    scheme, path = (b"", b"") if method == b"CONNECT" else (b"http", b"/")
    conn.open(RequestHead(method, scheme, HOST + b":80", path, []), method != b"CONNECT", answer)
    scene.worker._reactor.flush()
    return answer


async def test_a_workload_that_is_named(tmp_path: Path, east: Authority, west: Forge) -> None:
    """Its CONNECT reaches the endpoint. Anything but a CONNECT is refused: only gateways speak for others' requests."""
    async with (
        mesh_of(tmp_path, east, west, "spiffe://west.test/ns/web/sa/*") as (scene, address, backend),
        tunnel(scene, address, workload_context(west, east, FRONTEND)) as conn,
    ):
        answer = ask(scene, conn, b"CONNECT")
        await backend.accept()
        await wait_until(lambda: answer.status)
        assert answer.status == 200
        other = ask(scene, conn, b"GET")
        await wait_until(lambda: other.status)
        assert other.status == 403
        # Once nobody names it any more, it is cut off.
        await scene.boss.say(allowing(backend, "spiffe://west.test/ns/web/sa/admin"))
        await wait_until(lambda: answer.lost)
        assert scene.worker._clientele.peers == {}


@pytest.mark.parametrize(
    "identity", ["spiffe://west.test/ns/db/sa/frontend", "spiffe://west.test/ns/isthmus-system/sa/isthmus-controller"]
)
async def test_a_workload_that_nobody_names(tmp_path: Path, east: Authority, west: Forge, identity: str) -> None:
    """A good certificate of a peer's trust domain opens nothing by itself, and its owner is told so."""
    async with mesh_of(tmp_path, east, west, "spiffe://west.test/ns/web/sa/*") as (scene, address, _):
        tls = await shake_hands(await dial(address), workload_context(west, east, identity), server=False)
        with tls:
            heard = b""
            while chunk := await read_tls(tls):
                heard += chunk
        assert heard.endswith(goaway_frame(0, ErrorCode.INADEQUATE_SECURITY, b"not-a-gateway"))
        report = await scene.boss.last_report(lambda report: report.refusals)
        assert identity in report.refusals["mesh: not-a-gateway"]


async def test_a_service_that_names_nobody(tmp_path: Path, east: Authority, west: Forge) -> None:
    """A workload gets in for another service's sake: this one stays shut to it, whatever its export says."""
    async with (
        mesh_of(tmp_path, east, west, "spiffe://west.test/ns/web/sa/*") as (scene, address, backend),
        tunnel(scene, address, workload_context(west, east, FRONTEND)) as conn,
    ):
        name = b"ledger.shop.svc.clusterset.local"
        ledger = msgspec.structs.replace(
            allowing(backend), name=msgspec.structs.replace(service(backend.address).name, name="ledger")
        )
        await scene.boss.say(ledger)
        await wait_until(lambda: len(scene.worker._routes) == 2)
        answer = Answer()
        conn.open(RequestHead(b"CONNECT", b"", name + b":80", b"", []), False, answer)
        scene.worker._reactor.flush()
        await wait_until(lambda: answer.status)
        assert answer.status == 403
        with pytest.raises(BlockingIOError):
            backend.listener.accept()


async def test_bytes_cross_for_a_named_workload(tmp_path: Path, east: Authority, west: Forge) -> None:
    """Both ways, as for a gateway's CONNECT."""
    async with (
        mesh_of(tmp_path, east, west, FRONTEND) as (scene, address, backend),
        tunnel(scene, address, workload_context(west, east, FRONTEND)) as conn,
    ):
        answer = ask(scene, conn, b"CONNECT")
        upstream = await backend.accept()
        await wait_until(lambda: answer.status == 200)
        stream_id = next(iter(conn.handlers))
        conn.codec.send_data(stream_id, b"hello", False)
        conn.touch()
        scene.worker._reactor.flush()
        assert await read(upstream) == b"hello"
        with trio.fail_after(10):
            upstream.send(b"welcome")
            await wait_until(lambda: answer.said == b"welcome")
