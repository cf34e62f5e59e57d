"""Clusters share a service by weight, and one of them dies."""

from __future__ import annotations

from collections.abc import Iterator

import pytest

from tests.fault_rig.clusters import FaultLab, Site, open_fault_lab
from tests.fault_rig.explained import explained
from tests.fault_rig.load import Load, now

pytestmark = [pytest.mark.processes, pytest.mark.long]

WEIGHTS = """\
failover:
  services:
    shop/payments: {weights: {west: 50, eu: 50}}
"""


@pytest.fixture(scope="module")
def lab(tmp_path_factory: pytest.TempPathFactory) -> Iterator[FaultLab]:
    services = {"payments": 1}
    sites = [Site("east", sections=WEIGHTS), Site("west", services), Site("eu", services)]
    with open_fault_lab(tmp_path_factory.mktemp("lab"), *sites) as lab:
        yield lab


def test_peers_04_weights_do_not_disable_failover(lab: FaultLab) -> None:
    """Both get their part; when one is dead, the other gets all, and no GET fails."""
    with Load(lab.plan(post_clients=0)) as load:
        load.wait_served_by("west", "eu")
        before = now()
        load.wait_more(200)
        served = load.account(since=before).by_cluster
        assert 0.3 < served["west"] / sum(served.values()) < 0.7
        at = now()
        lab["west"].kill()
        load.wait_served_by("eu")
        load.wait_more()
        gets = load.report("weighted cluster killed", since=at)
        explained(lab, lambda e: e.summary.startswith("eu gets 100 %: no tunnel to west is ready"))
        assert gets.failed == 0
