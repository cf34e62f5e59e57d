"""A peer cannot be reached when a gateway starts: it is in etcd, and nobody answers where it says that it is."""

from __future__ import annotations

from collections.abc import Iterator

import pytest

from tests.fault_rig.clusters import FaultLab, Site, open_fault_lab
from tests.fault_rig.explained import explained
from tests.fault_rig.load import Load

pytestmark = [pytest.mark.processes, pytest.mark.long]


@pytest.fixture(scope="module")
def lab(tmp_path_factory: pytest.TempPathFactory) -> Iterator[FaultLab]:
    sites = (
        Site("east", {"stock": 1}, failover=("west", "eu")),
        Site("west", {"payments": 1}),
        Site("eu", {"payments": 1}),
    )
    with open_fault_lab(tmp_path_factory.mktemp("lab"), *sites) as lab:
        yield lab


def test_peers_06_an_unreachable_peer_stops_nobody_from_starting(lab: FaultLab) -> None:
    """West is frozen, so that it neither answers nor refuses. East starts anew, and serves its own services and those
    of the peer that answers; west is a problem to be told, not one to wait for."""
    lab["west"].freeze()
    lab.gateway.kill()
    lab.gateway.start()
    assert lab.gateway.addresses
    with Load(lab.plan("stock")) as own, Load(lab.plan()) as remote:
        own.wait_served_by("east")
        remote.wait_served_by("eu")
    explained(lab, lambda e: e.summary.startswith("eu gets 100 %: no tunnel to west is ready"))
    lab["west"].thaw()
