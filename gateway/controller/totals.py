"""The sums over all workers, and how Prometheus sees them. Controller only: workers do without its library."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterable, Iterator, Mapping
from typing import TypeAlias

from prometheus_client.core import CounterMetricFamily, GaugeMetricFamily, HistogramMetricFamily, Metric

from gateway.durations import DURATION_BUCKETS_S, DURATION_ROW
from gateway.telemetry import COUNTERS, DURATION, MetricSpec

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
        rows = {service: row for service, row in durations.items() if len(row) == DURATION_ROW}
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
