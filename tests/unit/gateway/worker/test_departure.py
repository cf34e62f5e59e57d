"""How a worker leaves."""

from __future__ import annotations

import socket
from pathlib import Path

import trio
import trio.testing

from gateway.control import (
    Drain,
)
from gateway.transport.dial import dial
from tests.gateway_ends import (
    Backend,
    read,
    wait_until,
)
from tests.worker_rig import (
    GET,
    OK,
    mesh,
    service,
    shut,
    worker_at,
)
from trust.authority import Authority


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
            await scene.boss.channel.send(Drain(20.0))
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


async def test_what_has_come_when_it_takes_leave_is_answered(tmp_path: Path, authorities: dict[str, Authority]) -> None:
    """A worker that leaves a busy machine may not have read it yet: closing the connection would reset it."""
    async with worker_at(tmp_path, authorities["east"]) as scene:
        address = await scene.boss.listen("http", "http")
        with await dial(address) as client:
            client.send(GET)
            assert (await read(client)).startswith(b"HTTP/1.1 404 ")
            scene.worker._clientele.say_goodbye(scene.worker._clientele.served)
            client.send(GET)
            scene.worker._clientele.take_leave(scene.worker._clientele.served)
            answer = await read(client)
            assert answer.startswith(b"HTTP/1.1 404 ")
            assert b"connection: close\r\n" in answer
            assert await read(client) == b""


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
