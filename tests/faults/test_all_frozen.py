"""Nothing is left: local endpoints are unhealthy, and every other cluster stands still (SIGSTOP), so nobody refuses."""

from __future__ import annotations

from collections.abc import Iterator

import pytest

from tests.fault_rig.clusters import FaultLab, Site, open_fault_lab
from tests.fault_rig.explained import explained, told
from tests.fault_rig.load import Load, now
from tests.fault_rig.rounds import within
from tests.fault_rig.samples import Sample

pytestmark = [pytest.mark.processes, pytest.mark.long]

FIRST_LIMIT_S = 3.0
"""For those that were under way, or came before anybody could know: a PING's interval, its answer's time, and a load's
client in between."""
LATER_LIMIT_S = 0.1
"""For those that come when it is known."""
SETTLED = 100


@pytest.fixture(scope="module")
def lab(tmp_path_factory: pytest.TempPathFactory) -> Iterator[FaultLab]:
    sites = [
        Site("east", {"stock": 2}, failover=("west", "eu")),
        Site("west", {"stock": 1}),
        Site("eu", {"stock": 1}),
    ]
    with open_fault_lab(tmp_path_factory.mktemp("lab"), *sites) as lab:
        yield lab


def refused(sample: Sample) -> bool:
    return (sample.status, sample.problem) == (503, "no-healthy-upstream")


def test_when_all_is_frozen_the_refusal_is_fast_and_says_why(lab: FaultLab) -> None:
    """Nobody waits in a mute tunnel for an answer that will not come, and all is well as soon as one cluster moves
    again."""
    east, others = lab["east"], [lab["west"], lab["eu"]]

    def tell_health(status: int) -> None:
        for number in range(2):
            east.tell("stock", number, health=status)

    with Load(lab.plan("stock", post_clients=0)) as load:
        load.wait_served_by("east")
        tell_health(503)

        def freeze_all() -> float:
            load.wait_served_by("west", "eu")
            at = now()
            for cluster in others:
                cluster.freeze()
            load.wait(
                lambda samples: all(refused(s) for s in samples[-SETTLED:]), "all are refused, and it is said why"
            )
            seen = [sample for sample in load.samples if sample.ended >= at]
            assert all(sample.good or refused(sample) for sample in seen), {sample.problem for sample in seen}
            first = max(sample.took_s for sample in seen)
            later = sorted(sample.took_s for sample in seen[-SETTLED:])[SETTLED // 2]
            print(f"[all frozen] the slowest took {first * 1000:.0f} ms, half of the later ones {later * 1000:.1f} ms")
            assert later < LATER_LIMIT_S
            said = explained(lab, lambda e: e.summary.startswith("nothing gets it, requests are refused: "), "stock")
            for problem in (
                "east has 0 of 2 healthy (http check http-503 since ",
                "no tunnel to west is ready (no answer to a PING within ",
                "no tunnel to eu is ready (no answer to a PING within ",
            ):
                assert problem in said.summary
            told(lab, "exhausted", service="stock")
            for cluster in others:
                cluster.thaw()
            return first

        within(FIRST_LIMIT_S, freeze_all)
        load.wait_served_by("west", "eu")
        tell_health(200)
        load.wait_served_by("east")
