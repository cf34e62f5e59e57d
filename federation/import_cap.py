"""How much of what a peer exports to us is taken: the oldest exports first, up to a number of services and of
endpoints. Pure.

What is taken depends on what is offered alone, never on the order in which it came: it is the longest run of the
peer's exports, by age and name, that fits. So a peer that floods loses what it added last. A change costs one search
and as many services as it moves across the cut.
"""

from __future__ import annotations

import bisect
from collections.abc import Mapping
from typing import NamedTuple, TypeAlias

from discovery.model import ServiceName
from federation.values import ExportValue

Order: TypeAlias = list[tuple[float, ServiceName]]
"""Services by age (Unix seconds of the first export) and name."""
Changes: TypeAlias = dict[ServiceName, ExportValue | None]
DEFAULT_MAX_SERVICES = 100_000
DEFAULT_MAX_ENDPOINTS = 1_000_000


class ImportLimits(NamedTuple):
    """For each peer by itself."""

    max_services: int = DEFAULT_MAX_SERVICES
    max_endpoints: int = DEFAULT_MAX_ENDPOINTS


DEFAULT_LIMITS = ImportLimits()


def count_endpoints(value: ExportValue) -> int:
    """As its owner says: only numbers cross, so this bounds what the owner may claim."""
    total = 0
    for zone in value.zones:
        total += zone.total
    return total


class ImportCap:
    """What one peer exports to us, and how much of it is taken. Each change returns what is taken otherwise than
    before: the value by name, None for what is not taken any longer."""

    def __init__(self, limits: ImportLimits) -> None:
        self._limits = limits
        self._values: dict[ServiceName, ExportValue] = {}
        self._order: Order | None = None
        """By age and name. None until something has to be left out: most peers never need it. It stays from then on,
        so that a peer that goes to and fro over its limit makes nobody sort."""
        self._taken = 0
        """The first so many of `_order`, if there is one; otherwise all."""
        self._endpoints = 0
        """Of those that are taken."""

    def __repr__(self) -> str:
        return f"ImportCap({self._count} of {len(self._values)} services, {self._endpoints} endpoints)"

    @property
    def _count(self) -> int:
        return len(self._values) if self._order is None else self._taken

    @property
    def left_out(self) -> int:
        """How many services are cut off."""
        return len(self._values) - self._count

    @property
    def first_left_out(self) -> ServiceName | None:
        return self._order[self._taken][1] if self._order is not None and self.left_out else None

    @property
    def taken(self) -> Mapping[ServiceName, ExportValue]:
        if self._order is None:
            return dict(self._values)
        return {name: self._values[name] for _, name in self._order[: self._taken]}

    def put(self, name: ServiceName, value: ExportValue | None) -> Changes:
        """The peer offers this now; None: no longer."""
        return self.put_all({name: value})

    def put_all(self, offered: Mapping[ServiceName, ExportValue | None]) -> Changes:
        """The same for many."""
        changes: Changes = {}
        for name, value in offered.items():
            if self._order is None:
                if self._put_with_all(name, value, changes):
                    continue
                self._order = sorted((known.created, one) for one, known in self._values.items())
                self._taken = len(self._order)
            self._put_in_order(self._order, name, value, changes)
        return changes

    def _put_with_all(self, name: ServiceName, value: ExportValue | None, changes: Changes) -> bool:
        """Does it where all is taken, before and after; returns whether it is."""
        before = self._values.get(name)
        if value is None:
            if before is not None:
                del self._values[name]
                self._endpoints -= count_endpoints(before)
                changes[name] = None
            return True
        services, endpoints = len(self._values), self._endpoints + count_endpoints(value)
        if before is None:
            services += 1
        else:
            endpoints -= count_endpoints(before)
        if not self._fits(services, endpoints):
            return False
        self._values[name] = changes[name] = value
        self._endpoints = endpoints
        return True

    def _put_in_order(
        self,
        order: Order,
        name: ServiceName,
        value: ExportValue | None,
        changes: Changes,
    ) -> None:
        before = self._values.get(name)
        if before is not None and value is not None and before.created == value.created:
            self._replace(order, name, before, value, changes)
        else:
            if before is not None:
                self._remove(order, name, changes)
            if value is not None:
                self._insert(order, name, value, changes)
        self._fit(order, changes)

    def _replace(
        self,
        order: Order,
        name: ServiceName,
        before: ExportValue,
        value: ExportValue,
        changes: Changes,
    ) -> None:
        """Its place stays: what changes most often, health and ports, costs nothing here however many there are."""
        self._values[name] = value
        if not self.left_out or (value.created, name) < order[self._taken]:
            self._endpoints += count_endpoints(value) - count_endpoints(before)
            changes[name] = value

    def _insert(
        self,
        order: Order,
        name: ServiceName,
        value: ExportValue,
        changes: Changes,
    ) -> None:
        index = bisect.bisect(order, (value.created, name))
        order.insert(index, (value.created, name))
        self._values[name] = value
        if index < self._taken:
            self._taken += 1
            self._endpoints += count_endpoints(value)
            changes[name] = value

    def _remove(self, order: Order, name: ServiceName, changes: Changes) -> None:
        value = self._values.pop(name)
        index = bisect.bisect_left(order, (value.created, name))
        del order[index]
        if index < self._taken:
            self._taken -= 1
            self._endpoints -= count_endpoints(value)
            changes[name] = None

    def _fit(self, order: Order, changes: Changes) -> None:
        """Moves the cut to where it belongs."""
        while self._taken and not self._fits(self._taken, self._endpoints):
            self._taken -= 1
            name = order[self._taken][1]
            self._endpoints -= count_endpoints(self._values[name])
            changes[name] = None
        while self._taken < len(order):
            name = order[self._taken][1]
            value = self._values[name]
            endpoints = self._endpoints + count_endpoints(value)
            if not self._fits(self._taken + 1, endpoints):
                return
            self._taken, self._endpoints = self._taken + 1, endpoints
            changes[name] = value

    def _fits(self, services: int, endpoints: int) -> bool:
        return services <= self._limits.max_services and endpoints <= self._limits.max_endpoints
