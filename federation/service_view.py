"""A service of the clusterset as our cluster sees it: who offers it, and where their exports disagree."""

from __future__ import annotations

import enum

import msgspec

from discovery.model import Port, ServiceName, ZoneHealth
from federation.freshness import Freshness


class ConflictReason(enum.StrEnum):
    """MCS reasons of a ServiceExport's Conflict condition, verbatim."""

    PORT_CONFLICT = "PortConflict"


class Conflict(msgspec.Struct, frozen=True):
    """What `cluster` exports disagrees with an older export, and lost."""

    cluster: str
    reason: ConflictReason
    message: str


class ExportView(msgspec.Struct, frozen=True, gc=False):
    """One cluster's share of a service. `ports` are those of the service that this cluster really serves."""

    cluster: str
    ports: tuple[Port, ...]
    zones: tuple[ZoneHealth, ...]
    created: float
    """Unix seconds of the first export; 0 for a local service that is not exported."""
    freshness: Freshness
    """Fresh or stale. A suspect cluster is used like a fresh one, so it is *fresh* here: a tunnel that comes and
    goes must not change every service of its cluster. What the cluster itself is, its peer's view says."""


class ServiceView(msgspec.Struct, frozen=True, gc=False):
    """A service as our cluster may use it; `exports` begin with the oldest."""

    name: ServiceName
    ports: tuple[Port, ...]
    exports: tuple[ExportView, ...]
    conflicts: tuple[Conflict, ...] = ()
