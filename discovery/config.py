"""This package's part of cluster.yaml: the static services and the DNS server."""

from __future__ import annotations

import ipaddress
import re
from collections.abc import Iterator
from typing import Annotated, Any, Literal

import msgspec
from pydantic import Field, PlainValidator

from discovery.address import HostPort, parse_ip
from discovery.config_values import (
    ClusterNameOrAll,
    Fault,
    FilePath,
    IPAddress,
    Label,
    ListenAddress,
    Location,
    Place,
    PortNumber,
    Section,
    duration,
    refuse,
    show,
    text_of,
    text_that,
    whole_number,
)
from discovery.model import (
    HEALTHY_STATUSES,
    Endpoint,
    EndpointTls,
    HealthCheck,
    LocalService,
    Port,
    Protocol,
    ServiceName,
    Workload,
)
from discovery.traffic_config import LimitsConfig, RetriesConfig, TimeoutsConfig

_Interval = Annotated[float, duration("100ms", "1h")]
_Ttl = Annotated[float, duration("0s", "1h")]
_Threshold = Annotated[int, whole_number(1, 100, "a number of checks")]
_UrlPath = Annotated[
    str,
    text_that(
        lambda text: text.startswith("/") and text.isascii() and text.isprintable() and " " not in text,
        "a URL path",
        "a path that begins with /, like /healthz",
    ),
]
_Host = Annotated[
    str,
    text_that(
        lambda text: _HOST.fullmatch(text) is not None,
        "a Host header",
        "a name with or without a port, like shop.example or shop.example:8080",
    ),
]
_HOST = re.compile(r"[A-Za-z0-9]([-A-Za-z0-9._]{0,251}[A-Za-z0-9])?(:[0-9]{1,5})?")
_GrpcService = Annotated[
    str,
    text_that(
        lambda text: text.isascii() and text.isprintable() and len(text) <= 255,
        "a gRPC service",
        'its full name, like shop.v1.Payments, or "" for the whole server',
    ),
]


class StatusRange(msgspec.Struct, frozen=True):
    """HTTP statuses from `first` to `last`, both included."""

    first: int
    last: int

    def __str__(self) -> str:
        return f"{self.first}-{self.last}" if self.last > self.first else str(self.first)


_STATUS_RANGE = re.compile(r"([1-5][0-9]{2})(?:-([1-5][0-9]{2}))?")


def _statuses(value: Any) -> StatusRange:
    expected = "a status from 200 to 599, or a range of them, like 204 or 200-299"
    text = str(value) if isinstance(value, int) and not isinstance(value, bool) else text_of(value, expected)
    found = _STATUS_RANGE.fullmatch(text)
    first, last = (int(found[1]), int(found[2] or found[1])) if found else (0, 0)
    if not 200 <= first <= last:
        raise refuse(f"{show(value)} is not a range of HTTP statuses", expected)
    return StatusRange(first, last)


_Statuses = Annotated[StatusRange, PlainValidator(_statuses)]
_HOST_NAME = re.compile(r"(?=.{1,253}$)([a-z0-9]([-a-z0-9]{0,61}[a-z0-9])?\.)*[a-z0-9]([-a-z0-9]{0,61}[a-z0-9])?")


def _is_server_name(text: str) -> bool:
    """The form only: whether a SPIFFE ID is one is asked where SPIFFE is known."""
    return text.startswith("spiffe://") or parse_ip(text) is not None or _HOST_NAME.fullmatch(text) is not None


_ServerName = Annotated[
    str,
    text_that(
        _is_server_name,
        "a name that a certificate can be for",
        "a host name in lower case, an IP address, or a SPIFFE ID",
    ),
]


_CallerPattern = Annotated[
    str,
    text_that(
        lambda text: text.startswith("spiffe://"),
        "a pattern over callers",
        "a SPIFFE ID, with * for any one segment of its path, like spiffe://west.acme.test/ns/web/sa/*",
    ),
]
_ACCOUNT = re.compile(r"(?=.{1,253}$)[a-z0-9]([-.a-z0-9]*[a-z0-9])?")
_ServiceAccount = Annotated[
    str,
    text_that(
        lambda text: _ACCOUNT.fullmatch(text) is not None,
        "a service account",
        "1 to 253 of a-z, 0-9, - and ., not beginning or ending with - or .",
    ),
]


