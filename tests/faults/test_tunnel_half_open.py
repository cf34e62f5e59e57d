"""A tunnel is half-open: its peer is gone, rebooted say, without a word, and a new one would work."""

from __future__ import annotations

from collections.abc import Iterator

import pytest

from gateway.controller.loopback_ports import LOOPBACK
from gateway.demo.waiting import wait_until
from tests.fault_rig.clusters import FaultLab, Site, open_fault_lab
from tests.fault_rig.explained import explained
from tests.fault_rig.forwarder import Forwarder
from tests.fault_rig.load import Load, now
from tests.fault_rig.rounds import within
from tests.ports import free_port

pytestmark = [pytest.mark.processes, pytest.mark.long]

GAP_LIMIT_S = 1.0


@pytest.fixture(scope="module")
def network() -> Iterator[Forwarder]:
    """What lies between east and west."""
    with Forwarder((LOOPBACK, 0), f"{LOOPBACK}:{free_port()}") as network:
        yield network


@pytest.fixture(scope="module")
def lab(tmp_path_factory: pytest.TempPathFactory, network: Forwarder) -> Iterator[FaultLab]:
    """West alone has the service: a request that leaves its silent tunnel has to wait for a new one to west."""
    port = int(network.target.rpartition(":")[2])
    west = Site("west", {"payments": 1, "ledger": 1}, mesh_port=port, advertise=network.address)
    with open_fault_lab(tmp_path_factory.mktemp("lab"), Site("east"), west) as lab:
        yield lab


def test_a_half_open_tunnel_is_replaced(lab: FaultLab, network: Forwarder) -> None:
    """What waits on the old tunnels goes over the new ones: no GET fails, though there is no other cluster."""
    with Load(lab.plan(tcp="ledger")) as load:

        def forget() -> float:
            load.wait_served_by("west")
            at = now()
            network.forget()
            wait_until(lambda: not network.open, "what was open is forgotten")
            wait_until(lambda: network.open, "there are new tunnels")
            load.wait_more()
            load.wait_more(10, "tcp")
            gets = load.report("tunnels half-open", since=at)
            explained(lab, lambda e: e.summary.startswith("west gets 100 %: ") and e.places[0].tunnels == 2)
            assert gets.failed == 0
            return gets.gap_s

        within(GAP_LIMIT_S, forget)
