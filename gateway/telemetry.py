"""What a worker counts: the metrics by name, and the counts of one worker.

A worker counts into plain dictionaries, because several counts are made for every request. It reports the sums to the
controller, whose `totals` adds up all workers and shows them under `/metrics`.
"""

from __future__ import annotations

from collections import defaultdict

import msgspec

from gateway.durations import DURATION_ROW, add_duration


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
FAILOVERS = MetricSpec(
    "isthmus_failover_events",
    "Changes in where a service's requests go, like ejections, returns and spills, by what caused them. Each worker "
    "decides for itself.",
    ("service", "kind", "cause"),
)
OVERFLOWS = MetricSpec(
    "isthmus_overflows",
    "Attempts that a limit of a service forbade (`limits`), by where they would have gone and which limit it was.",
    ("service", "destination_cluster", "limit"),
)
REFUSED = MetricSpec(
    "isthmus_refusals",
    "Connections that were refused, or ended because the other side went over a limit or broke the rules of its "
    "protocol; and of HTTP/2 connections that go on, streams that were.",
    ("listener", "reason"),
)
EXPIRED = MetricSpec(
    "isthmus_expired_connections",
    "Connections that were ended because nothing had come on them for too long.",
    ("listener", "reason"),
)
CONNECTIONS = MetricSpec("isthmus_accepted_connections", "Connections that were accepted.", ("listener",))
DNS_QUERIES = MetricSpec("isthmus_dns_queries", "DNS questions, by type and response code.", ("qtype", "rcode"))
DEFECTS = MetricSpec(
    "isthmus_defects", "Failures that nobody foresaw. Each cost one connection, and is in the log.", ("process",)
)
SNAPSHOT_CHANGES = MetricSpec(
    "isthmus_snapshot_changes",
    "Services, peers and settings that workers took in: they were new, changed or gone. Each worker counts its own.",
    ("kind",),
)
COUNTERS = (
    REQUESTS,
    RETRIES,
    OVERFLOWS,
    FAILOVERS,
    CONNECTIONS,
    REFUSED,
    EXPIRED,
    DNS_QUERIES,
    DEFECTS,
    SNAPSHOT_CHANGES,
)

DURATION = MetricSpec(
    "isthmus_request_duration_seconds", "From a request's head to the end of its response.", ("service",)
)


class WorkerCounters:
    """One worker's counts since it began."""

    def __init__(self) -> None:
        self.counts: dict[str, dict[tuple[str, ...], float]] = {spec.name: defaultdict(float) for spec in COUNTERS}
        self.durations: dict[str, list[float]] = {}

    def add(self, spec: MetricSpec, *labels: str) -> None:
        self.counts[spec.name][labels] += 1

    def observe(self, service: str, duration_s: float) -> None:
        """Adds one duration."""
        add_duration(self.durations_of(service), duration_s)

    def durations_of(self, service: str) -> list[float]:
        """Where its durations are counted: `add_duration` adds to it."""
        return self.durations.setdefault(service, [0.0] * DURATION_ROW)

    def report(self) -> tuple[dict[str, dict[str, float]], dict[str, list[float]]]:
        """What `control.Report` carries. Label values never contain "|": names, codes and reasons do not."""
        counts = {name: {"|".join(labels): n for labels, n in rows.items()} for name, rows in self.counts.items()}
        return counts, self.durations
