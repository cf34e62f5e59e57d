"""How many services there are, who offers them and which could be reached: kept in step with the catalog. Pure.

A status is asked for every second, and a catalog may have a hundred thousand services: what is counted when it changes
need not be walked when it is asked for. Services are counted by their *shape*, which is who offers them and which of
them has something healthy; there are few shapes, and whether one can be reached depends on nothing else but our
tunnels.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Set
from typing import TypeAlias

from discovery.model import ServiceName
from federation.freshness import Freshness
from federation.service_view import ExportView, ServiceView
from federation.status.peer_values import PeerServicesDocument
from federation.status.service_values import ServiceCountsDocument

Shape: TypeAlias = tuple[tuple[str, bool], ...]
"""The clusters that offer a service, and whether a request could be answered there if we reach them."""


class ServiceCounts:
    """The counts of the catalog of `own_cluster`."""

    def __init__(self, own_cluster: str) -> None:
        self._own = own_cluster
        self._shapes: Counter[Shape] = Counter()
        self._disputed: dict[ServiceName, ServiceView] = {}

    def change(self, before: ServiceView | None, after: ServiceView | None) -> None:
        """A service is this now, and was that; None: it is not, or was not, there."""
        if before is not None:
            shape = self._shape(before)
            self._shapes[shape] -= 1
            if not self._shapes[shape]:
                del self._shapes[shape]
            self._disputed.pop(before.name, None)
        if after is not None:
            self._shapes[self._shape(after)] += 1
            if after.conflicts:
                self._disputed[after.name] = after

    @property
    def disputed(self) -> Iterable[ServiceView]:
        """The services whose exports conflict."""
        return self._disputed.values()

    def in_all(self, linked: Set[str], exported: int) -> ServiceCountsDocument:
        """`linked` are the peers that we have a ready tunnel to, `exported` says how many of our services are."""
        total = reachable = imported = 0
        for shape, count in self._shapes.items():
            total += count
            reachable += count * any(usable and self._is_near(cluster, linked) for cluster, usable in shape)
            imported += count * any(cluster != self._own for cluster, _ in shape)
        return ServiceCountsDocument(total, reachable, imported, exported)

    def by_cluster(self, linked: Set[str]) -> dict[str, PeerServicesDocument]:
        """How many services each cluster offers us, and how many of those can be reached there."""
        offered: Counter[str] = Counter()
        reachable: Counter[str] = Counter()
        for shape, count in self._shapes.items():
            for cluster, usable in shape:
                offered[cluster] += count
                reachable[cluster] += count * (usable and self._is_near(cluster, linked))
        return {cluster: PeerServicesDocument(count, reachable[cluster]) for cluster, count in offered.items()}

    def _is_near(self, cluster: str, linked: Set[str]) -> bool:
        return cluster == self._own or cluster in linked

    def _shape(self, view: ServiceView) -> Shape:
        return tuple([(export.cluster, is_usable(export, self._own)) for export in view.exports])


def is_usable(export: ExportView, own_cluster: str) -> bool:
    """Whether a request could be answered there, if it gets there. A peer that did not say how healthy its share is may
    be asked; that our own has no zones says that it has no endpoints."""
    for zone in export.zones:
        if zone.healthy:
            return export.cluster == own_cluster or export.freshness is not Freshness.WITHDRAWN
    return not export.zones and export.cluster != own_cluster and export.freshness is not Freshness.WITHDRAWN