_LABEL_NAME = re.compile(r"([a-z0-9]([-.a-z0-9]{0,251}[a-z0-9])?/)?[A-Za-z0-9]([-._A-Za-z0-9]{0,61}[A-Za-z0-9])?")
_LABEL_VALUE = re.compile(r"([A-Za-z0-9]([-._A-Za-z0-9]{0,61}[A-Za-z0-9])?)?")
Labels = dict[
    Annotated[
        str,
        text_that(_LABEL_NAME.fullmatch, "the name of a label", "up to 63 letters, digits, -, _ and ., like tier"),
    ],
    Annotated[
        str,
        text_that(_LABEL_VALUE.fullmatch, "the value of a label", "up to 63 letters, digits, -, _ and ., like public"),
    ],
]
"""As Kubernetes writes labels."""


def _source_network(value: Any) -> str:
    expected = "an IP address or a network, like 10.0.1.7 or 10.0.1.0/24"
    text = text_of(value, expected)
    try:
        return str(ipaddress.ip_network(text))
    except ValueError:
        raise refuse(f"{show(text)} is neither an address nor a network", expected) from None


class PortConfig(Section):
    """A port that clients of the service use."""

    name: Label = Field(description="the port's name, like http")
    port: PortNumber = Field(description="the number that clients use, 1 to 65535")
    protocol: Literal["http", "http2", "grpc", "tcp"] = "tcp"

    def to_model(self) -> Port:
        return Port(self.name, self.port, Protocol(self.protocol))


class EndpointConfig(Section):
    """A process that serves the service: `port` if the service has one port, else `ports` by port name."""

    address: IPAddress = Field(description="an IP address, like 127.0.0.1")
    port: PortNumber | None = None
    ports: dict[Label, PortNumber] | None = None
    zone: Place = ""
    hostname: Label = ""

    @property
    def whereabouts(self) -> tuple[object, ...]:
        """What makes it another endpoint than its neighbours: its address and where it listens there."""
        return self.address, self.port, tuple(sorted((self.ports or {}).items()))

    def to_model(self, service_ports: tuple[PortConfig, ...]) -> Endpoint:
        if self.ports is not None:
            ports = dict(self.ports)
        else:
            assert self.port is not None
            ports = {service_ports[0].name: self.port}
        return Endpoint(self.address, ports, self.zone, self.hostname)

    def faults(self, service_ports: tuple[PortConfig, ...], at: Location) -> Iterator[Fault]:
        """What does not fit the service's ports."""
        names = [port.name for port in service_ports]
        if (self.port is None) == (self.ports is None):
            said = "neither port nor ports is given" if self.port is None else "port and ports are both given"
            yield Fault(at, said, "port for a service with one port, ports (name: number) for several")
        elif self.ports is None:
            if len(service_ports) > 1:
                yield Fault((*at, "port"), "the service has several ports", f"ports, with {', '.join(names)}")
        else:
            for name in sorted(self.ports.keys() - set(names)):
                yield Fault((*at, "ports", name), "the service has no port of that name", " or ".join(names))
            missing = [name for name in names if name not in self.ports]
            if missing:
                yield Fault((*at, "ports"), f"gives no number for {', '.join(missing)}")


class HealthConfig(Section):
    """How the endpoints are tested: `http` asks for a path, `grpc` speaks the gRPC health protocol; with neither, a
    TCP connection is enough."""

    http: _UrlPath = ""
    host: _Host = ""
    status: tuple[_Statuses, ...] = ()
    grpc: _GrpcService | None = None
    interval_s: _Interval = Field(default=1.0, alias="interval")
    timeout_s: _Interval = Field(default=1.0, alias="timeout")
    rise: _Threshold = 2
    fall: _Threshold = 3

    def to_model(self) -> HealthCheck:
        return HealthCheck(
            http_path=self.http,
            interval_s=self.interval_s,
            timeout_s=self.timeout_s,
            rise=self.rise,
            fall=self.fall,
            http_host=self.host,
            http_statuses=tuple((r.first, r.last) for r in self.status) or HEALTHY_STATUSES,
            grpc_service=self.grpc,
        )

    def faults(self, at: Location) -> Iterator[Fault]:
        """What does not go together. `at` is where this section stands."""
        if self.http and self.grpc is not None:
            yield Fault(at, "http and grpc are both given", "one of them: an endpoint is tested in one way")
        for key, given in (("host", self.host), ("status", self.status)):
            if given and not self.http:
                yield Fault(
                    (*at, key), f"{key} belongs to an HTTP check, and there is no http", "http: /healthz as well"
                )


class TlsConfig(Section):
    """The endpoints speak TLS: who signed their certificates, and what those must be for."""

    ca_file: FilePath | None = None
    cluster_ca: bool = False
    server_name: _ServerName = ""

    def to_model(self, name: ServiceName) -> EndpointTls:
        return EndpointTls(self.server_name or name.fqdn, str(self.ca_file) if self.ca_file is not None else "")

    def faults(self, at: Location) -> Iterator[Fault]:
        expected = "ca_file: a PEM file, or cluster_ca: true for the authority of this cluster"
        if self.ca_file is not None and self.cluster_ca:
            yield Fault(at, "ca_file and cluster_ca are both given", expected)
        elif self.ca_file is None and not self.cluster_ca:
            yield Fault(at, "does not say who signs the endpoints' certificates", expected)


