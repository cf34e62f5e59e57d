"""The snapshot: all that a worker knows, as a set of keyed resources.

The controller compiles what it believes into resources and sends them: all of them once (`Update.reset`), then only
those that changed. A worker keeps serving the last ones for as long as it must. The whole of a worker's knowledge is
these values, so it can be dumped, compared and sent again.
"""

from __future__ import annotations

from typing import TypeAlias

import msgspec

from discovery.model import Endpoint, Locality, Port, ServiceName, Workload, ZoneHealth
from gateway.failover.policy import FailoverSettings
from gateway.traffic import TrafficSettings
from trust.revocation import Revocations

LOCAL_KEY = "local"
CONNECTION_LIMIT_DEFAULT = 10_000


SERVICE_PREFIX = "service/"


def service_key(name: ServiceName) -> str:
    return f"{SERVICE_PREFIX}{name.namespace}/{name.name}"


def peer_key(cluster: str) -> str:
    return f"peer/{cluster}"


class LocalEndpoint(msgspec.Struct, frozen=True):
    endpoint: Endpoint
    healthy: bool


class RemoteShare(msgspec.Struct, frozen=True, gc=False):
    """What another cluster offers of a service. No zones means that it did not say how healthy it is."""

    cluster: str
    ports: tuple[str, ...]
    """Names of the service's ports that this cluster serves."""
    zones: tuple[ZoneHealth, ...] = ()
    stale: bool = False

    @property
    def healthy(self) -> bool:
        return not self.zones or any(zone.healthy for zone in self.zones)


class UpstreamTls(msgspec.Struct, frozen=True):
    """Endpoints speak TLS: `roots` (DER) may have signed their certificate, which must be for `server_name`: a host
    name, an IP address or a SPIFFE ID. Without roots nobody is believed."""

    server_name: str
    roots: tuple[bytes, ...]


class ServiceResource(msgspec.Struct, frozen=True, gc=False, tag="service"):
    """A service as this gateway routes it: what runs here, who may call it, and who else has it."""

    name: ServiceName
    vip: str
    ports: tuple[Port, ...]
    endpoints: tuple[LocalEndpoint, ...] = ()
    consumers: tuple[str, ...] = ()
    """Peer clusters whose gateways may ask us for it; `"*"` means every peer."""
    remotes: tuple[RemoteShare, ...] = ()
    tls: UpstreamTls | None = None
    allow: tuple[str, ...] = ()
    """Patterns over the SPIFFE IDs of callers from `consumers`; empty: whoever their gateways let through."""

    @property
    def key(self) -> str:
        return service_key(self.name)


class GatewayAddress(msgspec.Struct, frozen=True):
    """A peer's gateway. `addresses` ("host:port") are alternatives: one that answers is enough."""

    id: str
    addresses: tuple[str, ...]
    locality: Locality = Locality()


class PeerResource(msgspec.Struct, frozen=True, tag="peer"):
    """Another cluster: where its gateways are and the roots that we believe for its trust domain (DER)."""

    cluster: str
    trust_domain: str
    roots: tuple[bytes, ...]
    gateways: tuple[GatewayAddress, ...] = ()
    revoked: Revocations = Revocations()
    """Certificates that are refused though those roots bear them out."""

    @property
    def key(self) -> str:
        return peer_key(self.cluster)


class LocalResource(msgspec.Struct, frozen=True, tag="local"):
    """This cluster, and how its workers shall behave."""

    federation: str
    cluster: str
    locality: Locality
    trust_domain: str
    failover: FailoverSettings = FailoverSettings()
    dns_ttl_s: float = 5.0
    nameserver: str = ""
    """The address at which this gateway's DNS is reached, if it is one in particular."""
    http2_codec: str = "auto"
    workloads: tuple[Workload, ...] = ()
    peer_nameservers: tuple[str, ...] = ()
    """Who is asked for the names of peers' gateways ("ip:port"); the system's resolver, if none."""
    traffic: TrafficSettings = TrafficSettings()
    connection_limit: int = CONNECTION_LIMIT_DEFAULT
    """How many connections each worker has of local workloads, and as many of peers."""

    @property
    def key(self) -> str:
        return LOCAL_KEY


Resource: TypeAlias = ServiceResource | PeerResource | LocalResource


def kind_of(key: str) -> str:
    """What a resource with this key is: "service", "peer" or "local"."""
    return key.partition("/")[0]


class Update(msgspec.Struct, frozen=True, tag="update"):
    """A change of the snapshot. With `reset` a whole one begins, which ends with the first update without `more`:
    everything that is not among the `upserts` from there to here is gone then."""

    upserts: list[Resource] = []
    removals: list[str] = []
    reset: bool = False
    more: bool = False
