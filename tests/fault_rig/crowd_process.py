"""`python -m tests.fault_rig.crowd_process PLAN`: the tunnels of many workers of one cluster to one gateway of another.

They are what workers have (`gateway.tunnel.tunnels`), each with an SVID of its own, without all else that a worker is.
The plan is JSON (`CrowdPlan`). A line of JSON (`CrowdSample`) says ten times a second how many tunnels answer. It ends
when its standard input does.
"""

from __future__ import annotations

import random
import sys
from datetime import UTC, datetime
from pathlib import Path

import msgspec
import trio

from gateway.codec.choose import mesh_codec
from gateway.demo.waiting import seconds
from gateway.snapshot import GatewayAddress, PeerResource
from gateway.transport.reactor import Reactor
from gateway.tunnel.tunnels import Tunnels
from tests.gateway_ends import make_identity, wall_clock
from trust.authority import Authority

_SAMPLE_S = 0.1


class CrowdPlan(msgspec.Struct, frozen=True):
    """Workers of the cluster whose CA is in `ca_directory`, and the gateway that all of them know."""

    workers: int
    ca_directory: str
    trust_domain: str
    peer: str
    peer_trust_domain: str
    peer_root: bytes
    address: str


class CrowdSample(msgspec.Struct, frozen=True, array_like=True):
    at: float
    """Of the monotonic clock, which all processes of a machine share."""
    ready: int
    """Tunnels that answer."""


async def run(plan: CrowdPlan) -> None:
    authority = Authority.load_or_create(Path(plan.ca_directory), plan.trust_domain, datetime.now(UTC))
    gateway = GatewayAddress("its only one", (plan.address,))
    peer = PeerResource(plan.peer, plan.peer_trust_domain, (plan.peer_root,), (gateway,))
    reactor = Reactor()
    async with trio.open_nursery() as nursery:
        nursery.start_soon(reactor.run)
        nursery.start_soon(reactor.keep_time)
        crowd = [
            Tunnels(
                make_identity(authority, peer),
                reactor,
                nursery,
                make_codec=lambda: mesh_codec("auto", client=True),
                wall_clock=wall_clock,
                changed=lambda: None,
                rng=random.Random(worker),
            )
            for worker in range(plan.workers)
        ]
        for tunnels in crowd:
            tunnels.set_peer(peer)
        nursery.start_soon(_tell, crowd)
        await trio.to_thread.run_sync(sys.stdin.read, abandon_on_cancel=True)
        nursery.cancel_scope.cancel()


async def _tell(crowd: list[Tunnels]) -> None:
    while True:
        ready = sum(report.ready for tunnels in crowd for report in tunnels.report())
        print(msgspec.json.encode(CrowdSample(seconds(), ready)).decode(), flush=True)
        await trio.sleep(_SAMPLE_S)


if __name__ == "__main__":
    trio.run(run, msgspec.json.decode(sys.argv[1], type=CrowdPlan))
