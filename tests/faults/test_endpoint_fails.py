"""Endpoints fail: one of three answers 500, a whole remote service does, all local ones are unhealthy, all are gone."""

from __future__ import annotations

from collections.abc import Iterator

import pytest

from tests.fault_rig.clusters import FaultLab, Site, open_fault_lab
from tests.fault_rig.explained import explained, told
from tests.fault_rig.load import Load, now
from tests.fault_rig.rounds import within

pytestmark = [pytest.mark.processes, pytest.mark.long]

HEALTH_S = 1.0
"""Interval times fall: 500 ms and 2."""
FAST_S = 1.0
"""For a refusal; the suite shares its machine. It takes a few milliseconds."""


@pytest.fixture(scope="module")
def lab(tmp_path_factory: pytest.TempPathFactory) -> Iterator[FaultLab]:
    services = {"payments": 3, "orders": 1, "ledger": 1}
    sites = [
        Site("east", {"stock": 2}, failover=("west", "eu")),
        Site("west", {**services, "stock": 1}),
        Site("eu", {**services, "stock": 1}),
    ]
    with open_fault_lab(tmp_path_factory.mktemp("lab"), *sites) as lab:
        yield lab


def test_one_of_three_endpoints_answers_500_to_all(lab: FaultLab) -> None:
    """West ejects it, and nothing fails after that: neither the service nor the cluster is ejected for it."""
    west = lab["west"]
    bad = f"west:{west.endpoint_ports['payments'][0]}"
    with Load(lab.plan(tcp="ledger")) as load:
        load.wait_served_by("west")
        west.tell("payments", 0, status=500)
        load.wait(lambda samples: len(samples) > 200 and all(sample.good for sample in samples[-200:]), "it is ejected")
        at = now()
        load.wait_more(100)
        gets = load.report("one of three endpoints answers 500, after its ejection", since=at)
        assert gets.failed == 0
        assert bad not in gets.by_server
        assert gets.by_cluster.keys() == {"west"}
        explained(lab, lambda e: e.ejections, gateway=west.gateways[0])
        told(lab, "ejected", gateway=west.gateways[0])
        explained(lab, lambda e: e.summary == "west gets 100 %: failover.order 1")
    west.tell("payments", 0, status=200)


def test_peers_03_a_remote_service_fails_and_no_other_suffers(lab: FaultLab) -> None:
    """Only that service in that cluster is ejected: its neighbour is served there without one failure."""
    west = lab["west"]
    with Load(lab.plan("orders", post_clients=0)) as failing, Load(lab.plan(tcp="ledger")) as fine:
        failing.wait_served_by("west")
        fine.wait_served_by("west")
        at = now()
        west.tell("orders", 0, status=500)
        failing.wait_served_by("eu")
        fine.wait_more(100)
        others = fine.report("another service of the cluster fails", since=at)
        failing.report("a remote service fails", since=at)
        explained(lab, lambda e: e.summary.startswith("eu gets 100 %: it is ejected in west for "), "orders")
        told(lab, "ejected", "failed-over", service="orders")
        explained(lab, lambda e: e.summary == "west gets 100 %: failover.order 1")
        assert others.failed == 0
        assert others.by_cluster.keys() == {"west"}
    west.tell("orders", 0, status=200)


def test_all_local_endpoints_are_unhealthy(lab: FaultLab) -> None:
    """They still answer, so nothing fails; after interval times fall the load is elsewhere, and it comes back."""
    east = lab["east"]
    with Load(lab.plan("stock")) as load:

        def all_unhealthy() -> float:
            load.wait_served_by("east")
            at = now()
            for number in range(2):
                east.tell("stock", number, health=503)
            load.wait_served_by("west")
            said = explained(lab, lambda e: e.summary.startswith("west gets 100 %: east has 0 of 2 healthy"), "stock")
            assert "(http check http-503 since " in said.summary
            for number in range(2):
                east.tell("stock", number, health=200)
            load.wait_served_by("east")
            gets = load.report("all local endpoints unhealthy", since=at)
            assert gets.failed == 0
            return gets.gap_s

        within(HEALTH_S, all_unhealthy)
        told(lab, "endpoint-unhealthy", "failed-over", "recovered", service="stock")


def test_when_all_is_gone_the_refusal_is_fast_and_says_why(lab: FaultLab) -> None:
    """Both remote clusters are dead and the local endpoints too: nobody waits for a timeout."""
    with Load(lab.plan("stock", post_clients=0)) as load:
        load.wait_served_by("east")
        for name in ("west", "eu"):
            lab[name].kill()
        lab["east"].endpoints.kill()
        load.wait(
            lambda samples: {(s.status, s.problem) for s in samples[-30:]} == {(503, "no-healthy-upstream")},
            "all are refused, and it is said why",
        )
        slowest = max(sample.took_s for sample in load.samples if not sample.good)
        print(f"[all gone] the slowest refusal took {slowest * 1000:.0f} ms")
        said = explained(lab, lambda e: e.summary.startswith("nothing gets it, requests are refused: "), "stock")
        for problem in ("east has 0 of 2 healthy (", "no tunnel to west is ready", "no tunnel to eu is ready"):
            assert problem in said.summary
        told(lab, "exhausted", service="stock")
        assert slowest < FAST_S
