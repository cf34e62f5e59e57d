"""The controller's own metrics, made from its status: gauges beside the workers' counters. Pure."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Iterator, Mapping

from prometheus_client.core import CounterMetricFamily, Metric

from federation.freshness import Freshness
from federation.status.peer_values import ClusterDocument
from federation.status.values import StatusDocument
from gateway.controller.totals import gauge
from gateway.process.usage import ProcessUsage
from gateway.telemetry import MetricSpec

BUILD = MetricSpec("isthmus_build_info", "1, with the version as a label.", ("version",))
START = MetricSpec("isthmus_start_time_seconds", "When the controller started, in Unix seconds.", ())
WORKERS = MetricSpec("isthmus_workers", "Worker processes: wanted, and ready to serve.", ("state",))
ETCD = MetricSpec("isthmus_etcd_connected", "1 while etcd is read and followed without a gap.", ())
PEER_ETCD = MetricSpec(
    "isthmus_peer_etcd_connected", "1 while the etcd that a peer is read in is followed without a gap.", ("cluster",)
)
TUNNELS = MetricSpec("isthmus_tunnels", "Tunnels to a peer, of all workers: wanted, and ready.", ("cluster", "state"))
RTT = MetricSpec("isthmus_tunnel_rtt_seconds", "The last probe's round trip to a peer's gateway.", ("cluster",))
INBOUND = MetricSpec("isthmus_inbound_connections", "A peer's connections to us that are open.", ("cluster",))
PEER_READY = MetricSpec("isthmus_peer_ready", "1 while both paths to a peer are good, control and data.", ("cluster",))
FRESHNESS = MetricSpec(
    "isthmus_peer_freshness", "1 for what a peer's word is worth now, 0 for the others.", ("cluster", "state")
)
SERVICES = MetricSpec("isthmus_services", "Services in the catalog, by whether a request could reach them.", ("state",))
REFUSED_RECORDS = MetricSpec(
    "isthmus_refused_records", "Records of peers in etcd that were refused, by reason.", ("cluster", "reason")
)
ENDPOINTS = MetricSpec(
    "isthmus_endpoints", "Endpoints of local services, by what their health checks say.", ("service", "state")
)
EJECTED = MetricSpec(
    "isthmus_ejected_places", "Endpoints and clusters of a service that are ejected now, by any worker.", ("service",)
)
SHARES = MetricSpec(
    "isthmus_service_share",
    "Of a service that is diverted: each cluster's share of its requests.",
    ("service", "cluster"),
)
CPU = MetricSpec("isthmus_process_cpu_seconds", "CPU time that a living process of ours has used.", ("process",))
MEMORY = MetricSpec("isthmus_process_resident_memory_bytes", "Resident memory of a process of ours.", ("process",))


MAX_SERVICES = 500
"""Whose endpoints are shown one by one."""


def status_metrics(
    status: StatusDocument,
    refused: Mapping[tuple[str, ...], float],
    usages: Mapping[str, ProcessUsage],
    endpoints: Iterable[tuple[str, int, int]],
) -> Iterator[Metric]:
    """`refused` counts records by cluster and reason; `usages` is by process: `controller`, and each worker's ID;
    `endpoints` are the healthy and all of each local service."""
    services = status.services
    yield gauge(BUILD, {(status.version,): 1})
    yield gauge(START, {(): status.started_at.timestamp()})
    yield gauge(WORKERS, {("wanted",): status.workers_wanted, ("ready",): sum(w.ready for w in status.workers)})
    yield gauge(ETCD, {(): status.etcd.connected})
    yield gauge(SERVICES, {("reachable",): services.reachable, ("unreachable",): services.total - services.reachable})
    yield from _peer_metrics(status.peers)
    yield _counter(REFUSED_RECORDS, refused)
    yield gauge(ENDPOINTS, _endpoint_counts(endpoints))
    yield gauge(EJECTED, Counter((d.service,) for d in status.diversions if d.kind == "ejected"))
    yield gauge(SHARES, {(d.service, cluster): n for d in status.diversions for cluster, n in d.shares.items()})
    yield _counter(CPU, {(process,): usage.cpu_s for process, usage in usages.items()})
    yield gauge(MEMORY, {(process,): usage.resident_bytes for process, usage in usages.items()})


def _peer_metrics(peers: Iterable[ClusterDocument]) -> Iterator[Metric]:
    peers = tuple(peers)
    yield gauge(
        TUNNELS,
        {
            (peer.cluster, state): count
            for peer in peers
            for state, count in (("ready", peer.data.tunnels_ready), ("wanted", peer.data.tunnels_wanted))
        },
    )
    yield gauge(PEER_ETCD, {(peer.cluster,): peer.control.etcd_connected for peer in peers})
    yield gauge(RTT, {(p.cluster,): p.data.rtt_ms / 1000 for p in peers if p.data.rtt_ms is not None})
    yield gauge(INBOUND, {(peer.cluster,): peer.data.inbound_connections for peer in peers})
    yield gauge(PEER_READY, {(peer.cluster,): peer.ready for peer in peers})
    yield gauge(FRESHNESS, {(peer.cluster, str(s)): peer.control.freshness == s for peer in peers for s in Freshness})


def _endpoint_counts(endpoints: Iterable[tuple[str, int, int]]) -> dict[tuple[str, ...], float]:
    """Of so many services at most; those with something unhealthy go first."""
    by_health = sorted(endpoints, key=lambda counts: counts[1] >= counts[2])
    return {
        (service, state): count
        for service, healthy, total in by_health[:MAX_SERVICES]
        for state, count in (("healthy", healthy), ("unhealthy", total - healthy))
    }


def _counter(spec: MetricSpec, values: Mapping[tuple[str, ...], float]) -> Metric:
    family = CounterMetricFamily(spec.name, spec.help, labels=spec.labels)
    for labels, value in sorted(values.items()):
        family.add_metric(labels, value)
    return family
