"""What our cluster exports: its local services and their health, as the values that peers read."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator

import msgspec

from discovery.model import LocalService, ServiceName, ZoneHealth
from federation.values import ExportValue


class _Local(msgspec.Struct):
    service: LocalService
    zones: tuple[ZoneHealth, ...] | None
    """None: nobody has checked yet."""


class OwnExports:
    """Local services by name. `wall` is Unix seconds."""

    def __init__(self) -> None:
        self._locals: dict[ServiceName, _Local] = {}
        self._created: dict[ServiceName, float] = {}

    def __contains__(self, name: ServiceName) -> bool:
        return name in self._locals

    def __iter__(self) -> Iterator[ServiceName]:
        return iter(tuple(self._locals))

    def service(self, name: ServiceName) -> LocalService:
        return self._locals[name].service

    def put(self, service: LocalService, wall: float) -> bool:
        """Adds or replaces a service; its known health stays. Returns whether it is other than before."""
        known = self._locals.get(service.name)
        if known is not None and known.service == service:
            return False
        self._locals[service.name] = _Local(service, known.zones if known is not None else None)
        if service.export_to:
            self._created.setdefault(service.name, wall)
        else:
            self._created.pop(service.name, None)
        return True

    def remove(self, name: ServiceName) -> bool:
        self._created.pop(name, None)
        return self._locals.pop(name, None) is not None

    def set_health(self, name: ServiceName, zones: tuple[ZoneHealth, ...]) -> bool:
        """Takes what the health checks say; returns whether it is news. Unknown names are passed over: a check may
        end after its service was removed."""
        local = self._locals.get(name)
        if local is None or local.zones == zones:
            return False
        local.zones = zones
        return True

    def learn_created(self, name: ServiceName, created: float) -> bool:
        """An export of ours from before, found in etcd or on disk, says since when there is one. Returns whether
        that is news."""
        if created >= self._created.get(name, float("inf")):
            return False
        self._created[name] = created
        return name in self._locals

    def created(self, name: ServiceName) -> float | None:
        """Since when `name` is exported; None when it is not."""
        local = self._locals.get(name)
        return self._created.get(name) if local is not None and local.service.export_to else None

    def zones(self, name: ServiceName) -> tuple[ZoneHealth, ...]:
        """The health of a service by zone. What nobody has checked yet counts as healthy: a gateway that restarts
        must not tell its peers that everything is down."""
        local = self._locals[name]
        if local.zones is not None:
            return local.zones
        totals = Counter(endpoint.zone for endpoint in local.service.endpoints)
        return tuple(ZoneHealth(zone, total, total) for zone, total in sorted(totals.items()))

    def value(self, name: ServiceName) -> ExportValue | None:
        """What peers shall read; None when the service is not exported."""
        created = self.created(name)
        if created is None:
            return None
        service = self._locals[name].service
        return ExportValue(service.ports, tuple(sorted(service.export_to)), created, self.zones(name))
