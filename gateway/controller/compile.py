"""From what the controller believes to the snapshot's resources. Pure: the same beliefs give the same resources."""

from __future__ import annotations

from collections.abc import Callable, Mapping

from discovery.model import Endpoint, Locality, LocalService, ServiceName
from federation.federation import PeerView
from federation.freshness import Freshness
from federation.service_view import ExportView, ServiceView
from gateway.config import Config
from gateway.control import ListenerSpec
from gateway.snapshot import (
    SERVICE_PREFIX,
    GatewayAddress,
    LocalEndpoint,
    LocalResource,
    PeerResource,
    RemoteShare,
    ServiceResource,
    UpstreamTls,
    service_key,
)


def compile_local(config: Config) -> LocalResource:
    return LocalResource(
        federation=config.federation,
        cluster=config.cluster.name,
        locality=config.cluster.locality,
        trust_domain=config.cluster.trust_domain,
        failover=config.failover.settings(),
        dns_ttl_s=config.dns.ttl_s,
        nameserver="" if config.dns.listen.is_wildcard else config.dns.listen.host,
        http2_codec=config.gateway.http2_codec,
        workloads=tuple(workload.to_model() for workload in config.workloads),
        peer_nameservers=tuple(map(str, config.gateway.nameservers)),
        traffic=config.traffic(),
        connection_limit=config.gateway.limits.connections,
    )


def compile_service(
    view: ServiceView,
    own_cluster: str,
    local: LocalService | None,
    vip: str,
    is_healthy: Callable[[ServiceName, Endpoint], bool],
    tls: UpstreamTls | None = None,
) -> ServiceResource:
    """A service with everything that a worker needs to route it."""
    remotes = tuple([_remote_share(export) for export in view.exports if export.cluster != own_cluster])
    if local is None:
        return ServiceResource(name=view.name, vip=vip, ports=view.ports, remotes=remotes)
    return ServiceResource(
        name=view.name,
        vip=vip,
        ports=view.ports,
        endpoints=tuple([LocalEndpoint(one, is_healthy(view.name, one)) for one in local.endpoints]),
        consumers=local.export_to,
        remotes=remotes,
        tls=tls,
        allow=local.export_allow,
    )


def _remote_share(export: ExportView) -> RemoteShare:
    ports = tuple([port.name for port in export.ports])
    return RemoteShare(export.cluster, ports, export.zones, export.freshness is Freshness.STALE)


def compile_peer(view: PeerView) -> PeerResource:
    gateways = tuple(
        GatewayAddress(gateway.id, tuple(gateway.addresses), Locality(gateway.region, gateway.zone))
        for gateway in view.gateways
    )
    return PeerResource(view.cluster, view.trust_domain, tuple(view.roots), gateways, view.revoked)


def vip_listeners(service: ServiceResource) -> dict[str, ListenerSpec]:
    """The listening sockets that a service's virtual IP needs, by name."""
    if not service.vip:
        return {}
    key, listeners = service_key(service.name), {}
    service_name = key.removeprefix(SERVICE_PREFIX)
    host = f"[{service.vip}]" if ":" in service.vip else service.vip
    for port in service.ports:
        name = f"vip/{service_name}/{port.name}"
        listeners[name] = ListenerSpec(name, "vip", f"{host}:{port.port}", key, port.name)
    return listeners


def changed_listeners(
    before: Mapping[str, ListenerSpec], after: Mapping[str, ListenerSpec]
) -> tuple[list[str], list[ListenerSpec]]:
    """Which listeners to close, and which to open."""
    gone = [name for name, spec in before.items() if after.get(name) != spec]
    new = [spec for name, spec in after.items() if before.get(name) != spec]
    return gone, new
