"""Every process of the preferred cluster stands still (SIGSTOP): connections stay open, and nothing is answered."""

from __future__ import annotations

from collections.abc import Iterator

import pytest

from tests.fault_rig.clusters import FaultLab, Site, open_fault_lab
from tests.fault_rig.explained import explained, told
from tests.fault_rig.load import Load, now
from tests.fault_rig.rounds import within

pytestmark = [pytest.mark.processes, pytest.mark.long]

GAP_LIMIT_S = 1.0


@pytest.fixture(scope="module")
def lab(tmp_path_factory: pytest.TempPathFactory) -> Iterator[FaultLab]:
    """Nothing is configured for failover: no order, no health checks, no ejection. Eu is in east's region, so it is the
    first, however fast each answers on a busy machine."""
    services = {"payments": 1, "ledger": 1}
    sites = [
        Site("east", region="here"),
        Site("eu", services, health="", region="here"),
        Site("west", services, health=""),
    ]
    with open_fault_lab(tmp_path_factory.mktemp("lab"), *sites) as lab:
        yield lab


def test_peers_02_failover_needs_no_settings(lab: FaultLab) -> None:
    """What was under way goes elsewhere, what is new does not go there, and when the cluster moves again, it gets its
    traffic back."""
    for gateway in (lab.gateway, *lab["eu"].gateways):
        text = gateway.config_path.read_text()
        assert "failover:" not in text
        assert "health:" not in text
    with Load(lab.plan(tcp="ledger")) as load:

        def freeze() -> float:
            load.wait_served_by("eu")
            at = now()
            lab["eu"].freeze()
            load.wait_served_by("west")
            load.wait_more(10, "tcp")
            problem = "no tunnel to eu is ready (no answer to a PING"
            explained(lab, lambda e: any(p.cluster == "eu" and p.problem.startswith(problem) for p in e.places))
            lab["eu"].thaw()
            load.wait_served_by("eu")
            gets = load.report("cluster frozen", since=at)
            assert gets.failed == 0
            for kind in ("post", "tcp"):
                account = load.account(kind, since=at)
                assert account.failed <= 1, account
            return gets.gap_s

        within(GAP_LIMIT_S, freeze)
        told(lab, "failed-over", "recovered")
