"""Who calls is known at the other end: a workload's identity crosses, and the destination lets in whom it names."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager

import pytest

from gateway.demo.http_client import HttpRequest
from gateway.demo.lab import Cluster, Lab
from gateway.demo.waiting import wait_until

pytestmark = pytest.mark.processes

WEB = "workloads:\n- {addresses: [127.0.0.0/8], namespace: web, service_account: frontend}\n"


@contextmanager
def changed(cluster: Cluster, before: str, after: str) -> Iterator[None]:
    good = cluster.config_path.read_text()
    assert before in good
    cluster.config_path.write_text(good.replace(before, after, 1))
    try:
        yield
    finally:
        cluster.config_path.write_text(good)


def test_the_destination_lets_in_whom_it_names(lab: Lab) -> None:
    """East's client is the gateway itself until its configuration says whose address it has; west names a workload of
    east, and refuses everybody else with the reason."""
    east, west = lab["east"], lab["west"]
    allow = 'allow: ["spiffe://east.acme.test/ns/web/sa/*"]'

    def answer_to(cluster: Cluster) -> tuple[int, str]:
        answer = HttpRequest(lab.authority("payments"), cluster.addresses.http).send()
        return answer.status, answer.headers.get("isthmus-reason", "")

    with changed(west, "export: {to: [east, eu]}", f"export: {{to: [east, eu], {allow}}}"):
        wait_until(lambda: answer_to(east) == (403, "not-allowed"), "west refuses east's gateway")
        with changed(east, "services:", WEB + "services:"):
            wait_until(lambda: answer_to(east) == (200, ""), "west lets east's frontend in")
        wait_until(lambda: answer_to(east) == (403, "not-allowed"), "it is the gateway again")
    wait_until(lambda: answer_to(east) == (200, ""), "everybody may again")
