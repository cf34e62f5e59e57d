"""The merged catalog: what our cluster and its peers offer, as services of the whole clusterset (KEP-1645).

Same namespace and name is the same service. Its ports are the united ports of all exports; where two exports
disagree on a port the oldest one wins, and every member that sees the same exports comes to the same result. Pure
and incremental: a change of one export is work for that one service, whatever else the catalog holds.
"""

from __future__ import annotations

from collections.abc import Mapping
from types import MappingProxyType

from discovery.model import LocalService, Port, ServiceName, ZoneHealth
from federation.freshness import Freshness
from federation.import_cap import ImportCap
from federation.imports import ImportPolicy
from federation.service_view import Conflict, ConflictReason, ExportView, ServiceView
from federation.values import ExportValue


class _Share:
    __slots__ = ("cluster", "created", "ports", "zones")

    def __init__(self, cluster: str, ports: tuple[Port, ...], zones: tuple[ZoneHealth, ...], created: float) -> None:
        self.cluster = cluster
        self.ports = ports
        self.zones = zones
        self.created = created


class Catalog:
    """The catalog of `cluster`. Every change returns the names of the services that became different."""

    def __init__(self, cluster: str, imports: ImportPolicy) -> None:
        self.cluster = cluster
        self._imports = imports
        self._caps: dict[str, ImportCap] = {}
        self._shares: dict[ServiceName, dict[str, _Share]] = {}
        self._by_cluster: dict[str, set[ServiceName]] = {}
        self._freshness: dict[str, Freshness] = {}
        self._views: dict[ServiceName, ServiceView] = {}
        self.services: Mapping[ServiceName, ServiceView] = MappingProxyType(self._views)
        """A live, read-only view."""

    def shared_by(self, cluster: str) -> int:
        """How many services of `cluster` are part of the catalog."""
        return len(self._by_cluster.get(cluster, ()))

    def apply_export(self, cluster: str, name: ServiceName, value: ExportValue | None) -> set[ServiceName]:
        """A peer exports this now (None: no longer). What is not for us, or not let in, counts as nothing; of the rest,
        as much is taken as the limits allow, so that other services of the peer may come or go by it."""
        return self.apply_exports(cluster, {name: value})

    def apply_exports(self, cluster: str, exports: Mapping[ServiceName, ExportValue | None]) -> set[ServiceName]:
        """The same for many."""
        if cluster not in self._caps:
            self._caps[cluster] = ImportCap(self._imports.limits)
        wanted = {name: value if self._is_wanted(cluster, name, value) else None for name, value in exports.items()}
        return self._take(cluster, self._caps[cluster].put_all(wanted))

    def apply_local(
        self, service: LocalService, zones: tuple[ZoneHealth, ...], created: float | None
    ) -> set[ServiceName]:
        """Our own service. `created` is None when it is not exported: nobody else sees it then, and it counts as
        the oldest, so that no peer's export changes what its own cluster's clients have."""
        share = _Share(self.cluster, service.ports, zones, created if created is not None else 0.0)
        return {service.name} if self._put(service.name, self.cluster, share) else set()

    def remove_local(self, name: ServiceName) -> set[ServiceName]:
        return {name} if self._put(name, self.cluster, None) else set()

    def apply_freshness(self, cluster: str, freshness: Freshness) -> set[ServiceName]:
        """What `cluster` said is worth this now: work for all services that it shares, when it changes their use."""
        if freshness is Freshness.SUSPECT:
            freshness = Freshness.FRESH
        if self._fresh(cluster) is freshness:
            return set()
        self._freshness[cluster] = freshness
        return {name for name in self._by_cluster.get(cluster, ()) if self._compile(name)}

    def apply_imports(
        self, imports: ImportPolicy, exports: Mapping[str, Mapping[ServiceName, ExportValue]]
    ) -> set[ServiceName]:
        """What is let in from now on, of all that each peer exports. What is let in before and after does not change in
        between."""
        self._imports = imports
        changed: set[ServiceName] = set()
        for cluster, offered in exports.items():
            before, cap = self._caps.get(cluster), ImportCap(imports.limits)
            self._caps[cluster] = cap
            cap.put_all({name: value for name, value in offered.items() if self._is_wanted(cluster, name, value)})
            gone = (before.taken.keys() if before is not None else set()) - cap.taken.keys()
            changed |= self._take(cluster, {**dict.fromkeys(gone), **cap.taken})
        return changed

    def left_out(self, cluster: str) -> tuple[int, ServiceName | None]:
        """How many of the services that a peer exports to us are more than we take, and the first of them."""
        cap = self._caps.get(cluster)
        return (cap.left_out, cap.first_left_out) if cap is not None else (0, None)

    def drop_cluster(self, cluster: str) -> set[ServiceName]:
        """Nothing that `cluster` said counts any longer."""
        changed = {name for name in tuple(self._by_cluster.get(cluster, ())) if self._put(name, cluster, None)}
        self._by_cluster.pop(cluster, None)
        self._caps.pop(cluster, None)
        self._freshness.pop(cluster, None)
        return changed

    def _is_wanted(self, cluster: str, name: ServiceName, value: ExportValue | None) -> bool:
        return value is not None and value.is_for(self.cluster) and self._imports.admits(cluster, name)

    def _take(self, cluster: str, taken: Mapping[ServiceName, ExportValue | None]) -> set[ServiceName]:
        changed: set[ServiceName] = set()
        for name, value in taken.items():
            share = _Share(cluster, value.ports, value.zones, value.created) if value is not None else None
            if self._put(name, cluster, share):
                changed.add(name)
        return changed

    def _put(self, name: ServiceName, cluster: str, share: _Share | None) -> bool:
        """Returns whether the service is another by it."""
        shares = self._shares.get(name)
        if shares is None:
            shares = self._shares[name] = {}
        if share is not None:
            shares[cluster] = share
            self._by_cluster.setdefault(cluster, set()).add(name)
        else:
            shares.pop(cluster, None)
            self._by_cluster.setdefault(cluster, set()).discard(name)
        return self._compile(name)

    def _compile(self, name: ServiceName) -> bool:
        """Merges one service anew; returns whether it became different."""
        shares = self._shares[name]
        if not shares:
            del self._shares[name]
        fresh = self._freshness
        usable = [s for s in shares.values() if fresh.get(s.cluster) is not Freshness.WITHDRAWN]
        if not usable:
            return self._views.pop(name, None) is not None
        if len(usable) > 1:
            usable.sort(key=lambda share: (share.created, share.cluster))
        view = self._merge(name, usable)
        changed = self._views.get(name) != view
        self._views[name] = view
        return changed

    def _fresh(self, cluster: str) -> Freshness:
        return self._freshness.get(cluster, Freshness.FRESH)

    def _merge(self, name: ServiceName, shares: list[_Share]) -> ServiceView:
        if len(shares) == 1 and len(shares[0].ports) == 1:
            # Most of a large catalog, and nothing in it that could disagree.
            share = shares[0]
            fresh = self._fresh(share.cluster)
            only = ExportView(share.cluster, share.ports, share.zones, share.created, fresh)
            return ServiceView(name, share.ports, (only,))
        ports: list[Port] = []
        exports: list[ExportView] = []
        conflicts: list[Conflict] = []
        for share in shares:
            served: list[Port] = []
            for port in share.ports:
                rival = next((p for p in ports if p.name == port.name or p.port == port.port), None)
                if rival is None:
                    ports.append(port)
                elif rival != port:
                    conflicts.append(_port_conflict(share.cluster, port, rival))
                    continue
                served.append(port)
            fresh = self._fresh(share.cluster)
            exports.append(ExportView(share.cluster, tuple(served), share.zones, share.created, fresh))
        return ServiceView(name, tuple(ports), tuple(exports), tuple(conflicts))


def _port_conflict(cluster: str, port: Port, rival: Port) -> Conflict:
    message = f"{_describe(port)} conflicts with {_describe(rival)} of an older export"
    return Conflict(cluster, ConflictReason.PORT_CONFLICT, message)


def _describe(port: Port) -> str:
    return f"port {port.port}/{port.protocol} ({port.name})"
