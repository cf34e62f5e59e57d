"""The documents of why a request goes where it goes: `/v1/explain/{namespace}/{name}`."""

from __future__ import annotations

from datetime import datetime

import msgspec

from federation.status.event_values import EventDocument


class PlaceDocument(msgspec.Struct, frozen=True):
    """A group of endpoints that are as near as each other: a zone of this cluster, or another cluster."""

    cluster: str
    zone: str
    """Of this cluster's groups; empty for another cluster, whose gateways choose the zone."""
    rank: int
    """0 is the most preferred. Groups of one rank share their load."""
    why: str
    """Why it has this rank, like `own zone` or `same region`."""
    healthy: int
    total: int
    """Endpoints as their owner publishes them; 0 of 0 if it does not say."""
    ejected: int
    """How many of our endpoints, or 1 if the service is ejected in that cluster; the most of all workers."""
    tunnels: int
    """How many to that cluster answer, of all workers."""
    rtt_ms: float | None
    """The best of the workers."""
    availability: float
    """0 to 1, the mean of the workers: what is published, reachable and not ejected."""
    share: float
    """0 to 1, the mean of the workers: of the requests that are asked about."""
    next_share: float
    """What it would get if the first place that gets requests now died."""
    problem: str
    """What keeps it from taking its part, for a person; empty if nothing does."""


class EjectedDocument(msgspec.Struct, frozen=True):
    """A place that gets no requests for a while."""

    where: str
    """An endpoint (host:port), or a cluster in which this service is ejected."""
    until: datetime
    """The latest of the workers."""
    for_s: float
    """How long that still is."""
    count: int
    """How many times in a row it was ejected."""
    cause: str
    rate: float
    """The share of its requests that failed in the last interval, 0 to 1."""
    workers: int
    """How many workers ejected it."""


class LimitsDocument(msgspec.Struct, frozen=True):
    """What of the service is in progress at one place, beside what may be (circuit breaking); sums of the workers."""

    where: str
    """`local`, or another cluster."""
    requests: int
    requests_limit: int
    retries: int
    """Among the requests, further attempts."""
    retries_limit: int
    refused: int
    """What one of `limits` refused since the workers began."""


class EndpointLoadDocument(msgspec.Struct, frozen=True):
    """What connections to one local endpoint carry, beside what they may (circuit breaking); sums of the workers."""

    address: str
    """host:port"""
    requests: int
    """In progress, those that wait for a connection among them."""
    connections: int
    """Open, and being opened."""
    connections_limit: int
    pending: int
    """Requests that wait for a connection."""
    pending_limit: int


class RetryBudgetDocument(msgspec.Struct, frozen=True):
    """What bounds the retries of all services together; sums of the workers."""

    requests: int
    """In progress."""
    retried: int
    """Among those, tried more than once."""
    share: float
    """How many of them may be, 0 to 1."""
    per_s: float
    """Retries a second that are allowed beside that."""


class EndpointStateDocument(msgspec.Struct, frozen=True):
    """A local endpoint as the health checks of this gateway see it."""

    address: str
    """host:port, of what is checked or else its first port"""
    zone: str
    healthy: bool
    state: str
    check: str
    """`tcp`, `http`, `grpc`; empty where nothing is checked."""
    reason: str
    """The last check's result."""
    for_s: float
    """For how long it has been so, from the first of the checks that decided it."""


class ExplanationDocument(msgspec.Struct, frozen=True):
    """Why requests for a service go where they go, now."""

    cluster: str
    """Whose gateway answers."""
    namespace: str
    name: str
    dns_name: str
    port: str
    from_cluster: str
    """Whose requests: `cluster`'s own workloads', or those of a peer, which go to local endpoints only."""
    summary: str
    """One line: what gets how much, and why not what would be nearer."""
    places: tuple[PlaceDocument, ...]
    """In order of preference."""
    ejections: tuple[EjectedDocument, ...]
    endpoints: tuple[EndpointStateDocument, ...]
    limits: tuple[LimitsDocument, ...]
    """Of the places that requests went to."""
    panic: bool
    """So little is healthy that health is disregarded."""
    policy: str
    """What of `failover.services` applies, in words."""
    consumers: tuple[str, ...]
    """Peers that may call the share of this cluster; `*` is every peer."""
    workers_asked: int
    workers_answered: int
    differences: tuple[str, ...]
    """What workers say otherwise than the first: each decides by its own requests and tunnels."""
    events: tuple[EventDocument, ...]
    """The last ones of this service, and of the clusters that have it; the oldest first."""
    endpoint_loads: tuple[EndpointLoadDocument, ...] = ()
    """Of local endpoints that there are connections to; of very many the busiest."""
    retry_budget: RetryBudgetDocument | None = None
    """None if no worker answered."""
