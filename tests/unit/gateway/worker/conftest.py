"""What the tests of a worker share."""

from __future__ import annotations

import pytest

from gateway.worker import worker as worker_module
from tests.gateway_ends import (
    make_authority,
)
from trust.authority import Authority


@pytest.fixture(scope="module")
def authorities(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Authority]:
    directory = tmp_path_factory.mktemp("authorities")
    return {cluster: make_authority(directory, cluster) for cluster in ("east", "west", "north")}


@pytest.fixture(autouse=True)
def quick(monkeypatch: pytest.MonkeyPatch) -> None:
    """What is done every so often is done often here."""
    for name, value in {
        "REPORT_INTERVAL_S": 0.01,
        "REPORT_DELAY_S": 0.0,
        "RECONNECT_S": 0.005,
        "SWEEP_INTERVAL_S": 0.01,
    }.items():
        monkeypatch.setattr(worker_module, name, value)
    monkeypatch.setattr("gateway.worker.departure.DRAIN_CHECK_S", 0.005)
