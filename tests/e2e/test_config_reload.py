"""A changed cluster.yaml is taken in while the gateway runs; a bad one is refused, named in status, and changes
nothing."""

from __future__ import annotations

import subprocess
import sys

import pytest

from gateway.demo.dns_client import DnsQuestion
from gateway.demo.http_client import HttpRequest
from gateway.demo.lab import Cluster, Lab
from gateway.demo.members import name_of
from gateway.demo.waiting import wait_until

pytestmark = pytest.mark.processes


def problems(cluster: Cluster, kind: str) -> list[str]:
    return [problem.message for problem in cluster.status().problems if problem.kind == kind]


def test_a_bad_file_is_refused_and_named(lab: Lab) -> None:
    """The old configuration goes on serving; the status says what is wrong until the file is good again."""
    west = lab["west"]
    good = west.config_path.read_text()
    try:
        west.config_path.write_text(good.replace("services:", "servces:"))
        said = wait_until(lambda: problems(west, "configuration"), "west's status names the bad file")
        assert any("servces" in line and "services" in line for line in said)
        request = HttpRequest(lab.authority("payments"), lab["east"].addresses.http)
        wait_until(lambda: request.send().served_by == "west", "west serves")
    finally:
        west.config_path.write_text(good)
    wait_until(lambda: not problems(west, "configuration"), "the problem is gone")


def test_what_needs_a_restart_is_refused_as_such(lab: Lab) -> None:
    """A setting that a running gateway can't change is not half taken."""
    west = lab["west"]
    good = west.config_path.read_text()
    try:
        west.config_path.write_text(good + "trust: {svid_lifetime: 2h}\n")
        said = wait_until(lambda: problems(west, "configuration"), "west's status says so")
        assert any("trust" in line and "restart" in line for line in said)
    finally:
        west.config_path.write_text(good)
    wait_until(lambda: not problems(west, "configuration"), "the problem is gone")


def test_an_export_that_is_taken_back_is_gone(lab: Lab) -> None:
    """Withdrawn from one cluster, kept for the other: names and routes follow within a moment, and come back."""
    east, west, eu = lab["east"], lab["west"], lab["eu"]
    good = west.config_path.read_text()
    question = DnsQuestion(name_of("audit"), east.addresses.dns)
    try:
        west.config_path.write_text(good.replace("to: [eu]", "to: [east]"))
        wait_until(lambda: question.ask().records, "east hears of audit")
        wait_until(
            lambda: HttpRequest(lab.authority("audit"), east.addresses.http).send().served_by == "west",
            "east reaches audit",
        )
        wait_until(
            lambda: HttpRequest(lab.authority("audit"), eu.addresses.http).send().status == 404,
            "eu does not any more",
        )
    finally:
        west.config_path.write_text(good)
    wait_until(lambda: question.ask().rcode == "NXDOMAIN", "east forgets audit")


@pytest.mark.parametrize(
    ("good", "bad", "named"),
    [
        ("federation: acme", "federation: acme\nfederatoin: acme", "federatoin"),
        ("workers: 2", "workers: many", "gateway.workers"),
        ("http: 127.0.0.1:0", "http: 127.0.0.1:70000", "gateway.http"),
        ("sha256:", "sha1:", "root"),
    ],
)
def test_a_bad_file_starts_nothing(lab: Lab, good: str, bad: str, named: str) -> None:
    """Exit status 2, one clear message that names the file and the place, and no state directory is made."""
    path = lab["west"].directory / "bad.yaml"
    text = lab["west"].config_path.read_text().replace("./state", "./never").replace(good, bad, 1)
    path.write_text(text)
    command = [sys.executable, "-m", "gateway", "run", "-c", str(path)]
    done = subprocess.run(command, capture_output=True, text=True, check=False, timeout=60)
    assert done.returncode == 2
    assert str(path) in done.stderr
    assert named in done.stderr
    assert not (path.parent / "never").exists()
