"""How requests to a service are carried: how long they may take, how often they are tried, how many there may be.

What the user wrote for all services, for patterns and for one service has been put together by `config.traffic`: a
worker finds the values of a service by its name.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from fnmatch import fnmatchcase
from typing import TypeVar

import msgspec

from discovery.model import ServiceName

IDLE_S = 300.0
"""Envoy's and Istio's stream idle timeout."""
TUNNEL_IDLE_S = 3600.0
"""A TCP connection or a WebSocket may be silent for long and be meant so; Envoy's idle timeout of TCP."""


class Timeouts(msgspec.Struct, frozen=True):
    """All in seconds; 0 means that there is no such limit. As Istio does, we limit nothing but silence by default: a
    download, an event stream or a call of gRPC may take as long as it likes while it moves."""

    request_s: float = 0.0
    """From the end of the request to the end of its response, over all attempts (Envoy's route timeout)."""
    attempt_s: float = 0.0
    """From the end of the request to the beginning of the response, for each attempt (Envoy's per-try timeout)."""
    idle_s: float = IDLE_S
    """Without a byte in either direction."""
    tunnel_idle_s: float = TUNNEL_IDLE_S
    """The same for TCP, CONNECT and upgrades, to which the other two do not apply."""


class Retries(msgspec.Struct, frozen=True):
    """When a request is tried again, beyond what RFC 9110 and RFC 9113 call safe for every method."""

    attempts: int = 5
    """Of one request in all, over both gateways: it tries each cluster and a few endpoints, never everything."""
    statuses: tuple[int, ...] = (502, 503, 504)
    """Of responses to idempotent methods that are replaced by another attempt's, where there is somewhere to go."""
    hedge_after_s: float = 0.0
    """A safe request without a response for so long is sent to a second place as well. 0: never."""
    hedge_after_quantile: float = 0.0
    """The same, after what this share of the service's requests took, 0 to 1. 0: never."""


class Limits(msgspec.Struct, frozen=True):
    """How much of a service one worker carries at once. Envoy's defaults, but for retries, which the budget bounds."""

    connections: int = 1024
    """To each local endpoint."""
    pending: int = 1024
    """Requests that wait for a connection to one local endpoint."""
    requests: int = 1024
    """In progress to one cluster."""
    retries: int = 1024
    """Among those, further attempts of a request."""


class Traffic(msgspec.Struct, frozen=True):
    """Everything that holds for one service."""

    timeouts: Timeouts = Timeouts()
    retries: Retries = Retries()
    limits: Limits = Limits()


DEFAULT_TRAFFIC = Traffic()
_Value = TypeVar("_Value", Timeouts, Retries, Limits)


class TrafficSettings(msgspec.Struct, frozen=True):
    """What holds for each service. In each list the first pattern over `<namespace>/<name>` that matches counts, and
    its values are complete."""

    timeouts: tuple[tuple[str, Timeouts], ...] = ()
    retries: tuple[tuple[str, Retries], ...] = ()
    limits: tuple[tuple[str, Limits], ...] = ()

    def of(self, service: ServiceName) -> Traffic:
        """
        >>> slow = TrafficSettings(timeouts=(("shop/*", Timeouts(request_s=2.0)),))
        >>> slow.of(ServiceName("shop", "payments")).timeouts.request_s
        2.0
        >>> slow.of(ServiceName("stock", "catalog")) == DEFAULT_TRAFFIC
        True
        """
        name = str(service)
        return Traffic(
            timeouts=_first(self.timeouts, name, DEFAULT_TRAFFIC.timeouts),
            retries=_first(self.retries, name, DEFAULT_TRAFFIC.retries),
            limits=_first(self.limits, name, DEFAULT_TRAFFIC.limits),
        )


def matching(patterns: Iterable[str], name: str) -> str | None:
    """The first of some patterns that a service's name matches."""
    return next((pattern for pattern in patterns if fnmatchcase(name, pattern)), None)


def _first(rules: Sequence[tuple[str, _Value]], name: str, default: _Value) -> _Value:
    return next((value for pattern, value in rules if fnmatchcase(name, pattern)), default)
