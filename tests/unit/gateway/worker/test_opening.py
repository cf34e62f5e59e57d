"""When a new worker begins to accept."""

from __future__ import annotations

from pathlib import Path

import pytest

from gateway.control import (
    Certificate,
)
from gateway.transport.dial import dial, handshake
from gateway.tunnel.tunnels import TUNNELS_PER_GATEWAY
from tests.gateway_ends import (
    Backend,
    make_identity,
    peer_of,
    read,
    wait_until,
    wall_clock,
)
from tests.worker_rig import (
    GET,
    LOCAL,
    worker_at,
)
from trust.authority import Authority


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
    monkeypatch.setattr("gateway.worker.opening.FIRST_TUNNELS_S", 60.0)
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
    monkeypatch.setattr("gateway.worker.opening.FIRST_TUNNELS_S", 0.05)
    async with worker_at(tmp_path, authorities["east"], certify=False) as scene:
        http = await scene.boss.listen("http", "http")
        with await dial(http) as client:
            client.send(GET)
            assert (await read(client)).startswith(b"HTTP/1.1 404 ")
        assert not scene.worker._reception.accepts("mesh")
