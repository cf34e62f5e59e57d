"""The preferred cluster goes and comes every two seconds. `ISTHMUS_FLAPPING_S` is for how long (60 in a long run)."""

from __future__ import annotations

import os
from collections.abc import Iterator

import pytest

from gateway.demo.waiting import pause
from tests.fault_rig.clusters import FaultLab, open_fault_lab, three_clusters
from tests.fault_rig.load import Load, now

pytestmark = [pytest.mark.processes, pytest.mark.long]

PERIOD_S = 2.0
DURATION_S = float(os.environ.get("ISTHMUS_FLAPPING_S", "12"))


@pytest.fixture(scope="module")
def lab(tmp_path_factory: pytest.TempPathFactory) -> Iterator[FaultLab]:
    with open_fault_lab(tmp_path_factory.mktemp("lab"), *three_clusters(remote={"payments": 1})) as lab:
        yield lab


def test_a_flapping_cluster_costs_no_request_and_draws_no_load(lab: FaultLab) -> None:
    """No GET fails. It is held back for longer at each return, so that it soon gets next to nothing."""
    west, eu = lab["west"], lab["eu"]
    with Load(lab.plan(post_clients=0)) as load:
        load.wait_served_by(west.name)
        at = now()
        ends = at + DURATION_S
        while now() < ends:
            west.freeze()
            pause(PERIOD_S)
            west.thaw()
            pause(PERIOD_S)
        gets = load.account(since=at)
        late = load.account(since=ends - DURATION_S / 3)
        print(gets, "; in the last third:", late.by_cluster)
        assert gets.failed == 0
        assert late.by_cluster.get(west.name, 0) < 0.2 * late.by_cluster[eu.name]
