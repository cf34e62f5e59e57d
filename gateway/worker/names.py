"""Cross-cluster DNS in a worker: keeps a zone in step with the snapshot and answers from it."""

from __future__ import annotations

from collections.abc import Iterable

from discovery.dns_message import DnsCounters, Responder
from discovery.model import Port
from discovery.zone import Zone
from discovery.zone_records import ZoneService
from gateway.snapshot import LocalResource, ServiceResource

_PORTS_KEPT = 1_024


class NameService:
    """A `Responder` that begins to answer when the first snapshot is there; until then it stays silent."""

    def __init__(self) -> None:
        self.counters = DnsCounters()
        self._local: LocalResource | None = None
        self._zone: Zone | None = None
        self._responder: Responder | None = None
        self._ports: dict[tuple[Port, ...], tuple[Port, ...]] = {}
        """Services have the same few sets of ports: one copy of each is enough."""

    def configure(self, local: LocalResource, services: Iterable[ServiceResource]) -> None:
        """Takes the cluster's own settings. What does not concern names changes nothing here."""
        before, self._local = self._local, local
        if before is not None and _concern_names(before) == _concern_names(local):
            return
        self._zone = Zone(local.federation, [local.nameserver] if local.nameserver else [])
        for service in services:
            self.changed(None, service)
        self._responder = Responder(self._zone, max(1, round(local.dns_ttl_s)), self.counters)

    def changed(self, before: ServiceResource | None, after: ServiceResource | None) -> None:
        if self._zone is None:
            return
        if after is not None and after.vip:
            if len(self._ports) >= _PORTS_KEPT:
                self._ports.clear()
            ports = self._ports.setdefault(after.ports, after.ports)
            self._zone.upsert(ZoneService(after.name, (after.vip,), ports))
        elif before is not None:
            self._zone.remove(before.name)

    def respond(self, wire: bytes, *, udp: bool) -> bytes | None:
        return self._responder.respond(wire, udp=udp) if self._responder is not None else None


def _concern_names(local: LocalResource) -> tuple[str, float, str]:
    return (local.federation, local.dns_ttl_s, local.nameserver)
