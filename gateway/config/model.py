"""The whole of cluster.yaml (DESIGN section 4), composed of what each package owns."""

from __future__ import annotations

import ipaddress
from collections.abc import Iterator
from pathlib import Path
from typing import Annotated, Any, Literal, TypeAlias

from pydantic import Field, PlainValidator

from discovery.address import HostPort
from discovery.config import DnsConfig, ServiceConfig, WorkloadConfig
from discovery.config_values import (
    ClusterName,
    FilePath,
    Label,
    ListenAddress,
    Location,
    ReachableAddress,
    Section,
    duration,
    read_whole_number,
    refuse,
    show,
    text_of,
    whole_number,
)
from discovery.model import LocalService
from federation.config import ClusterConfig, EtcdSection, FreshnessConfig, ImportsConfig, PeerConfig
from gateway.config.exports import ExportRule, export_of
from gateway.config.failover import FailoverConfig
from gateway.config.traffic import LimitsForAll, RetriesForAll, TimeoutsForAll, traffic_settings
from gateway.config.trust import TrustConfig
from gateway.snapshot import CONNECTION_LIMIT_DEFAULT
from gateway.traffic import TrafficSettings

IPNetwork: TypeAlias = ipaddress.IPv4Network | ipaddress.IPv6Network

_MAX_WORKERS = 256
_NARROWEST = {4: 30, 6: 126}
_WIDEST = 8


def _workers(value: Any) -> Any:
    if value == "auto":
        return value
    if isinstance(value, str):
        raise refuse(f"{show(value)} is not a number of workers", f"a whole number, 1 to {_MAX_WORKERS}, or auto")
    return read_whole_number(value, 1, _MAX_WORKERS, "a number of workers")


def _network(value: Any) -> IPNetwork:
    expected = "a network, like 127.80.0.0/16"
    text = text_of(value, expected)
    try:
        interface = ipaddress.ip_interface(text)
    except ValueError:
        raise refuse(f"{show(text)} is not a network", expected) from None
    network = interface.network
    if "/" not in text:
        raise refuse(f"{show(text)} is one address", expected)
    if interface.ip != network.network_address:
        raise refuse(f"{show(text)} is an address inside a network", f"the network itself, {network}")
    narrowest = _NARROWEST[network.version]
    if not _WIDEST <= network.prefixlen <= narrowest:
        size = "large" if network.prefixlen < _WIDEST else "small"
        raise refuse(f"{show(text)} is too {size}", f"a prefix length from /{_WIDEST} to /{narrowest}")
    return network


class GatewayLimits(Section):
    """What one worker takes on."""

    connections: Annotated[int, whole_number(1, 1_000_000, "a number of connections")] = CONNECTION_LIMIT_DEFAULT


class GatewayConfig(Section):
    """Where the gateway listens, and how it works. Nothing listens for peers unless `mesh` is given."""

    workers: Annotated[int | Literal["auto"], PlainValidator(_workers)] = "auto"
    mesh: ListenAddress | None = None
    advertise: tuple[ReachableAddress, ...] = ()
    http: ListenAddress = HostPort("127.0.0.1", 15080)
    nameservers: tuple[ListenAddress, ...] = ()
    """Who is asked for the names that peers' gateways advertise; the system's resolver, if none."""
    vip_range: Annotated[IPNetwork, PlainValidator(_network)] = ipaddress.IPv4Network("127.80.0.0/16")
    http2_codec: Literal["auto", "ngh2", "h2"] = "auto"
    limits: GatewayLimits = GatewayLimits()
    drain_timeout_s: Annotated[float, duration("0s", "1h")] = Field(default=30.0, alias="drain_timeout")

    def advertised(self, mesh: HostPort) -> tuple[HostPort, ...]:
        """The addresses that peers are told. `mesh` is the one that the mesh listener really has (its port may have
        been chosen by the system)."""
        return self.advertise or (mesh,)


class StatusConfig(Section):
    """The status API."""

    listen: ListenAddress = HostPort("127.0.0.1", 15000)


class Config(Section):
    """A whole cluster.yaml. Paths are resolved, durations are seconds, addresses are `HostPort`s."""

    federation: Label = Field(description="the federation's name, which all members share, like acme")
    cluster: ClusterConfig = Field(description="a mapping with name and trust_domain")
    state_dir: FilePath = Field(
        default_factory=lambda read: f"state/{read['cluster'].name}",
        validate_default=True,
        description="a path",
    )
    etcd: EtcdSection | None = None
    """None: a private etcd starts in `state_dir`."""
    peers: dict[ClusterName, PeerConfig] = Field(default_factory=dict)
    gateway: GatewayConfig = GatewayConfig()
    dns: DnsConfig = DnsConfig()
    status: StatusConfig = StatusConfig()
    services: tuple[ServiceConfig, ...] = ()
    exports: tuple[ExportRule, ...] = ()
    workloads: tuple[WorkloadConfig, ...] = ()
    imports: ImportsConfig = ImportsConfig()
    failover: FailoverConfig = FailoverConfig()
    timeouts: TimeoutsForAll = TimeoutsForAll()
    retries: RetriesForAll = RetriesForAll()
    limits: LimitsForAll = LimitsForAll()
    freshness: FreshnessConfig = FreshnessConfig()
    trust: TrustConfig = TrustConfig()

    def local_services(self) -> tuple[LocalService, ...]:
        """The static source's services."""
        return tuple(service.to_model(export_of(service, self.exports)) for service in self.services)

    def traffic(self) -> TrafficSettings:
        """How requests to each service are carried."""
        return traffic_settings(self.timeouts, self.retries, self.limits, self.services)

    def files(self) -> Iterator[tuple[Location, Path, bool]]:
        """Every file that must be there: where it is named, its path, and whether it is a secret."""
        sections: dict[Location, EtcdSection | None] = {("etcd",): self.etcd}
        sections |= {("peers", name, "etcd"): peer.etcd for name, peer in self.peers.items()}
        for at, section in sections.items():
            for key in ("ca_file", "cert_file", "key_file", "password_file"):
                path = getattr(section, key, None)
                if path is not None:
                    yield (*at, key), path, key in ("key_file", "password_file")
        yield from self.trust.files(("trust",))
        for name, peer in self.peers.items():
            if peer.bundle_endpoint is not None and peer.bundle_endpoint.ca_file is not None:
                yield ("peers", name, "bundle_endpoint", "ca_file"), peer.bundle_endpoint.ca_file, False
        for index, service in enumerate(self.services):
            if service.tls is not None and service.tls.ca_file is not None:
                yield ("services", index, "tls", "ca_file"), service.tls.ca_file, False
