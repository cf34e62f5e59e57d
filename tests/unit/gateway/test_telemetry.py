"""What is counted, added up, and shown. How metrics are named is tested in test_status_metrics.py."""

from __future__ import annotations

import math

import prometheus_client.parser
import pytest
from prometheus_client import CollectorRegistry, generate_latest

from gateway.controller.totals import Totals, gauge
from gateway.durations import DURATION_BUCKETS_S, DURATION_ROW
from gateway.telemetry import (
    COUNTERS,
    DURATION,
    REFUSED,
    REQUESTS,
    RETRIES,
    MetricSpec,
    WorkerCounters,
)

LABELS = ("local", "shop/payments", "west", "200", "")


def counted(requests: int = 1, duration_s: float = 0.003) -> WorkerCounters:
    counters = WorkerCounters()
    for _ in range(requests):
        counters.add(REQUESTS, *LABELS)
        counters.observe("shop/payments", duration_s)
    return counters


def take(totals: Totals, worker: str, counters: WorkerCounters) -> None:
    totals.take(worker, *counters.report())


def exposed(totals: Totals) -> dict[tuple[str, tuple[tuple[str, str], ...]], float]:
    """Sample name and labels to value, as a Prometheus server reads them."""
    registry = CollectorRegistry()
    registry.register(totals)
    text = generate_latest(registry).decode()
    return {
        (sample.name, tuple(sorted(sample.labels.items()))): sample.value
        for family in prometheus_client.parser.text_string_to_metric_families(text)
        for sample in family.samples
    }


def test_workers_are_added_up() -> None:
    """Each reports what it counted since it began; a later report replaces its earlier one."""
    totals = Totals()
    take(totals, "w1", counted(2))
    take(totals, "w1", counted(5))
    take(totals, "w2", counted(1))
    assert totals.counter(REQUESTS) == {LABELS: 6}
    assert totals.counter(RETRIES) == {}


@pytest.mark.stand_in
def test_a_worker_that_died_keeps_its_share() -> None:
    """A counter never falls, and a thousand dead workers take the room of one."""
    totals = Totals()
    for i in range(1000):
        take(totals, f"w{i}", counted())
        totals.retire(f"w{i}")
    take(totals, "living", counted())
    assert totals.counter(REQUESTS) == {LABELS: 1001}
    rows = exposed(totals)
    assert rows["isthmus_request_duration_seconds_count", (("service", "shop/payments"),)] == 1001
    assert sum(len(value) for value in vars(totals).values()) < 20
    totals.retire("nobody")
    totals.retire("living")
    assert totals.counter(REQUESTS) == {LABELS: 1001}


def test_a_duration_falls_into_its_bucket() -> None:
    """A bucket's bound belongs to it (`le`), and what is above all is in +Inf alone."""
    counters = WorkerCounters()
    for duration_s in (0.0, DURATION_BUCKETS_S[0], 0.0011, DURATION_BUCKETS_S[-1], 99.0):
        counters.observe("a/b", duration_s)
    totals = Totals()
    take(totals, "w1", counters)
    rows = exposed(totals)

    def bucket(bound: str) -> float:
        return rows["isthmus_request_duration_seconds_bucket", (("le", bound), ("service", "a/b"))]

    assert bucket("0.001") == 2
    assert bucket("0.0025") == 3
    assert bucket("10.0") == 4
    assert bucket("+Inf") == 5
    assert rows["isthmus_request_duration_seconds_sum", (("service", "a/b"),)] == sum((0.001, 0.0011, 10.0, 99.0))


def test_prometheus_reads_what_is_shown() -> None:
    """With each label under its name."""
    totals = Totals()
    take(totals, "w1", counted(3))
    rows = exposed(totals)
    labels = dict(zip(REQUESTS.labels, LABELS, strict=True))
    assert rows["isthmus_requests_total", tuple(sorted(labels.items()))] == 3


def test_nothing_yet_is_shown_as_nothing() -> None:
    """Before the first report."""
    assert exposed(Totals()) == {}


def test_a_report_that_makes_no_sense_breaks_nothing() -> None:
    """Too few labels, rows of another length, metrics that nobody knows: left out, and the rest is shown."""
    totals = Totals()
    take(totals, "good", counted())
    totals.take("bad", {REQUESTS.name: {"a|b": 1.0, "": 2.0}, "unknown": {"x": 1.0}}, {"a/b": [1.0], "c/d": []})
    rows = exposed(totals)
    assert totals.counter(REQUESTS) == {LABELS: 1}
    assert not any(dict(labels).get("service") in ("a/b", "c/d") for _, labels in rows)
    totals.retire("bad")
    assert exposed(totals) == rows


def test_a_reports_rows_have_the_form_that_is_taken() -> None:
    """Both ends of one message are in this module."""
    counters = counted()
    counters.add(REFUSED, "mesh", "no-certificate")
    counts, durations = counters.report()
    assert counts[REFUSED.name] == {"mesh|no-certificate": 1}
    assert {len(row) for row in durations.values()} == {DURATION_ROW}
    assert set(counts) == {spec.name for spec in COUNTERS}


def test_buckets_are_in_order() -> None:
    """As the search for a duration's bucket assumes."""
    assert list(DURATION_BUCKETS_S) == sorted(set(DURATION_BUCKETS_S))
    assert DURATION.name.endswith("_seconds")


def test_a_gauge() -> None:
    """The same form for what is measured elsewhere."""
    family = gauge(MetricSpec("isthmus_x_ratio", "A ratio.", ("peer",)), {("west",): 0.5, ("eu",): math.inf})
    assert [(sample.labels, sample.value) for sample in family.samples] == [
        ({"peer": "eu"}, math.inf),
        ({"peer": "west"}, 0.5),
    ]
