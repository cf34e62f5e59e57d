"""What the status API says of services: who offers them, how healthy each share is, and what is disputed."""

from __future__ import annotations

from datetime import datetime

import msgspec


class PortDocument(msgspec.Struct, frozen=True):
    name: str
    port: int
    protocol: str


class ZoneDocument(msgspec.Struct, frozen=True):
    """How many of a zone's endpoints their owner calls healthy. An empty name is an unknown zone."""

    zone: str
    healthy: int
    total: int


class ShareDocument(msgspec.Struct, frozen=True):
    """One cluster's share of a service. `healthy` and `total` are null where the cluster did not say."""

    cluster: str
    local: bool
    ports: tuple[str, ...]
    healthy: int | None
    total: int | None
    zones: tuple[ZoneDocument, ...]
    freshness: str
    reachable: bool
    """Whether a request could go there now."""
    exported_at: datetime | None
    """When it was exported first; null for what is not exported."""


class ConflictDocument(msgspec.Struct, frozen=True):
    """What `cluster` exports disagrees with an older export, and lost. `reason` is MCS's own (KEP-1645)."""

    cluster: str
    reason: str
    message: str


class EndpointDocument(msgspec.Struct, frozen=True):
    """A local endpoint and its health. `reason` is the last check's result."""

    address: str
    ports: dict[str, int]
    zone: str
    healthy: bool
    state: str
    reason: str


class ServiceDocument(msgspec.Struct, frozen=True):
    """A service as this cluster may use it."""

    namespace: str
    name: str
    dns_name: str
    vip: str
    ports: tuple[PortDocument, ...]
    reachable: bool
    imported: bool
    """Whether another cluster serves it for us."""
    exported_to: tuple[str, ...]
    """The clusters that may use ours; `*` is every peer."""
    clusters: tuple[ShareDocument, ...]
    conflicts: tuple[ConflictDocument, ...]
    endpoints: tuple[EndpointDocument, ...]


class ServicesDocument(msgspec.Struct, frozen=True):
    """`/v1/services`: the services that `cluster` may use, by name."""

    cluster: str
    services: tuple[ServiceDocument, ...]


class ServiceCountsDocument(msgspec.Struct, frozen=True):
    total: int
    reachable: int
    imported: int
    exported: int
