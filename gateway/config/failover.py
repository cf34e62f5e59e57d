"""The section `failover` of cluster.yaml: where requests go when something near is not well."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from typing import Annotated, Any, Literal

from pydantic import Field, PlainValidator

from discovery.config_values import (
    ClusterName,
    Fault,
    Location,
    Place,
    Section,
    duration,
    percent,
    refuse,
    show,
    whole_number,
)
from federation.config import ServicePattern
from gateway.failover.policy import Affinity, EjectionPolicy, FailoverSettings, ServicePolicy

_Count = Annotated[int, whole_number(0, 1_000_000, "a number of errors")]
_Time = Annotated[float, duration("100ms", "24h")]
_MaxShare = Annotated[float, percent(1, 100)]


def _factor(value: Any) -> float:
    if isinstance(value, bool) or not isinstance(value, int | float) or not 0 < value <= 100:
        raise refuse(f"{show(value)} is not a factor", "a number above 0 and up to 100, like 1.9")
    return float(value)


class EjectionConfig(Section):
    """When an endpoint, or a service in a cluster, gets no requests for a while."""

    consecutive_gateway_errors: _Count = 5
    consecutive_5xx: _Count = 5
    interval_s: Annotated[float, duration("1s", "1h")] = Field(default=10.0, alias="interval")
    success_rate_minimum_hosts: Annotated[int, whole_number(0, 1_000_000, "a number of places")] = 5
    success_rate_request_volume: Annotated[int, whole_number(1, 1_000_000_000, "a number of requests")] = 100
    success_rate_stdev_factor: Annotated[float, PlainValidator(_factor)] = 1.9
    base_ejection_time_s: _Time = Field(default=1.0, alias="base_ejection_time")
    max_ejection_time_s: _Time = Field(default=300.0, alias="max_ejection_time")
    max_ejection_percent: Annotated[float, percent(0, 100)] = 0.5
    slow_start_s: Annotated[float, duration("0s", "1h")] = Field(default=5.0, alias="slow_start")

    def policy(self) -> EjectionPolicy:
        values = {name: getattr(self, name) for name in type(self).model_fields if name != "max_ejection_percent"}
        return EjectionPolicy(max_ejected=self.max_ejection_percent, **values)

    def faults(self, at: Location) -> Iterator[Fault]:
        if self.max_ejection_time_s < self.base_ejection_time_s:
            message = "the longest ejection is shorter than the first"
            yield Fault((*at, "max_ejection_time"), message, "at least failover.ejection.base_ejection_time")


class ServiceFailoverConfig(Section):
    """What holds for some services in place of what holds for all."""

    order: tuple[Place, ...] | None = None
    affinity: Literal["local", "remote", "none"] = "local"
    pin: ClusterName | None = None
    weights: dict[ClusterName, Annotated[int, whole_number(0, 1_000_000, "a weight")]] = Field(default_factory=dict)
    max_share: _MaxShare | None = None

    def policy(self) -> ServicePolicy:
        return ServicePolicy(self.order, Affinity(self.affinity), self.pin or "", dict(self.weights), self.max_share)

    def faults(self, at: Location, clusters: Iterable[str]) -> Iterator[Fault]:
        """`clusters` are those that there are: our own and the peers."""
        if self.pin is not None:
            for key in self.model_fields_set - {"pin"}:
                yield Fault((*at, key), "pin leaves nothing to choose from", "either pin or this")
        if self.weights and self.affinity == "none":
            yield Fault(
                (*at, "affinity"), "with none all clusters are alike, and weights says otherwise", "one of them"
            )
        if self.weights and not any(self.weights.values()):
            yield Fault((*at, "weights"), "no cluster has any weight", "a number above 0 for one of them")
        named = {("weights", cluster): cluster for cluster in self.weights}
        for path, cluster in named.items() if self.pin is None else [(("pin",), self.pin)]:
            if cluster not in clusters:
                message = f'"{cluster}" is neither this cluster nor among peers, so nothing goes there yet'
                yield Fault((*at, *path), message, hint=f"there are {', '.join(clusters)}", warning=True)


class FailoverConfig(Section):
    """Where to go when nothing near is healthy: regions and clusters, the preferred first."""

    order: tuple[Place, ...] = ()
    max_share: _MaxShare = 1.0
    panic_threshold: Annotated[float, percent(0, 100)] = 0.5
    ejection: EjectionConfig = EjectionConfig()
    services: dict[ServicePattern, ServiceFailoverConfig] = Field(default_factory=dict)

    def settings(self) -> FailoverSettings:
        """As the workers get it."""
        services = tuple((pattern, service.policy()) for pattern, service in self.services.items())
        return FailoverSettings(self.order, self.max_share, self.panic_threshold, self.ejection.policy(), services)

    def faults(self, at: Location, clusters: Iterable[str]) -> Iterator[Fault]:
        """What does not fit together. `clusters` are those that there are: our own and the peers."""
        yield from self.ejection.faults((*at, "ejection"))
        for pattern, service in self.services.items():
            yield from service.faults((*at, "services", pattern), clusters)
