"""Our two gateways: east and west with one worker each, joined through an etcd, as a user would run them."""

from __future__ import annotations

import http.client
import random
import sys
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from datetime import UTC, datetime
from pathlib import Path

import msgspec

from discovery.model import ServiceName
from federation.status.service_values import ServicesDocument
from federation.status.values import StatusDocument
from gateway.demo.group import Group
from gateway.demo.lab import Etcd
from gateway.demo.leash import Program
from gateway.demo.numbers import free_client_port, free_vip_ranges
from gateway.demo.waiting import NotInTime, wait_until
from gateway.process.state_dir import prepare
from gateway.status.addresses import read_addresses
from gateway.version import VERSION, compiled
from tests.bench.rig.contender import Contender, Entrance
from tests.bench.rig.endpoints import Endpoints
from tests.bench.rig.figures import OURS
from trust.authority import Authority

BENCH_SERVICES = 3
"""Those that every benchmark has: HTTP, gRPC and TCP."""
_NAMESPACE = "bench"
_HTTP_PORT = 8080
_STATUS_TIMEOUT_S = 10.0
_READY_TIMEOUT_S = 60.0


class Service(msgspec.Struct, frozen=True):
    """A service of west, exported to east."""

    name: str
    protocol: str
    port: int
    endpoint_port: int

    def yaml(self) -> str:
        return f"""\
- namespace: {_NAMESPACE}
  name: {self.name}
  ports: [{{name: port, port: {self.port}, protocol: {self.protocol}}}]
  endpoints: [{{address: 127.0.0.1, port: {self.endpoint_port}}}]
  export: {{to: [east]}}
"""


class Cluster:
    """One gateway and its files."""

    def __init__(self, directory: Path, name: str) -> None:
        self.name = name
        self.directory = directory / name
        self.state_dir = self.directory / "state"
        self.directory.mkdir()
        prepare(self.state_dir)
        self.trust_domain = f"{name}.acme.test"
        self.root = Authority.load_or_create(self.state_dir / "trust", self.trust_domain, datetime.now(UTC)).fingerprint
        command = [sys.executable, "-m", "gateway", "run", "-c", str(self.directory / "cluster.yaml")]
        self.group = Group(self.directory, [Program("gateway", command)])

    def configure(self, etcd_endpoint: str, peer: Cluster, vip_range: str, services: Sequence[Service]) -> None:
        """Writes cluster.yaml: every default as a user gets it, but one worker."""
        text = f"""\
federation: acme
cluster: {{name: {self.name}, region: {self.name}, trust_domain: {self.trust_domain}}}
state_dir: ./state
etcd: {{endpoints: [{etcd_endpoint}]}}
peers:
  {peer.name}: {{trust_domain: {peer.trust_domain}, root: "{peer.root}"}}
gateway: {{workers: 1, mesh: 127.0.0.1:0, http: 127.0.0.1:0, vip_range: {vip_range}}}
dns: {{listen: 127.0.0.1:0}}
status: {{listen: 127.0.0.1:0}}
"""
        if services:
            text += "services:\n" + "".join(service.yaml() for service in services)
        (self.directory / "cluster.yaml").write_text(text)

    def status(self) -> StatusDocument:
        """Raises OSError while it can't be asked."""
        return msgspec.json.decode(self._ask("/v1/status"), type=StatusDocument)

    def services(self) -> ServicesDocument:
        """Raises OSError while it can't be asked."""
        return msgspec.json.decode(self._ask("/v1/services"), type=ServicesDocument)

    def http_address(self) -> tuple[str, int]:
        """Where its workloads' requests go."""
        addresses = read_addresses(self.state_dir)
        assert addresses is not None, "it is ready, so it has said where it listens"
        host, _, port = addresses.http.rpartition(":")
        return host, int(port)

    def processes(self) -> dict[str, int]:
        """Its processes by role."""
        workers = {f"{self.name} worker": worker.pid for worker in self.status().workers}
        return {**workers, f"{self.name} controller": self.group.pid("gateway")}

    def wait_ready(self, service_count: int) -> None:
        """Until both paths to the peer work and this many services can be reached. Raises NotInTime."""
        missing = ["no status"]

        def ready() -> bool:
            status = self.status()
            reachable = status.services.reachable
            missing[:] = [peer.problem for peer in status.peers if not peer.ready] + [*status.not_ready_because]
            if reachable < service_count:
                missing.append(f"{reachable} of {service_count} services can be reached")
            return not missing

        try:
            wait_until(ready, f"{self.name} is ready", timeout_s=_READY_TIMEOUT_S, poll_s=0.2)
        except NotInTime as error:
            raise NotInTime(f"{error}; missing: {'; '.join(missing)}\n{self.group.last_words()}") from None

    def _ask(self, path: str) -> bytes:
        addresses = read_addresses(self.state_dir)
        if addresses is None:
            raise OSError(f"{self.name} does not say yet where it listens")
        host, _, port = addresses.status.rpartition(":")
        connection = http.client.HTTPConnection(host, int(port), timeout=_STATUS_TIMEOUT_S)
        try:
            connection.request("GET", path)
            return connection.getresponse().read()
        except http.client.HTTPException as error:
            raise OSError(f"{self.name}{path}: {error!r}") from error
        finally:
            connection.close()


@contextmanager
def open_isthmus(
    directory: Path, ports: Iterator[int], endpoints: Endpoints, more_services: int = 0
) -> Iterator[Contender]:
    """Runs them, ready to be measured, with `more_services` besides those that the benchmarks use."""
    directory.mkdir()
    tcp_port = free_client_port(7000)
    services = [
        Service("http", "http", _HTTP_PORT, endpoints.http),
        Service("grpc", "grpc", _HTTP_PORT, endpoints.grpc),
        Service("tcp", "tcp", tcp_port, endpoints.tcp),
        *(Service(f"more-{number}", "http", _HTTP_PORT, endpoints.http) for number in range(more_services)),
    ]
    names = [ServiceName(_NAMESPACE, service.name) for service in services]
    vip_ranges = free_vip_ranges(2, names, (_HTTP_PORT, tcp_port), random.Random())
    etcd = Etcd(directory / "etcd", ports)
    east, west = Cluster(directory, "east"), Cluster(directory, "west")
    east.configure(etcd.endpoint, west, str(vip_ranges[0]), [])
    west.configure(etcd.endpoint, east, str(vip_ranges[1]), services)
    try:
        etcd.start()
        for cluster in (east, west):
            cluster.group.start()
        for cluster in (east, west):
            cluster.wait_ready(len(services))
        yield _contender(east, west, tcp_port)
    finally:
        for group in (east.group, west.group, etcd.group):
            group.kill()


def _contender(east: Cluster, west: Cluster, tcp_port: int) -> Contender:
    vip = next(service.vip for service in east.services().services if service.name == "tcp")
    http_address = east.http_address()
    return Contender(
        name=OURS,
        version=f"{VERSION} ({'compiled' if compiled() else 'interpreted'})",
        entrances={
            Entrance.HTTP1: http_address,
            Entrance.HTTP2: http_address,
            Entrance.GRPC: http_address,
            Entrance.TCP: (vip, tcp_port),
        },
        find_processes=lambda: {**east.processes(), **west.processes()},
    )
