"""What the user decides about failover, as it crosses to the workers. All shares are fractions, 0 to 1."""

from __future__ import annotations

import enum
from fnmatch import fnmatchcase

import msgspec

from discovery.model import ServiceName


class Affinity(enum.StrEnum):
    """Which clusters a service is asked of first."""

    LOCAL = "local"
    """Our own, then the nearest."""
    REMOTE = "remote"
    """The nearest other, our own when no other can."""
    NONE = "none"
    """All alike, by how many endpoints they have."""


class EjectionPolicy(msgspec.Struct, frozen=True):
    """When a place gets no requests for a while, and for how long. The words are Envoy's."""

    consecutive_gateway_errors: int = 5
    """502, 503, 504, and requests that came to nothing, in a row. 0: they are not counted."""
    consecutive_5xx: int = 5
    """Any of 5xx, and what counts as a gateway error, in a row. 0: they are not counted."""
    interval_s: float = 10.0
    """Success rates are compared this often, and a place that stayed is forgiven one ejection this often."""
    success_rate_minimum_hosts: int = 5
    """So many must have had requests enough. 0: success rates are not compared."""
    success_rate_request_volume: int = 100
    success_rate_stdev_factor: float = 1.9
    base_ejection_time_s: float = 1.0
    """The first time. It doubles with each further one."""
    max_ejection_time_s: float = 300.0
    max_ejected: float = 0.5
    """Of the places of a service; one may always be ejected if there is another."""
    slow_start_s: float = 5.0
    """Over so long a returned place gets its full share again."""


class ServicePolicy(msgspec.Struct, frozen=True):
    """One service's own rules. None and empty mean: as for all services."""

    order: tuple[str, ...] | None = None
    affinity: Affinity = Affinity.LOCAL
    pin: str = ""
    """The only cluster that may be asked."""
    weights: dict[str, int] = {}
    """These clusters share the load so while they can; all others stand behind them."""
    max_share: float | None = None

    def __str__(self) -> str:
        """In the words of the configuration."""
        words = [f"pin {self.pin}"] if self.pin else []
        words += [f"affinity {self.affinity}"] if self.affinity is not Affinity.LOCAL else []
        if self.weights:
            words.append("weights " + ", ".join(f"{cluster} {n}" for cluster, n in self.weights.items()))
        words += [f"order {', '.join(self.order)}"] if self.order is not None else []
        words += [f"max_share {self.max_share:.0%}"] if self.max_share is not None else []
        return "; ".join(words)


NO_POLICY = ServicePolicy()


class FailoverSettings(msgspec.Struct, frozen=True):
    """All that the user decides about failover."""

    order: tuple[str, ...] = ()
    """Regions and clusters, the preferred first."""
    max_share: float = 1.0
    """Of one service's requests, at most so many go to one other cluster while there is room elsewhere."""
    panic_threshold: float = 0.5
    ejection: EjectionPolicy = EjectionPolicy()
    services: tuple[tuple[str, ServicePolicy], ...] = ()
    """Patterns over `<namespace>/<name>`, and what holds for the services that they match."""

    def policy_of(self, service: ServiceName) -> ServicePolicy:
        """What holds for one service: its own name goes before patterns, of which the first that matches counts."""
        name = str(service)
        exact = next((policy for pattern, policy in self.services if pattern == name), None)
        if exact is not None:
            return exact
        return next((policy for pattern, policy in self.services if fnmatchcase(name, pattern)), NO_POLICY)
