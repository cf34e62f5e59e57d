"""A benchmark as a person runs it, briefly and without peers: the rig must work when it is needed."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path

import pytest

pytestmark = pytest.mark.processes

_ROOT = Path(__file__).parents[2]
_TIMEOUT_S = 90


def test_a_benchmark_runs_and_its_last_line_is_one_object() -> None:
    options = ["--rounds", "1", "--seconds", "0.2", "--peers", "", "--json"]
    done = subprocess.run(
        [sys.executable, "-m", "tests.bench", "connect", "--interpreted", *options],
        cwd=_ROOT,
        capture_output=True,
        text=True,
        check=False,
        timeout=_TIMEOUT_S,
    )
    assert done.returncode == 0, done.stderr
    document = json.loads(done.stdout.splitlines()[-1])
    assert document.keys() == {"bench", "isthmus", "peers", "ratio"}
    assert document["isthmus"]["connections_per_s"] > 0
    assert set(document["isthmus"]["cpu_share"]) == {
        "east worker",
        "east controller",
        "west worker",
        "west controller",
    }


@pytest.mark.long
def test_the_propagation_benchmark_runs_and_knows_its_figures() -> None:
    """Whole gateways, a real etcd and eight signed catalogs: registered services are routable, also after a restart."""
    done = subprocess.run(
        [sys.executable, "-m", "tests.bench", "propagation", "--interpreted", "--quick", "--json"],
        cwd=_ROOT,
        capture_output=True,
        text=True,
        check=False,
        timeout=2 * _TIMEOUT_S,
    )
    assert done.returncode == 0, done.stderr
    figures = json.loads(done.stdout.splitlines()[-1])["isthmus"]
    assert {f"{name}_100" for name in ("p50_ms", "p99_ms", "cold_sync_s", "disk_sync_s", "worker_mb")} <= figures.keys()
    assert all(value > 0 for value in figures.values())


@pytest.mark.long
def test_the_failover_benchmark_runs() -> None:
    """Ours alone, and a short look: what it prints is what the comparison is made of."""
    done = subprocess.run(
        [
            sys.executable,
            "-m",
            "tests.bench",
            "failover",
            "--interpreted",
            "--rounds",
            "1",
            "--seconds",
            "2",
            "--peers",
            "",
            "--json",
        ],
        cwd=_ROOT,
        capture_output=True,
        text=True,
        check=False,
        timeout=_TIMEOUT_S,
    )
    assert done.returncode == 0, done.stderr
    document = json.loads(done.stdout.splitlines()[-1])
    assert document.keys() == {"bench", "isthmus", "peers"}
    for fault in ("kill", "freeze"):
        assert document["isthmus"][fault].keys() == {"failed", "gap_ms", "recovered_ms"}
        assert document["isthmus"][fault]["failed"] == 0
