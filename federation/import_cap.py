"""How much of what a peer exports to us is taken: the oldest exports first, up to a number of services and of
endpoints. Pure.

What is taken depends on what is offered alone, never on the order in which it came: it is the longest run of the
peer's exports, by age and name, that fits. So a peer that floods loses what it added last. A change costs one search
and as many services as it moves across the cut.
"""

from __future__ import annotations

import bisect
from collections.abc import Mapping

import msgspec

from discovery.model import ServiceName
from federation.values import ExportValue

DEFAULT_MAX_SERVICES = 100_000
DEFAULT_MAX_ENDPOINTS = 1_000_000


class ImportLimits(msgspec.Struct, frozen=True):
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
        self._order: list[tuple[float, ServiceName]] = []
        self._taken = 0
        """The first so many of `_order`."""
        self._endpoints = 0
        """Of those that are taken."""

    def __repr__(self) -> str:
        return f"ImportCap({self._taken} of {len(self._order)} services, {self._endpoints} endpoints)"

    @property
    def left_out(self) -> int:
        """How many services are cut off."""
        return len(self._order) - self._taken

    @property
    def first_left_out(self) -> ServiceName | None:
        return self._order[self._taken][1] if self.left_out else None

    @property
    def taken(self) -> Mapping[ServiceName, ExportValue]:
        return {name: self._values[name] for _, name in self._order[: self._taken]}

    def put(self, name: ServiceName, value: ExportValue | None) -> dict[ServiceName, ExportValue | None]:
        """The peer offers this now; None: no longer."""
        changes: dict[ServiceName, ExportValue | None] = {}
        before = self._values.get(name)
        if before is not None and value is not None and before.created == value.created:
            self._replace(name, before, value, changes)
        else:
            if before is not None:
                self._remove(name, changes)
            if value is not None:
                self._insert(name, value, changes)
        self._fit(changes)
        return changes

    def _replace(
        self, name: ServiceName, before: ExportValue, value: ExportValue, changes: dict[ServiceName, ExportValue | None]
    ) -> None:
        """Its place stays: what changes most often, health and ports, costs nothing here however many there are."""
        self._values[name] = value
        if not self.left_out or (value.created, name) < self._order[self._taken]:
            self._endpoints += count_endpoints(value) - count_endpoints(before)
            changes[name] = value

    def _insert(self, name: ServiceName, value: ExportValue, changes: dict[ServiceName, ExportValue | None]) -> None:
        index = bisect.bisect(self._order, (value.created, name))
        self._order.insert(index, (value.created, name))
        self._values[name] = value
        if index < self._taken:
            self._taken += 1
            self._endpoints += count_endpoints(value)
            changes[name] = value

    def _remove(self, name: ServiceName, changes: dict[ServiceName, ExportValue | None]) -> None:
        value = self._values.pop(name)
        index = bisect.bisect_left(self._order, (value.created, name))
        del self._order[index]
        if index < self._taken:
            self._taken -= 1
            self._endpoints -= count_endpoints(value)
            changes[name] = None

    def _fit(self, changes: dict[ServiceName, ExportValue | None]) -> None:
        """Moves the cut to where it belongs."""
        while self._taken and not self._fits(self._taken, self._endpoints):
            self._taken -= 1
            name = self._order[self._taken][1]
            self._endpoints -= count_endpoints(self._values[name])
            changes[name] = None
        while self._taken < len(self._order):
            name = self._order[self._taken][1]
            value = self._values[name]
            endpoints = self._endpoints + count_endpoints(value)
            if not self._fits(self._taken + 1, endpoints):
                return
            self._taken, self._endpoints = self._taken + 1, endpoints
            changes[name] = value

    def _fits(self, services: int, endpoints: int) -> bool:
        return services <= self._limits.max_services and endpoints <= self._limits.max_endpoints
