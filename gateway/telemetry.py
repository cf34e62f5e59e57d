"""What a worker counts, and how it is shown to Prometheus.

A worker counts into plain dictionaries, because several counts are made for every request. It reports the sums to the
controller, which adds up its workers, living and gone, and shows them under `/metrics`.
"""

from __future__ import annotations

from bisect import bisect_left
from collections import defaultdict
from collections.abc import Iterable, Iterator, Mapping
from typing import TypeAlias

import msgspec
from prometheus_client.core import CounterMetricFamily, GaugeMetricFamily, HistogramMetricFamily, Metric


class MetricSpec(msgspec.Struct, frozen=True):
    name: str
    help: str
    labels: tuple[str, ...]


REQUESTS = MetricSpec(
    "isthmus_requests",
    "Requests that ended, by where they came from, what they asked for, where they went, and the answer. "
    "`reason` is empty unless the gateway itself answered or gave up.",
    ("source_cluster", "service", "destination_cluster", "status", "reason"),
)
RETRIES = MetricSpec("isthmus_retries", "Further attempts of a request, by why the one before failed.", ("reason",))
REFUSED = MetricSpec(
    "isthmus_refused_connections",
    "Connections that were refused, or ended because the other side broke the rules of its protocol.",
    ("listener", "reason"),
)
CONNECTIONS = MetricSpec("isthmus_accepted_connections", "Connections that were accepted.", ("listener",))
DNS_QUERIES = MetricSpec("isthmus_dns_queries", "DNS questions, by type and response code.", ("qtype", "rcode"))
DEFECTS = MetricSpec(
    "isthmus_defects", "Failures that nobody foresaw. Each cost one connection, and is in the log.", ("process",)
)
COUNTERS = (REQUESTS, RETRIES, REFUSED, CONNECTIONS, DNS_QUERIES, DEFECTS)

DURATION = MetricSpec(
    "isthmus_request_duration_seconds", "From a request's head to the end of its response.", ("service",)
)
DURATION_BUCKETS_S = (0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 5.0, 10.0)
# The counts of its buckets and of what is above them all, then the sum in seconds.
_DURATION_ROW = len(DURATION_BUCKETS_S) + 2


class WorkerCounters:
    """One worker's counts since it began."""

    def __init__(self) -> None:
        self.counts: dict[str, dict[tuple[str, ...], float]] = {spec.name: defaultdict(float) for spec in COUNTERS}
        self.requests = self.counts[REQUESTS.name]
        self.durations: dict[str, list[float]] = {}

    def add(self, spec: MetricSpec, *labels: str) -> None:
        self.counts[spec.name][labels] += 1

    def observe(self, service: str, duration_s: float) -> None:
        """Adds one duration: bucket counts, then the sum in the last place."""
        row = self.durations.get(service)
        if row is None:
            row = self.durations[service] = [0.0] * _DURATION_ROW
        row[bisect_left(DURATION_BUCKETS_S, duration_s)] += 1
        row[-1] += duration_s

    def report(self) -> tuple[dict[str, dict[str, float]], dict[str, list[float]]]:
        """What `control.Report` carries. Label values never contain "|": names, codes and reasons do not."""
        counts = {name: {"|".join(labels): n for labels, n in rows.items()} for name, rows in self.counts.items()}
        return counts, self.durations


_Counters: TypeAlias = Mapping[str, Mapping[str, float]]
_Durations: TypeAlias = Mapping[str, list[float]]


class Totals:
    """The sums over all workers that this controller has heard of. A worker that died keeps its share."""

    def __init__(self) -> None:
        self._living: dict[str, tuple[_Counters, _Durations]] = {}
        self._gone_counts: dict[str, dict[str, float]] = {}
        self._gone_durations: dict[str, list[float]] = {}

    def take(self, worker: str, counters: _Counters, durations: _Durations) -> None:
        """A worker's latest report. Rows that are none are left out: nothing that it says breaks `/metrics`."""
        rows = {service: row for service, row in durations.items() if len(row) == _DURATION_ROW}
        self._living[worker] = (counters, rows)

    def retire(self, worker: str) -> None:
        """The worker has ended: its share joins that of all others before it, so that they take no more room."""
        counters, durations = self._living.pop(worker, ({}, {}))
        for name, rows in counters.items():
            gone = self._gone_counts.setdefault(name, {})
            for labels, n in rows.items():
                gone[labels] = gone.get(labels, 0.0) + n
        self._gone_durations = _sum_rows([self._gone_durations, durations])

    def counter(self, spec: MetricSpec) -> dict[tuple[str, ...], float]:
        total: dict[tuple[str, ...], float] = defaultdict(float)
        for counters in [self._gone_counts, *(counters for counters, _ in self._living.values())]:
            for joined, n in counters.get(spec.name, {}).items():
                labels = tuple(joined.split("|"))
                if len(labels) == len(spec.labels):
                    total[labels] += n
        return total

    def collect(self) -> Iterator[Metric]:
        """The families in prometheus_client's form, so that its exposition formats apply."""
        for spec in COUNTERS:
            counter = CounterMetricFamily(spec.name, spec.help, labels=spec.labels)
            for labels, n in sorted(self.counter(spec).items()):
                counter.add_metric(labels, n)
            yield counter
        yield self._histogram()

    def _histogram(self) -> Metric:
        family = HistogramMetricFamily(DURATION.name, DURATION.help, labels=DURATION.labels)
        sums = _sum_rows([self._gone_durations, *(durations for _, durations in self._living.values())])
        for service, row in sorted(sums.items()):
            cumulative, buckets = 0.0, []
            for bound, n in zip([*map(str, DURATION_BUCKETS_S), "+Inf"], row[:-1], strict=True):
                cumulative += n
                buckets.append((bound, cumulative))
            family.add_metric([service], buckets, row[-1])
        return family


def _sum_rows(reports: Iterable[_Durations]) -> dict[str, list[float]]:
    sums: dict[str, list[float]] = {}
    for durations in reports:
        for service, row in durations.items():
            known = sums.get(service)
            sums[service] = [a + b for a, b in zip(known, row, strict=True)] if known else list(row)
    return sums


def gauge(spec: MetricSpec, values: Mapping[tuple[str, ...], float]) -> Metric:
    family = GaugeMetricFamily(spec.name, spec.help, labels=spec.labels)
    for labels, value in sorted(values.items()):
        family.add_metric(labels, value)
    return family
