"""What a worker carries of one service, as `explain` shows it."""

from __future__ import annotations

from collections.abc import Collection

from discovery.model import Endpoint, Port, Protocol, ServiceName
from gateway.failover.explanation import EndpointLoad, LimitsExplanation, RetryBudgetExplanation
from gateway.failover.retry_budget import RetryBudget
from gateway.request.breaker import Breaker
from gateway.request.service_load import ENDPOINTS_TOLD, PoolUsage, explain_load
from gateway.snapshot import LocalEndpoint, ServiceResource
from gateway.traffic import Limits

LIMITS = Limits(connections=4, pending=8, requests=16, retries=2)


class Pools:
    """Connections to these endpoints, those of other services among them."""

    def __init__(self, *usages: PoolUsage) -> None:
        self.usages = usages

    def usage(self, addresses: Collection[str]) -> list[PoolUsage]:
        return [usage for usage in self.usages if usage.address in addresses]


def service(count: int) -> ServiceResource:
    endpoints = tuple(LocalEndpoint(Endpoint("127.0.0.1", {"http": 1 + i}), healthy=True) for i in range(count))
    return ServiceResource(ServiceName("shop", "payments"), "", (Port("http", 80, Protocol.HTTP),), endpoints)


def test_each_number_stands_beside_its_limit() -> None:
    """Of its own endpoints only: another service's are no business of whoever asks."""
    breaker = Breaker()
    breaker.enter(LIMITS, retry=False)
    breaker.enter(LIMITS, retry=True)
    breaker.overflowed(0.0)
    pools = Pools(PoolUsage("127.0.0.1:1", 3, 2, 1), PoolUsage("127.0.0.1:99", 1, 1, 0))
    load = explain_load(service(1), LIMITS, {"local": breaker}, pools, RetryBudget(active=5, retrying=1))
    assert load.places == (LimitsExplanation("local", 2, 16, 1, 2, refused=1),)
    assert load.endpoints == (EndpointLoad("127.0.0.1:1", 3, 2, 4, 1, 8),)
    assert load.budget == RetryBudgetExplanation(5, 1, 0.2, 3.0)


def test_of_very_many_endpoints_the_busiest_are_told() -> None:
    """Those that keep requests waiting first; a service may have thousands."""
    pools = Pools(*(PoolUsage(f"127.0.0.1:{1 + i}", i, 1, i % 2) for i in range(3 * ENDPOINTS_TOLD)))
    told = explain_load(service(3 * ENDPOINTS_TOLD), LIMITS, {}, pools, RetryBudget()).endpoints
    assert len(told) == ENDPOINTS_TOLD
    assert all(one.pending for one in told)
    assert min(one.requests for one in told) > ENDPOINTS_TOLD
