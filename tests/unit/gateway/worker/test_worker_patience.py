"""What time does to the connections of a worker."""

from __future__ import annotations

from pathlib import Path

import msgspec
import pytest
import trio

from gateway.codec.choose import mesh_codec
from gateway.codec.events import RequestHead
from gateway.codec.http2.frames import PREFACE
from gateway.traffic import Timeouts, TrafficSettings
from gateway.transport.dial import dial
from gateway.transport.idle import KEEP_ALIVE_S
from tests.gateway_ends import (
    Backend,
    read,
    wait_until,
)
from tests.worker_rig import (
    GET,
    LOCAL,
    OK,
    expired,
    mesh,
    service,
    worker_at,
)
from trust.authority import Authority


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
    async with worker_at(tmp_path, authorities["east"]) as scene:
        backend = Backend()
        await scene.boss.say(service(backend.address))
        address = await scene.boss.listen("http", "http")
        with await dial(address) as unused, await dial(address) as waiting:
            waiting.send(GET)
            await read(await backend.accept())
            # From here on: a busy machine may take longer than this until a request is under way.
            monkeypatch.setattr("gateway.transport.idle.KEEP_ALIVE_S", 0.05)
            assert await read(unused) == b""
            backend.accepted[0].send(OK)
            assert (await read(waiting)).startswith(b"HTTP/1.1 200 OK\r\n")
        await expired(scene, "http|idle")
        backend.close()


async def test_a_request_that_has_just_come_is_not_idle(
    tmp_path: Path, authorities: dict[str, Authority], monkeypatch: pytest.MonkeyPatch
) -> None:
    """It came after the reactor looked for the last time, as the time of its connection was over."""
    monkeypatch.setattr("gateway.worker.worker.SWEEP_INTERVAL_S", 3600.0)
    async with worker_at(tmp_path, authorities["east"]) as scene:
        address = await scene.boss.listen("http", "http")
        with await dial(address) as client:
            client.send(GET)
            assert (await read(client)).startswith(b"HTTP/1.1 404 ")
            clientele = scene.worker._clientele
            clientele.sweep(trio.current_time())
            client.send(GET)
            clientele.sweep(trio.current_time() + KEEP_ALIVE_S + 1)
            scene.worker._reactor.flush()
            assert (await read(client)).startswith(b"HTTP/1.1 404 ")


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
    """It is broken off. That what the other side sends counts as well is held where time is played
    (test_exchange_time.py)."""
    async with worker_at(tmp_path, authorities["east"]) as scene:
        backend = Backend()
        timeouts = TrafficSettings(timeouts=(("shop/*", Timeouts(idle_s=1.0)),))
        await scene.boss.say(msgspec.structs.replace(LOCAL, traffic=timeouts))
        await scene.boss.say(service(backend.address))
        address = await scene.boss.listen("http", "http")
        with await dial(address) as client:
            client.send(GET)
            upstream = await backend.accept()
            await read(upstream)
            upstream.send(b"HTTP/1.1 200 OK\r\ntransfer-encoding: chunked\r\n\r\n")
            seen = b""
            while chunk := await read(client):
                seen += chunk
            assert seen.startswith(b"HTTP/1.1 200 OK\r\n")
            assert not seen.endswith(b"0\r\n\r\n"), "it does not look whole"
        backend.close()


async def test_a_peer_that_vanished(
    tmp_path: Path, authorities: dict[str, Authority], monkeypatch: pytest.MonkeyPatch
) -> None:
    """A gateway probes its tunnels: one that says nothing at all has lost its power, or its way."""
    async with worker_at(tmp_path, authorities["east"]) as scene, mesh(scene, authorities) as (_, west):
        # From here on: before, it might be gone again before anybody has seen that it is there.
        monkeypatch.setattr("gateway.worker.clientele.SILENT_PEER_S", 0.05)
        await wait_until(lambda: west.conn.closed)
        await wait_until(lambda: not scene.worker._clientele.peers)
        await expired(scene, "mesh|silent-peer")