class ExportConfig(Section):
    """Which clusters may see and reach the service."""

    to: tuple[ClusterNameOrAll, ...] = Field(description='a list of cluster names, or ["*"] for every peer')
    allow: tuple[_CallerPattern, ...] | None = Field(
        default=None,
        description="a list with at least one pattern, like spiffe://west.acme.test/ns/web/sa/*",
        min_length=1,
    )


class ServiceConfig(Section):
    """A service that runs in this cluster."""

    namespace: Label = Field(description="the service's namespace, like shop")
    name: Label = Field(description="the service's name, like payments")
    ports: tuple[PortConfig, ...] = Field(description="a list with at least one port", min_length=1)
    endpoints: tuple[EndpointConfig, ...] = ()
    health: HealthConfig = HealthConfig()
    labels: Labels = Field(default_factory=dict)
    export: ExportConfig | None = None
    tls: TlsConfig | None = None
    timeouts: TimeoutsConfig = TimeoutsConfig()
    retries: RetriesConfig = RetriesConfig()
    limits: LimitsConfig = LimitsConfig()

    @property
    def service_name(self) -> ServiceName:
        return ServiceName(self.namespace, self.name)

    def to_model(self, export: ExportConfig | None) -> LocalService:
        """`export`: its own, or the one of a rule that it fits."""
        return LocalService(
            name=self.service_name,
            ports=tuple(port.to_model() for port in self.ports),
            endpoints=tuple(endpoint.to_model(self.ports) for endpoint in self.endpoints),
            health=self.health.to_model(),
            export_to=export.to if export is not None else (),
            tls=self.tls.to_model(self.service_name) if self.tls is not None else None,
            export_allow=(export.allow or ()) if export is not None else (),
        )

    def faults(self, at: Location) -> Iterator[Fault]:
        """What is wrong inside this service. `at` is where it stands."""
        yield from self._port_faults(at)
        yield from self.health.faults((*at, "health"))
        if self.tls is not None:
            yield from self.tls.faults((*at, "tls"))
        seen: set[object] = set()
        for index, endpoint in enumerate(self.endpoints):
            place = (*at, "endpoints", index)
            yield from endpoint.faults(self.ports, place)
            if endpoint.whereabouts in seen:
                yield Fault(place, "the same endpoint is listed twice", "each endpoint once")
            seen.add(endpoint.whereabouts)
        if not self.endpoints:
            yield Fault(at, f"{self.service_name} has no endpoints, so nothing serves it here", warning=True)

    def _port_faults(self, at: Location) -> Iterator[Fault]:
        names: set[str] = set()
        numbers: set[int] = set()
        for index, port in enumerate(self.ports):
            place = (*at, "ports", index)
            if port.name in names:
                yield Fault(
                    (*place, "name"), f'"{port.name}" names two ports of {self.service_name}', "a name for each"
                )
            if port.port in numbers:
                message = f"{port.port} is the number of two ports of {self.service_name}"
                yield Fault((*place, "port"), message, "a number for each")
            names.add(port.name)
            numbers.add(port.port)


class WorkloadConfig(Section):
    """Local clients that come from certain addresses, and who they are to other clusters."""

    addresses: tuple[Annotated[str, PlainValidator(_source_network)], ...] = Field(
        description="a list of addresses and networks, like [10.0.1.0/24]", min_length=1
    )
    namespace: Label = Field(description="the workload's namespace, like web")
    service_account: _ServiceAccount = Field(description="its service account, like frontend")

    def to_model(self) -> Workload:
        return Workload(self.addresses, self.namespace, self.service_account)


class DnsConfig(Section):
    """The DNS server for local workloads, on UDP and TCP."""

    listen: ListenAddress = HostPort("127.0.0.1", 15053)
    ttl_s: _Ttl = Field(default=5.0, alias="ttl")


def service_faults(services: tuple[ServiceConfig, ...], at: Location) -> Iterator[Fault]:
    """What is wrong inside each service, and between them. `at` is where their list stands."""
    seen: dict[ServiceName, int] = {}
    for index, service in enumerate(services):
        yield from service.faults((*at, index))
        name = service.service_name
        if name in seen:
            message = f"{name} is defined twice (first as services[{seen[name]}])"
            yield Fault((*at, index), message, "one entry for each service, with all its endpoints")
        seen.setdefault(name, index)
