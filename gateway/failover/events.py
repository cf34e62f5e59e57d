"""What happened to a service's places, for people: each failover decision with its cause and numbers."""

from __future__ import annotations

import enum

import msgspec


class EventKind(enum.StrEnum):
    """What happened. The values are metric labels and are shown in status."""

    EJECTED = "ejected"
    """An endpoint, or a service in a cluster, gets no requests for a while."""
    RETURNED = "returned"
    """Its time is over: it gets requests again, few at first."""
    SPILLED = "spilled"
    """The preferred place can not carry all: a part goes to the next."""
    FAILED_OVER = "failed-over"
    """The preferred place gets nothing any more."""
    RECOVERED = "recovered"
    """All goes to the preferred place again."""
    PANIC = "panic"
    """So little is healthy that health is disregarded."""
    PANIC_ENDED = "panic-ended"
    OVERFLOWED = "overflowed"
    """A limit of the service is reached: requests to that cluster are refused."""
    EXHAUSTED = "exhausted"
    """No place is left: requests are refused."""


class Cause(enum.StrEnum):
    """Why it happened. The values are metric labels and are shown in status."""

    GATEWAY_ERRORS = "consecutive-gateway-errors"
    SERVER_ERRORS = "consecutive-5xx"
    SUCCESS_RATE = "success-rate"
    PUBLISHED_HEALTH = "published-health"
    """The owner's health checks say so."""
    TUNNELS = "tunnels"
    """Tunnels to the cluster opened or ended."""
    EJECTION = "ejection"
    """Requests to it failed; the event `ejected` says how."""
    STALE = "stale"
    """Nothing was heard of the cluster for long."""
    SLOW_START = "slow-start"
    """It has just come back, and gets its share little by little."""
    TIME_OVER = "time-over"
    """It was well for long enough."""
    LIMIT = "limit"
    """One of `limits`."""
    CONFIGURATION = "configuration"
    """The service or the configuration changed."""


class FailoverEvent(msgspec.Struct, frozen=True):
    """One change in where a service's requests go."""

    at: float
    """Seconds since 1970-01-01T00:00:00Z."""
    service: str
    """`<namespace>/<name>`"""
    kind: EventKind
    where: str
    """The cluster, `<cluster>/<zone>`, or the endpoint (host:port) that it happened to."""
    cause: Cause
    numbers: dict[str, float] = {}
    """What was counted or computed: shares and rates are 0 to 1, times end in `_s` or `_ms`."""
    lost: str = ""
    """The cluster or `<cluster>/<zone>` that got the requests before, if the cause is one of it."""
