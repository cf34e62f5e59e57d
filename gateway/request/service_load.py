"""What a worker carries of one service now, beside what it may (circuit breaking), for `explain`. Pure."""

from __future__ import annotations

from collections.abc import Collection, Mapping
from typing import Protocol

import msgspec

from gateway.failover.explanation import EndpointLoad, LimitsExplanation, LoadExplanation, RetryBudgetExplanation
from gateway.failover.order import endpoint_address
from gateway.failover.retry_budget import MINIMUM_PER_S, SHARE, RetryBudget
from gateway.request.breaker import Breaker
from gateway.snapshot import ServiceResource
from gateway.traffic import Limits

ENDPOINTS_TOLD = 50
"""The busiest: a service may have thousands."""


class PoolUsage(msgspec.Struct, frozen=True):
    """What a worker's connections to one endpoint carry."""

    address: str
    requests: int
    """In progress, those that wait among them."""
    connections: int
    """Open, and being opened."""
    pending: int
    """Requests that wait for one."""


class Pools(Protocol):
    """Implemented by `endpoints.EndpointPools`."""

    def usage(self, addresses: Collection[str]) -> list[PoolUsage]: ...


def explain_load(
    service: ServiceResource, limits: Limits, breakers: Mapping[str, Breaker], pools: Pools, budget: RetryBudget
) -> LoadExplanation:
    """`breakers` are the service's, by place; `pools` and `budget` the worker's."""
    addresses = {endpoint_address(one.endpoint, port) for one in service.endpoints for port in one.endpoint.ports}
    busiest = sorted(pools.usage(addresses), key=_busyness, reverse=True)[:ENDPOINTS_TOLD]
    return LoadExplanation(
        places=tuple(_explain_place(place, breaker, limits) for place, breaker in sorted(breakers.items())),
        endpoints=tuple(_explain_endpoint(usage, limits) for usage in sorted(busiest, key=_address)),
        budget=RetryBudgetExplanation(budget.active, budget.retrying, SHARE, MINIMUM_PER_S),
    )


def _explain_place(place: str, breaker: Breaker, limits: Limits) -> LimitsExplanation:
    return LimitsExplanation(
        place, breaker.requests, limits.requests, breaker.retries, limits.retries, breaker.overflows
    )


def _explain_endpoint(usage: PoolUsage, limits: Limits) -> EndpointLoad:
    return EndpointLoad(
        usage.address, usage.requests, usage.connections, limits.connections, usage.pending, limits.pending
    )


def _busyness(usage: PoolUsage) -> tuple[int, int, int]:
    return usage.pending, usage.requests, usage.connections


def _address(usage: PoolUsage) -> str:
    return usage.address
