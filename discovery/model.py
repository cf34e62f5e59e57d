"""The service model: the words that every other module uses for what exists.

All of these are values: frozen, comparable, and encodable by msgspec as they are, because they cross from the
controller to the workers (snapshot) and, inside signed records, from one cluster to another.
"""

from __future__ import annotations

import enum
import re

import msgspec

CLUSTERSET_ZONE = "clusterset.local"

_LABEL = re.compile(r"[a-z0-9]([-a-z0-9]{0,61}[a-z0-9])?")


def is_dns_label(text: str) -> bool:
    """Whether `text` is an RFC 1123 label: 1 to 63 of a-z, 0-9 and '-', not at either end."""
    return _LABEL.fullmatch(text) is not None


class Protocol(enum.StrEnum):
    """What a service's port speaks. It decides how a virtual IP listens and how an endpoint is spoken to."""

    HTTP = "http"
    """HTTP/1.1 at the endpoint."""
    HTTP2 = "http2"
    """HTTP/2 with prior knowledge at the endpoint."""
    GRPC = "grpc"
    """HTTP/2 at the endpoint, and failures are read from `grpc-status`."""
    TCP = "tcp"

    __hash__ = str.__hash__
    """As its text compares, and without a call of Python's: every port of a catalog is looked up by it."""


class Locality(msgspec.Struct, frozen=True, gc=False):
    """Where something runs, as Envoy and Istio use the word. Empty strings mean unknown."""

    region: str = ""
    zone: str = ""


class ServiceName(msgspec.Struct, frozen=True, gc=False, order=True):
    """A service's name in the whole clusterset: the same namespace and name in two clusters is one service
    (namespace sameness, KEP-1645)."""

    namespace: str
    name: str

    def __str__(self) -> str:
        return f"{self.namespace}/{self.name}"

    @property
    def fqdn(self) -> str:
        """`<name>.<namespace>.svc.clusterset.local`, without the final dot."""
        return f"{self.name}.{self.namespace}.svc.{CLUSTERSET_ZONE}"


class Port(msgspec.Struct, frozen=True, gc=False):
    """A port that clients of a service use."""

    name: str
    port: int
    protocol: Protocol


class Endpoint(msgspec.Struct, frozen=True):
    """One process that serves a local service. `ports` gives its port for each of the service's port names."""

    address: str
    ports: dict[str, int]
    zone: str = ""
    hostname: str = ""


HEALTHY_STATUSES = ((200, 399),)
"""What an HTTP check takes for healthy unless told otherwise: ranges, both ends included."""


class HealthCheck(msgspec.Struct, frozen=True):
    """How the owner of a service tests its endpoints. With neither `http_path` nor `grpc_service`, a TCP connection is
    enough."""

    http_path: str = ""
    interval_s: float = 1.0
    timeout_s: float = 1.0
    rise: int = 2
    """Successes in a row before an unhealthy endpoint is used again."""
    fall: int = 3
    """Failures in a row before an endpoint is no longer used."""
    http_host: str = ""
    """The HTTP check's `Host`; empty: the endpoint's own address and port."""
    http_statuses: tuple[tuple[int, int], ...] = HEALTHY_STATUSES
    grpc_service: str | None = None
    """Ask the gRPC health protocol for this service; an empty name asks for the whole server."""

    @property
    def kind(self) -> str:
        if self.grpc_service is not None:
            return "grpc"
        return "http" if self.http_path else "tcp"


class EndpointTls(msgspec.Struct, frozen=True):
    """How the endpoints of a service are spoken to in TLS."""

    server_name: str
    """What their certificate must be for: a host name (also sent as SNI), an IP address, or a SPIFFE ID."""
    ca_file: str = ""
    """A PEM file with the authorities that may have signed it. Empty: the cluster's own."""


class LocalService(msgspec.Struct, frozen=True):
    """A service that runs in this cluster, as a source (static, Kubernetes, registry) describes it."""

    name: ServiceName
    ports: tuple[Port, ...]
    endpoints: tuple[Endpoint, ...]
    health: HealthCheck | None = None
    export_to: tuple[str, ...] = ()
    """Names of the clusters that may see and reach it; `"*"` means every peer. Empty means that nobody may."""

    tls: EndpointTls | None = None
    export_allow: tuple[str, ...] = ()
    """Patterns over the SPIFFE IDs of callers from those clusters; empty: whoever their gateways let through."""


class ZoneHealth(msgspec.Struct, frozen=True, gc=False):
    """How many endpoints of a service a zone has, and how many of them its owner calls healthy."""

    zone: str
    healthy: int
    total: int


class Workload(msgspec.Struct, frozen=True):
    """Local clients that come from certain addresses, and the service account that they are."""

    networks: tuple[str, ...]
    namespace: str
    service_account: str
