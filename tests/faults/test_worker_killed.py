"""A worker is killed under load: it costs what it carried, and the one that comes in its place refuses nothing."""

from __future__ import annotations

import os
import signal
from collections.abc import Iterator

import pytest

from gateway.demo.waiting import wait_until
from tests.fault_rig.clusters import FaultLab, Gateway, Site, open_fault_lab
from tests.fault_rig.load import Load, now

pytestmark = [pytest.mark.processes, pytest.mark.long]

KILLS = 3


@pytest.fixture(scope="module")
def lab(tmp_path_factory: pytest.TempPathFactory) -> Iterator[FaultLab]:
    """The service runs in west alone: without a tunnel, east would have to refuse."""
    with open_fault_lab(tmp_path_factory.mktemp("lab"), Site("east"), Site("west", {"payments": 1})) as lab:
        yield lab


def worker(gateway: Gateway) -> int:
    """The only one."""

    def ready() -> int:
        workers = gateway.status().workers
        return workers[0].pid if len(workers) == 1 and workers[0].ready else 0

    return wait_until(ready, "one worker serves", timeout_s=30)


def kill_worker(gateway: Gateway) -> None:
    pid = worker(gateway)
    os.kill(pid, signal.SIGKILL)
    wait_until(lambda: worker(gateway) != pid, "another serves in its place", timeout_s=30)


def test_a_new_worker_has_its_tunnels_before_it_accepts(lab: FaultLab) -> None:
    """Those whose requests it carried find their connection closed. Nobody is told that there is no way to west."""
    plan = lab.plan()
    with Load(plan) as load:
        load.wait_served_by("west")
        began = now()
        for _ in range(KILLS):
            kill_worker(lab.gateway)
            load.wait_more(30)
        load.wait_served_by("west")
        for kind, clients in (("get", plan.get_clients), ("post", plan.post_clients)):
            account = load.account(kind, since=began)
            print(account)
            assert not [sample for sample in load.samples if sample.kind == kind and sample.status not in (0, 200)]
            assert account.failed <= KILLS * clients


def test_a_worker_killed_in_the_other_cluster_costs_no_get(lab: FaultLab) -> None:
    """East asks once more over the new tunnels, and waits for them rather than refuse."""
    with Load(lab.plan()) as load:
        load.wait_served_by("west")
        began = now()
        kill_worker(lab["west"].gateways[0])
        load.wait_served_by("west")
        account = load.account(since=began)
        print(account)
        assert account.failed == 0
