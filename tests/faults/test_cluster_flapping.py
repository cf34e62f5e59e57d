"""The preferred cluster goes and comes every two seconds, for a minute (`ISTHMUS_FLAPPING_S`, for less)."""

from __future__ import annotations

import os
from collections.abc import Iterator

import pytest

from gateway.demo.waiting import pause
from tests.fault_rig.clusters import FaultLab, open_fault_lab, three_clusters
from tests.fault_rig.explained import explained
from tests.fault_rig.load import Load, now

pytestmark = [pytest.mark.processes, pytest.mark.long]

PERIOD_S = 2.0
CYCLE_S = 2 * PERIOD_S
DURATION_S = float(os.environ.get("ISTHMUS_FLAPPING_S", "60"))
# What a cluster that is back may get in the two seconds until it goes again: two of the five seconds of its slow start.
SPILL = 0.4


@pytest.fixture(scope="module")
def lab(tmp_path_factory: pytest.TempPathFactory) -> Iterator[FaultLab]:
    with open_fault_lab(tmp_path_factory.mktemp("lab"), *three_clusters()) as lab:
        yield lab


def shares_of(load: Load, cluster: str, since: float) -> list[float]:
    """A cluster's share of the GETs of each time that it went and came."""
    shares = []
    while since + CYCLE_S <= now():
        served = load.account(since=since, until=since + CYCLE_S).by_cluster
        shares.append(served.get(cluster, 0) / max(1, sum(served.values())))
        since += CYCLE_S
    return shares


def test_a_flapping_cluster_costs_no_request_and_draws_no_load(lab: FaultLab) -> None:
    """No GET fails. The load does not swing: each return draws no more than the beginning of a slow start, and as it is
    held back for longer each time, it soon gets next to nothing."""
    west = lab["west"]
    with Load(lab.plan(tcp="ledger")) as load:
        load.wait_served_by(west.name)
        at = now()
        for _ in range(int(DURATION_S / CYCLE_S)):
            west.freeze()
            pause(PERIOD_S)
            west.thaw()
            pause(PERIOD_S)
        gets = load.report("cluster flapping", since=at)
        shares = shares_of(load, west.name, at)
        print("west's share each time:", [f"{share:.0%}" for share in shares])
        assert gets.failed == 0
        assert max(shares) < SPILL
        assert all(share < 0.1 for share in shares[len(shares) // 3 :])
        said = explained(lab, lambda e: "west keeps going and coming, and is held back for" in e.summary)
        assert said.summary.startswith("eu gets 100 %: ")
