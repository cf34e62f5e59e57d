"""A service's status: who serves it, how well, and what is disputed. Pure."""

from __future__ import annotations

from collections.abc import Collection, Set
from datetime import UTC, datetime

from discovery.health import EndpointStatus
from discovery.model import LocalService
from federation.service_view import ExportView, ServiceView
from federation.status.service_values import (
    ConflictDocument,
    EndpointDocument,
    PortDocument,
    ServiceDocument,
    ShareDocument,
    ZoneDocument,
)
from gateway.controller.service_counts import is_usable


def describe_service(
    view: ServiceView,
    *,
    own_cluster: str,
    vip: str,
    local: LocalService | None,
    endpoints: Collection[EndpointStatus],
    linked: Set[str],
) -> ServiceDocument:
    """One service. `linked` are the peers that we have a ready tunnel to."""
    shares = tuple(_describe_share(export, own_cluster, linked) for export in view.exports)
    return ServiceDocument(
        namespace=view.name.namespace,
        name=view.name.name,
        dns_name=view.name.fqdn,
        vip=vip,
        ports=tuple(PortDocument(port.name, port.port, port.protocol) for port in view.ports),
        reachable=any(share.reachable for share in shares),
        imported=any(not share.local for share in shares),
        exported_to=local.export_to if local is not None else (),
        clusters=shares,
        conflicts=tuple(ConflictDocument(c.cluster, c.reason, c.message) for c in view.conflicts),
        endpoints=tuple(
            EndpointDocument(
                known.endpoint.address,
                dict(known.endpoint.ports),
                known.endpoint.zone,
                known.healthy,
                known.state,
                known.reason,
            )
            for known in endpoints
        ),
    )


def _describe_share(export: ExportView, own_cluster: str, linked: Set[str]) -> ShareDocument:
    return ShareDocument(
        cluster=export.cluster,
        local=export.cluster == own_cluster,
        ports=tuple(port.name for port in export.ports),
        healthy=sum(zone.healthy for zone in export.zones) if export.zones else None,
        total=sum(zone.total for zone in export.zones) if export.zones else None,
        zones=tuple(ZoneDocument(zone.zone, zone.healthy, zone.total) for zone in export.zones),
        freshness=export.freshness,
        reachable=_is_reachable(export, own_cluster, linked),
        exported_at=datetime.fromtimestamp(export.created, UTC) if export.created > 0 else None,
    )


def _is_reachable(export: ExportView, own_cluster: str, linked: Set[str]) -> bool:
    """Whether a request could go there now."""
    return is_usable(export, own_cluster) and (export.cluster == own_cluster or export.cluster in linked)
