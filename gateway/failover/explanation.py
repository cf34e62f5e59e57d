"""Why a service's requests go where they go, as a worker answers it from its own state."""

from __future__ import annotations

import msgspec

from gateway.failover.events import Cause


class GroupExplanation(msgspec.Struct, frozen=True):
    """A group of places that are as near as each other."""

    cluster: str
    zone: str
    """Of this cluster's groups; empty for another cluster, whose gateways choose the zone."""
    rank: int
    """0 is the most preferred. Groups of one rank share their load."""
    why: str
    """Why it has this rank: "own zone", "same region", "failover.order 1", …"""
    healthy: int
    total: int
    """Endpoints as their owner publishes them; 0 of 0 if it does not say."""
    ejected: int = 0
    """How many of our endpoints, or 1 if the service is ejected in that cluster."""
    tunnels: int = 0
    """How many to that cluster answer, from this worker."""
    rtt_ms: float = 0.0
    reachable: float = 1.0
    """Of that cluster's gateways, how many answer, 0 to 1."""
    availability: float = 1.0
    """0 to 1: what is published, reachable and not ejected."""
    damping: float = 1.0
    """0 to 1: how much of its share it gets, less when it has just come back."""
    held_s: float = 0.0
    """For how long it is held back, because it keeps going and coming."""
    share: float = 0.0
    """Of the service's requests that come from workloads here, 0 to 1."""
    next_share: float = 0.0
    """What it would get if the first group that gets requests now died."""


class EjectionExplanation(msgspec.Struct, frozen=True):
    """A place that gets no requests for a while."""

    where: str
    """An endpoint (host:port), or a cluster in which this service is ejected."""
    until: float
    """Seconds since 1970-01-01T00:00:00Z."""
    count: int
    """How many times in a row it was ejected, which is what the time grows with."""
    cause: Cause
    rate: float
    """The share of its requests that failed in the last interval, 0 to 1."""


class LimitsExplanation(msgspec.Struct, frozen=True):
    """The circuit breaker of one place: what one worker carries there now, and may."""

    where: str
    """`local`, or another cluster."""
    requests: int
    """In progress."""
    requests_limit: int
    retries: int
    """Among those."""
    retries_limit: int
    refused: int
    """Requests, and further attempts, that one of `limits` refused since the worker began."""


class EndpointLoad(msgspec.Struct, frozen=True):
    """What one worker's connections to a local endpoint carry now, and may."""

    address: str
    """host:port"""
    requests: int
    """In progress, those that wait for a connection among them."""
    connections: int
    """Open, and being opened."""
    connections_limit: int
    pending: int
    """Requests that wait for one."""
    pending_limit: int


class RetryBudgetExplanation(msgspec.Struct, frozen=True):
    """What bounds the retries of all services of one worker together."""

    active: int
    """Requests in progress."""
    retrying: int
    """Among those, tried more than once."""
    share: float
    """How many of them may be, 0 to 1."""
    minimum_per_s: float
    """Retries that are allowed beside that."""


class LoadExplanation(msgspec.Struct, frozen=True):
    """What one worker carries of a service now, beside what it may."""

    places: tuple[LimitsExplanation, ...] = ()
    """Those that requests went to."""
    endpoints: tuple[EndpointLoad, ...] = ()
    """Local ones that there are connections to; of very many the busiest."""
    budget: RetryBudgetExplanation | None = None


class Explanation(msgspec.Struct, frozen=True):
    """Where one service's requests go, now, in one worker."""

    service: str
    """`<namespace>/<name>`"""
    port: str
    from_cluster: str
    """Whose requests: this cluster's own workloads', or those of a peer, which go to local endpoints only."""
    groups: tuple[GroupExplanation, ...]
    ejections: tuple[EjectionExplanation, ...] = ()
    panic: bool = False
    load: LoadExplanation = LoadExplanation()
    policy: str = ""
    """What of `failover.services` applies, in words; empty if nothing does."""
