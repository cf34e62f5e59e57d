"""The controller's gauges, as Prometheus reads them."""

from __future__ import annotations

import os
import re

import pytest
from prometheus_client.core import Metric
from prometheus_client.exposition import generate_latest
from prometheus_client.parser import text_string_to_metric_families

from gateway.controller.totals import Totals
from gateway.process.usage import ProcessUsage, read_usage
from gateway.status.metrics import status_metrics
from tests.status_documents import FakeSource

_NAME = re.compile(r"isthmus_[a-z]+(_[a-z]+)*")
_UNITS = ("_seconds", "_bytes")
_NO_UNIT = (
    "_info",
    "_workers",
    "_connected",
    "_tunnels",
    "_defects",
    "_endpoints",
    "_places",
    "_share",
    "_events",
    "_connections",
    "_refusals",
    "_ready",
    "_freshness",
    "_services",
    "_records",
    "_requests",
    "_retries",
    "_overflows",
    "_queries",
    "_changes",
)


ENDPOINTS = (("shop/cart", 0, 1), ("shop/storefront", 2, 2))


class Registry:
    """What `generate_latest` reads."""

    def collect(self) -> list[Metric]:
        usages = {"controller": ProcessUsage(1.5, 4096), "w1-0": ProcessUsage(2.5, 8192)}
        return [
            *status_metrics(FakeSource().status(), {("eu", "bad-signature"): 2.0}, usages, ENDPOINTS),
            *Totals().collect(),
        ]


def samples() -> dict[tuple[str, tuple[str, ...]], float]:
    text = generate_latest(Registry()).decode()
    return {
        (sample.name, tuple(sample.labels.values())): sample.value
        for family in text_string_to_metric_families(text)
        for sample in family.samples
    }


def test_peers_tunnels_and_freshness() -> None:
    """A gauge for each peer and state, so that an alert can name both."""
    seen = samples()
    assert seen["isthmus_tunnels", ("west", "ready")] == 4
    assert seen["isthmus_tunnels", ("eu", "wanted")] == 4
    assert (seen["isthmus_peer_ready", ("west",)], seen["isthmus_peer_ready", ("eu",)]) == (1, 0)
    assert seen["isthmus_peer_freshness", ("eu", "suspect")] == 1
    assert seen["isthmus_peer_etcd_connected", ("west",)] == 1
    assert seen["isthmus_peer_freshness", ("eu", "fresh")] == 0
    assert seen["isthmus_tunnel_rtt_seconds", ("west",)] == pytest.approx(0.00042)
    assert ("isthmus_tunnel_rtt_seconds", ("eu",)) not in seen


def test_the_gateway_itself() -> None:
    """Workers, etcd, services, refusals and processes."""
    seen = samples()
    assert (seen["isthmus_workers", ("ready",)], seen["isthmus_workers", ("wanted",)]) == (2, 2)
    assert seen["isthmus_etcd_connected", ()] == 1
    assert (seen["isthmus_services", ("reachable",)], seen["isthmus_services", ("unreachable",)]) == (1, 1)
    assert seen["isthmus_refused_records_total", ("eu", "bad-signature")] == 2
    assert seen["isthmus_process_cpu_seconds_total", ("controller",)] == 1.5
    assert seen["isthmus_process_resident_memory_bytes", ("w1-0",)] == 8192
    assert seen["isthmus_build_info", ("0.1.0",)] == 1
    assert seen["isthmus_start_time_seconds", ()] == 1767323045


def test_names_follow_prometheus() -> None:
    """One prefix, base units at the end, a help text each, and no name twice."""
    families = Registry().collect()
    assert len({family.name for family in families}) == len(families)
    for family in families:
        assert _NAME.fullmatch(family.name), family.name
        assert family.name.endswith((*_UNITS, *_NO_UNIT)), f"{family.name} has no unit that is known"
        assert family.documentation.endswith("."), family.name


def test_the_usage_of_this_process() -> None:
    """/proc's fields are counted right: this very process has used CPU and memory, in sensible amounts."""
    usage = read_usage(os.getpid())
    assert usage is not None
    times = os.times()
    assert abs(usage.cpu_s - (times.user + times.system)) < 1.0
    assert 5_000_000 < usage.resident_bytes < 5_000_000_000


def test_no_process_has_no_usage() -> None:
    """A worker may end between two looks."""
    assert read_usage(2**31 - 1) is None
