"""An endpoint comes and goes a hundred times a second, under load: each change is a new snapshot in every worker."""

from __future__ import annotations

import os
import re
import signal
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from gateway.demo.waiting import wait_until
from tests.fault_rig.clusters import FaultLab, Gateway, Site, open_fault_lab
from tests.fault_rig.load import Load, now

pytestmark = [pytest.mark.processes, pytest.mark.long]

CHANGES = 1_000
INTERVAL_S = 0.01
TAKEN = 150
"""So many are taken in on any machine. Signals that come together are one reload, which has the last of them."""
PACE = 0.9
"""Of all changes, where the machine had time to spare: a reload that the disk held up for 20 ms is two in one."""
IDLE = 0.05
"""Of all CPUs. Below that, what bounds the pace is the machine, with clients and endpoints on it."""
_TAKEN = re.compile(r'^isthmus_snapshot_changes_total\{kind="service"\} ([0-9.e+]+)$', re.M)


@pytest.fixture(scope="module")
def lab(tmp_path_factory: pytest.TempPathFactory) -> Iterator[FaultLab]:
    """With the default check, of TCP: an endpoint takes requests from the moment when it is named, and what its first
    check says is one more change."""
    sites = Site("east", {"stock": 2}, health=""), Site("west", {"payments": 2}, health="")
    with open_fault_lab(tmp_path_factory.mktemp("lab"), *sites) as lab:
        yield lab


class Churn:
    """A gateway whose configuration names the second endpoint of its service, or does not."""

    def __init__(self, gateway: Gateway, *, exported: bool = True) -> None:
        self._gateway = gateway
        self._both = gateway.config_path.read_text() if exported else _without_exports(gateway)
        self._one = re.sub(r"(endpoints: \[\{[^}]*\}), \{[^}]*\}\]", r"\1]", self._both)
        assert self._one != self._both
        self._before = self._counted

    def change(self, number: int) -> None:
        path = self._gateway.config_path
        new = path.with_suffix(".new")
        new.write_text(self._one if number % 2 else self._both)
        new.replace(path)
        os.kill(self._gateway.group.pid("gateway"), signal.SIGHUP)

    @property
    def _counted(self) -> int:
        (count,) = _TAKEN.findall(self._gateway.ask("/metrics").decode())
        return int(float(count))

    @property
    def taken(self) -> int:
        """How many changes of a service the gateway's worker took in so far: one for an endpoint that goes, two for one
        that comes and is then found healthy."""
        return self._counted - self._before


def test_an_endpoint_that_comes_and_goes_loses_no_request(lab: FaultLab) -> None:
    """Here and in the other cluster, for GET and for POST: what is under way at an endpoint that goes ends there."""
    # What east has for itself changes nothing in west, so that each change that west's worker counts is its own.
    churns = [Churn(lab.gateway, exported=False), Churn(lab["west"].gateways[0])]
    with Load(lab.plan("stock", interval_ms=40)) as near, Load(lab.plan("payments", interval_ms=40)) as far:
        near.wait_served_by("east")
        far.wait_served_by("west")
        began, idle_before = now(), idle_s()
        for number in range(CHANGES):
            for churn in churns:
                churn.change(number)
            time.sleep(max(0.0, began + (number + 1) * INTERVAL_S - now()))
        took_s = now() - began
        idle = (idle_s() - idle_before) / took_s / (os.cpu_count() or 1)
        near.wait_more()
        far.wait_more()
        wanted = CHANGES * PACE if idle > IDLE else TAKEN
        wait_until(lambda: all(churn.taken >= wanted for churn in churns), "the workers took the changes in")
        print(f"workers took {[churn.taken for churn in churns]} changes in, {took_s:.1f} s, CPUs {idle:.0%} idle")
        for load in (near, far):
            for kind in ("get", "post"):
                account = load.account(kind, since=began)
                print(account)
                assert account.failed == 0
            assert len(load.account(since=began).by_server) == 2, "both endpoints had requests"


def _without_exports(gateway: Gateway) -> str:
    """Its configuration, with a service for its own workloads alone."""
    text, count = re.subn(r", export: \{[^}]*\}", "", gateway.config_path.read_text())
    assert count == 1
    return text


def idle_s() -> float:
    """For how long CPUs of this machine had nothing to do, all together, since it started (proc(5))."""
    idle_ticks = int(Path("/proc/stat").read_text().split()[4])
    return idle_ticks / os.sysconf("SC_CLK_TCK")
