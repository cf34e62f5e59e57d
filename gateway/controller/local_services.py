"""The services that live in this cluster: from the configuration to their health and to federation."""

from __future__ import annotations

import logging
import random
from collections.abc import Callable, Iterable
from datetime import datetime

import trio

from discovery.health import EndpointHealthChanged, HealthMonitor
from discovery.model import Endpoint, LocalService, ServiceName, ZoneHealth
from federation.federation import Federation
from gateway.endpoint.authorities import EndpointAuthorities
from gateway.endpoint.probe import EndpointProbe
from gateway.snapshot import UpstreamTls
from trust.source import TrustSource
from trust.svid import X509Svid

log = logging.getLogger("isthmus.controller")

AUTHORITIES_POLL_S = 1.0


class LocalServices:
    """Follows them while `run` runs.

    Args:
        changed: hears which services are another now for workers.
        endpoint_changed: hears of each endpoint that became usable or unusable, before `changed` does.
        trust, svid, wall_clock: for endpoints that are asked over TLS; `svid` raises TrustError.
    """

    def __init__(
        self,
        federation: Federation,
        rng: random.Random,
        *,
        changed: Callable[[set[ServiceName]], None],
        endpoint_changed: Callable[[EndpointHealthChanged], None],
        trust: TrustSource,
        svid: Callable[[datetime], X509Svid],
        wall_clock: Callable[[], datetime],
    ) -> None:
        self.authorities = EndpointAuthorities(trust)
        self.health = HealthMonitor(self._endpoint_changed, rng, probe=EndpointProbe(self.tls, svid, wall_clock))
        self._federation = federation
        self._changed = changed
        self._tell_endpoint = endpoint_changed
        self._services: dict[ServiceName, LocalService] = {}

    async def run(self) -> None:
        """Checks health, and reads the authorities of endpoints when they change, until cancelled."""
        async with trio.open_nursery() as nursery:
            nursery.start_soon(self.health.run)
            nursery.start_soon(self._follow_authorities)

    def get(self, name: ServiceName) -> LocalService | None:
        return self._services.get(name)

    def tls(self, name: ServiceName) -> UpstreamTls | None:
        """How a service's endpoints are spoken to; None for plain text."""
        return self.authorities.of(self._services.get(name))

    def replace(self, services: Iterable[LocalService]) -> None:
        """These and no others: follows new and changed ones, and those that are gone."""
        wanted = {service.name: service for service in services}
        for name in self._services.keys() - wanted.keys():
            self.remove(name)
        for service in wanted.values():
            self.put(service)
        self._federation.complete_local_services()

    def put(self, service: LocalService) -> None:
        """A source has this service now."""
        if self._services.get(service.name) != service:
            self._services[service.name] = service
            self.health.upsert(service)
            self._federation.upsert_local(service)
            self._publish_health(service)
            # A change of endpoints alone is no change of the catalog, and must reach the workers all the same.
            self._changed({service.name})

    def remove(self, name: ServiceName) -> None:
        """No source has it any longer. Unknown names are ignored."""
        if self._services.pop(name, None) is not None:
            self.health.remove(name)
            self._federation.remove_local(name)

    def _endpoint_changed(self, change: EndpointHealthChanged) -> None:
        log.info(
            "endpoint %s of %s is %s: %s",
            change.endpoint.address,
            change.service,
            "healthy" if change.healthy else "unhealthy",
            change.reason,
        )
        self._tell_endpoint(change)
        service = self._services.get(change.service)
        if service is not None:
            self._publish_health(service)
        self._changed({change.service})

    def _publish_health(self, service: LocalService) -> None:
        self._federation.set_local_health(service.name, zone_health(service, self.health))

    async def _follow_authorities(self) -> None:
        """CA files change when somebody renews them, and ours with a rotation."""
        while True:
            await trio.sleep(AUTHORITIES_POLL_S)
            if changed := self.authorities.changed(self._services):
                self._changed(changed)


def zone_health(service: LocalService, health: HealthMonitor) -> tuple[ZoneHealth, ...]:
    """How many endpoints of a service are healthy in each zone."""
    zones: dict[str, list[Endpoint]] = {}
    for endpoint in service.endpoints:
        zones.setdefault(endpoint.zone, []).append(endpoint)
    return tuple(
        ZoneHealth(zone, sum(health.is_healthy(service.name, endpoint) for endpoint in endpoints), len(endpoints))
        for zone, endpoints in sorted(zones.items())
    )
