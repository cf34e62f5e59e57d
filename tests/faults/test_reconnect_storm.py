"""A gateway is away, and all workers of its peers lose their tunnels in the same moment: how they come back."""

from __future__ import annotations

import os
import signal
from collections.abc import Iterator

import msgspec
import pytest

from gateway.controller.loopback_ports import LOOPBACK
from gateway.demo.waiting import pause, wait_until
from gateway.worker.handshake_slots import HANDSHAKES_PER_ADDRESS
from tests.fault_rig.clusters import FaultLab, Gateway, Site, open_fault_lab
from tests.fault_rig.crowd import Crowd, Doorbell
from tests.fault_rig.explained import explained
from tests.fault_rig.load import Load, now
from tests.ports import free_port

pytestmark = [pytest.mark.processes, pytest.mark.long]

WORKERS = 60
"""Of eu, with two tunnels each: twice as many as there is room for handshakes of one address."""
AWAY_S = 5.0
KNOCKS_LIMIT = 12
"""Of one tunnel while the gateway is away: eight, if no wait is shortened."""
TENTH_LIMIT = 1 / 3
"""Of all tunnels, how many may knock in the same tenth of a second, once they have waited a few times."""

HELD_LIMIT_S = 1.0
"""For the gateway's own clients, whose requests are carried between two steps of handshakes: 12 ms were seen."""


@pytest.fixture(scope="module")
def lab(tmp_path_factory: pytest.TempPathFactory) -> Iterator[FaultLab]:
    services = {"payments": 1}
    sites = [
        Site("east", failover=("west", "eu")),
        Site("west", services, mesh_port=free_port()),
        Site("eu", services),
    ]
    with open_fault_lab(tmp_path_factory.mktemp("lab"), *sites) as lab:
        yield lab


@pytest.fixture(scope="module")
def address(lab: FaultLab) -> str:
    """Where west's gateway is, also when it is back."""
    return f"{LOOPBACK}:{lab['west'].site.mesh_port}"


@pytest.fixture
def crowd(lab: FaultLab, address: str) -> Iterator[Crowd]:
    with Crowd(WORKERS, lab["eu"], lab["west"], address) as crowd:
        crowd.wait_ready()
        yield crowd


def handshakes(gateway: Gateway) -> tuple[int, int]:
    """How many connections of peers were accepted, and how many refused."""
    counts = {"isthmus_accepted_connections_total": 0, "isthmus_refusals_total": 0}
    for line in gateway.ask("/metrics").decode().splitlines():
        name, _, labels = line.partition("{")
        if name in counts and 'listener="mesh"' in labels:
            counts[name] += int(float(line.rpartition(" ")[2]))
    return counts["isthmus_accepted_connections_total"], counts["isthmus_refusals_total"]


def test_peers_08_a_storm_of_reconnects_holds_nobody_up(lab: FaultLab, address: str, crowd: Crowd) -> None:
    """West is killed and is back after some seconds. While it is away nobody hammers at its door, nor do all knock in
    the same moment. When it is back, all have their tunnels again after a few tries each, its own clients are served
    meanwhile, and east's load moves there and back without a failed GET."""
    west = lab["west"].gateways[0]
    with Load(lab.plan(post_clients=0)) as load:
        load.wait_served_by("west")
        at = now()
        west.kill()
        with Doorbell(address) as doorbell:
            crowd.wait_lost()
            load.wait_served_by("eu")
            pause(AWAY_S)
        per_tunnel = len(doorbell.knocks) / crowd.wanted
        tenth = busiest_tenth(doorbell.knocks, since=doorbell.knocks[-1] - AWAY_S / 2) / crowd.wanted
        print(f"[reconnect storm] {per_tunnel:.1f} knocks a tunnel, {tenth:.0%} of the tunnels in the busiest 100 ms")
        assert per_tunnel < KNOCKS_LIMIT
        assert tenth < TENTH_LIMIT
        west.start()
        own = msgspec.structs.replace(load.plan, http=http_of(west))
        wait_until(lambda: west.ask("/readyz"), "west is ready")
        with Load(own) as served:
            crowd.wait_ready()
            took_s = now() - served.samples[0].began
            served.wait_more()
            assert served.report("a storm comes back, its own clients", since=at).failed == 0
            # The first waited in the door until the worker was there.
            held_s = max(sample.took_s for sample in served.samples if sample.began > served.samples[0].ended)
            assert held_s < HELD_LIMIT_S
        load.wait_served_by("west")
        assert load.report("a storm comes back", since=at).failed == 0
        explained(lab, lambda e: e.summary == "west gets 100 %: failover.order 1")
    accepted, refused = handshakes(west)
    print(f"[reconnect storm] {accepted} accepted, {refused} refused, all there {took_s:.1f} s after its clients came")
    print(f"[reconnect storm] its own clients waited {held_s * 1000:.0f} ms at most once the first was served")
    assert accepted < 3 * crowd.wanted


def test_peers_08_a_worker_that_is_replaced_takes_its_peers_back_in_turn(lab: FaultLab, crowd: Crowd) -> None:
    """The door stays open while there is nobody behind it, so all stand there when the new worker comes. It shakes
    hands with as many as there is room for, and the others come again; no GET fails."""
    assert crowd.wanted > HANDSHAKES_PER_ADDRESS
    west = lab["west"].gateways[0]
    with Load(lab.plan(post_clients=0)) as load:
        load.wait_served_by("west")
        at = now()
        [worker] = west.status().workers
        os.kill(worker.pid, signal.SIGKILL)
        crowd.wait_lost()
        crowd.wait_ready()
        load.wait_served_by("west")
        assert load.report("a worker's peers come back", since=at).failed == 0
    accepted, refused = handshakes(west)
    print(f"[reconnect storm] {accepted} accepted, {refused} refused")


def busiest_tenth(knocks: list[float], since: float) -> int:
    """How many came in the same tenth of a second."""
    late = [at for at in knocks if at >= since]
    return max(sum(at <= other < at + 0.1 for other in late) for at in late)


def http_of(gateway: Gateway) -> tuple[str, int]:
    host, _, port = gateway.addresses.http.rpartition(":")
    return host, int(port)
