"""Every process of the preferred cluster is killed: gateways, workers, endpoints."""

from __future__ import annotations

from collections.abc import Iterator

import pytest

from tests.fault_rig.clusters import FaultLab, open_fault_lab, three_clusters
from tests.fault_rig.explained import explained, told
from tests.fault_rig.load import Load, now
from tests.fault_rig.rounds import within
from tests.fault_rig.samples import Account

pytestmark = pytest.mark.processes

GAP_LIMIT_S = 0.1
ANY_GAP_LIMIT_S = 2.0
"""Where the whole suite runs: the machine is busy with the start of a cluster, and with other tests."""


@pytest.fixture(scope="module")
def lab(tmp_path_factory: pytest.TempPathFactory) -> Iterator[FaultLab]:
    with open_fault_lab(tmp_path_factory.mktemp("lab"), *three_clusters()) as lab:
        yield lab


def test_peers_01_a_dead_cluster_gets_no_traffic(lab: FaultLab) -> None:
    """No GET fails, neither those that were under way nor those that come later, and when the cluster is back, it gets
    its traffic back without a failure. A POST that was sent can't be repeated, nor can a TCP stream: each client loses
    at most the one that was under way. And nobody waits for long."""
    with Load(lab.plan(tcp="ledger")) as load:

        def longest_gap_s() -> float:
            at = now()
            kill_and_restart(lab, load)
            told(lab, "failed-over", "recovered")
            accounts = [load.account(kind, since=at) for kind in ("post", "tcp")]
            for account in accounts:
                assert account.failed <= 1, account
            return max(account.gap_s for account in (load.account(since=at), *accounts))

        within(ANY_GAP_LIMIT_S, longest_gap_s)


@pytest.mark.long
def test_a_killed_cluster_delays_no_get_for_a_tenth_of_a_second(lab: FaultLab) -> None:
    """Its kernel ends the tunnels, so nobody has to wait for a silence."""
    with Load(lab.plan(post_clients=0)) as load:
        within(GAP_LIMIT_S, lambda: kill_and_restart(lab, load).gap_s)


def kill_and_restart(lab: FaultLab, load: Load) -> Account:
    """What GETs saw of the kill, until the cluster is started again, which takes a machine's CPUs for itself."""
    load.wait_served_by("west")
    at = now()
    lab["west"].kill()
    load.wait_served_by("eu")
    killed = now()
    load.wait_more()
    if load.plan.tcp:
        load.wait_more(10, "tcp")
    explained(lab, lambda e: e.summary.startswith("eu gets 100 %: no tunnel to west is ready"))
    gets = load.report("cluster killed", since=at)
    started = now()
    lab["west"].start()
    load.wait_served_by("west")
    whole = load.report("cluster killed and back", since=at)
    assert whole.failed == 0
    assert load.account(since=killed, until=started).by_cluster.keys() == {"eu"}
    explained(lab, lambda e: e.summary == "west gets 100 %: failover.order 1")
    return gets
