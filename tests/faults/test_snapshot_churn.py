"""An endpoint comes and goes without end, under load: each change is a new snapshot in every worker."""

from __future__ import annotations

import os
import re
import signal
import time
from collections.abc import Iterator

import pytest

from tests.fault_rig.clusters import FaultLab, Gateway, Site, open_fault_lab
from tests.fault_rig.load import Load, now

pytestmark = [pytest.mark.processes, pytest.mark.long]

CHANGES = 600
PACE_S = 0.005
"""Between two changes, beside writing the files: about a hundred a second."""
TAKEN = 150
"""So many are taken in at least. Signals that come together are one reload, which has the last of them."""


@pytest.fixture(scope="module")
def lab(tmp_path_factory: pytest.TempPathFactory) -> Iterator[FaultLab]:
    """Without health checks, so that an endpoint takes requests from the moment when it is named."""
    sites = Site("east", {"stock": 2}, health=""), Site("west", {"payments": 2}, health="")
    with open_fault_lab(tmp_path_factory.mktemp("lab"), *sites) as lab:
        yield lab


class Churn:
    """A gateway whose configuration names the second endpoint of its service, or does not."""

    def __init__(self, gateway: Gateway) -> None:
        self._gateway = gateway
        self._both = gateway.config_path.read_text()
        self._one = re.sub(r"(endpoints: \[\{[^}]*\}), \{[^}]*\}\]", r"\1]", self._both)
        assert self._one != self._both

    def change(self, number: int) -> None:
        path = self._gateway.config_path
        new = path.with_suffix(".new")
        new.write_text(self._one if number % 2 else self._both)
        new.replace(path)
        os.kill(self._gateway.group.pid("gateway"), signal.SIGHUP)

    @property
    def taken(self) -> int:
        return (self._gateway.directory / "gateway.log").read_text().count("took the changed configuration in")


def test_an_endpoint_that_comes_and_goes_loses_no_request(lab: FaultLab) -> None:
    """Here and in the other cluster, for GET and for POST: what is under way at an endpoint that goes ends there."""
    churns = [Churn(lab.gateway), Churn(lab["west"].gateways[0])]
    with Load(lab.plan("stock", interval_ms=5)) as near, Load(lab.plan("payments", interval_ms=5)) as far:
        near.wait_served_by("east")
        far.wait_served_by("west")
        began = now()
        for number in range(CHANGES):
            for churn in churns:
                churn.change(number)
            time.sleep(PACE_S)
        near.wait_more()
        far.wait_more()
        took_s = now() - began
        print(f"{[churn.taken for churn in churns]} of {CHANGES} changes were taken in within {took_s:.1f} s")
        for load in (near, far):
            for kind in ("get", "post"):
                account = load.account(kind, since=began)
                print(account)
                assert account.failed == 0
            assert len(load.account(since=began).by_server) == 2, "both endpoints had requests"
        assert all(churn.taken >= TAKEN for churn in churns)
