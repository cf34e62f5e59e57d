"""Peers at a worker: who is let in, and who is not any longer."""

from __future__ import annotations

import socket
import ssl
from collections.abc import Callable
from pathlib import Path

import pytest

from gateway.control import Unlisten
from gateway.snapshot import (
    PeerResource,
)
from gateway.transport.dial import dial, handshake
from tests.gateway_ends import (
    Backend,
    make_identity,
    peer_of,
    read,
    shake_hands,
    wait_until,
)
from tests.worker_rig import (
    OK,
    WestGateway,
    mesh,
    mesh_client,
    read_tls,
    service,
    worker_at,
)
from trust.authority import Authority


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
    """It is given a few seconds; and there is a bound on how many are under way, also for those that come at once."""
    monkeypatch.setattr("gateway.worker.reception.HANDSHAKE_TIMEOUT_S", 1.0)
    monkeypatch.setattr("gateway.worker.handshake_slots.HANDSHAKES_LIMIT", 3)
    async with worker_at(tmp_path, authorities["east"]) as scene:
        address = await scene.boss.listen("mesh", "mesh")
        await scene.ready()
        host, _, port = address.rpartition(":")
        silent = [socket.create_connection((host, int(port))) for _ in range(5)]
        for sock in silent:
            sock.setblocking(False)
            await read(sock)
            sock.close()
        refused = "isthmus_refusals"
        counts = {"mesh|overload": 2, "mesh|handshake-timeout": 3}
        await scene.boss.last_report(lambda report: report.counters[refused] == counts)
        assert scene.worker._reception.handshakes.taken == 0


async def test_a_handshake_that_is_under_way_as_the_listener_goes(
    tmp_path: Path, authorities: dict[str, Authority]
) -> None:
    """Whoever takes `mesh` out of the configuration wants no peer in here: also none that was just coming in."""
    async with worker_at(tmp_path, authorities["east"]) as scene:
        await scene.boss.say(peer_of(authorities["west"]))
        address = await scene.boss.listen("mesh", "mesh")
        await scene.ready()
        sock = await dial(address)
        await wait_until(lambda: scene.worker._reception.handshakes.taken)
        await scene.boss.channel.send(Unlisten(["mesh"]))
        await scene.settled()
        identity = make_identity(authorities["west"], peer_of(authorities["east"]))
        west = WestGateway(scene.worker._reactor, await handshake(sock, identity.client_context("east"), server=False))
        await wait_until(lambda: west.conn.closed)
        assert west.goaways
        assert not scene.worker._clientele.peers


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
