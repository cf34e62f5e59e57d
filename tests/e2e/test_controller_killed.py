"""Static stability: the processes of a gateway die one by one, and requests go on."""

from __future__ import annotations

import os
import signal

import pytest

from gateway.demo.dns_client import DnsQuestion
from gateway.demo.group import living_members
from gateway.demo.http_client import HttpRequest
from gateway.demo.lab import Cluster, Lab
from gateway.demo.load import Load, LoadAccount
from gateway.demo.members import name_of
from gateway.demo.waiting import wait_until
from tests.fault_rig.rounds import ROUNDS

pytestmark = pytest.mark.processes


def workers(cluster: Cluster) -> set[int]:
    return {worker.pid for worker in cluster.status().workers if worker.ready}


@pytest.mark.parametrize("victim", ["east", "west"])
def test_a_killed_controller_costs_no_request(lab: Lab, victim: str) -> None:
    """SIGKILL to the controller under load, on the asking and on the answering side. Its workers serve on with what
    they know, and the next controller takes them over as they are."""
    # A machine that stands still for a moment has another cluster answer, once, whatever was killed.
    for _ in range(ROUNDS):
        account = killed_under_load(lab, lab[victim])
        assert account.failures == ()
        if set(account.by_cluster) == {"west"}:
            break
        wait_until(lambda: not lab["east"].status().diversions, "west answers all again", timeout_s=60)
    else:
        pytest.fail(f"another cluster answered each time: {account}")


def killed_under_load(lab: Lab, cluster: Cluster) -> LoadAccount:
    """What a load saw from before the kill until the next controller has what the one before had."""
    before = workers(cluster)
    listeners = {(ln.name, ln.address) for ln in cluster.status().listeners if ln.kind not in ("status",)}
    controller = cluster.group.pid("gateway")
    with Load(lab["east"].addresses.http, lab.authority("payments")) as load:
        wait_until(lambda: load.account().sent > 20, "the load runs")
        os.kill(controller, signal.SIGKILL)
        wait_until(lambda: cluster.group.pid("gateway") not in (0, controller), "the next controller starts")
        wait_until(lambda: workers(cluster) == before, f"{cluster.name}'s workers are adopted")
        cluster.wait_ready()
        served = load.account().sent
        wait_until(lambda: load.account().sent > served + 40, "the load goes on")
        account = load.stop()
    after = {(ln.name, ln.address) for ln in cluster.status().listeners if ln.kind not in ("status",)}
    assert after == listeners
    return account


def test_a_killed_worker_is_replaced(lab: Lab) -> None:
    """Its own connections end, which only it could keep; new ones are served by the other worker at once, and soon
    by two again."""
    east = lab["east"]
    before = workers(east)
    victim = min(before)
    os.kill(victim, signal.SIGKILL)
    answers = [HttpRequest(lab.authority("payments"), east.addresses.http).send() for _ in range(10)]
    assert {answer.status for answer in answers} == {200}
    question = DnsQuestion(name_of("payments"), east.addresses.dns)
    assert all(question.ask().records for _ in range(5))

    def replaced() -> set[int]:
        now = workers(east)
        return now - before if len(now) == 2 and victim not in now else set()

    assert len(wait_until(replaced, "a new worker serves")) == 1


def test_start_without_etcd(lab: Lab) -> None:
    """A gateway that starts while etcd is down serves what it knew: names, requests, TCP addresses."""
    east = lab["east"]
    vip = east.vip("payments")
    lab.etcd.kill()
    try:
        east.kill()
        east.start()
        wait_until(lambda: east.status().ready, "east serves")
        answer = wait_until(
            lambda: a if (a := DnsQuestion(name_of("payments"), east.addresses.dns).ask()).records else None,
            "east resolves payments",
        )
        assert answer.records == (vip,)
        request = HttpRequest(lab.authority("payments"), east.addresses.http)
        wait_until(lambda: request.send().served_by == "west", "east reaches west")
    finally:
        lab.etcd.start()
    lab.wait_ready()


def test_a_stopped_gateway_leaves_nothing(lab: Lab) -> None:
    """SIGTERM: the workers drain and end, the controller after them; the peers hear of it at once, and nothing fails
    where another cluster can answer."""
    west = lab["west"]
    with Load(lab["east"].addresses.http, lab.authority("payments")) as load:
        wait_until(lambda: load.account().sent > 20, "the load runs")
        gateway = west.group.pid("gateway")
        group = west.group.id
        west.stop()
        assert gateway not in living_members(group)
        wait_until(lambda: load.account().by_cluster.get("eu", 0) > 40, "eu answers")
        account = load.stop()
    west.start()
    assert account.failures == ()
    log = (west.directory / "gateway.log").read_text()
    assert "Traceback" not in log
    assert "draining" in log
