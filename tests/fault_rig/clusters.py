"""Clusters that can be broken: gateways of `isthmus run`, endpoints and an etcd, each in processes of their own."""

from __future__ import annotations

import http.client
import os
import random
import shutil
import signal
import sys
from collections.abc import Collection, Iterator, Mapping, Sequence
from contextlib import contextmanager
from datetime import UTC, datetime
from pathlib import Path

import msgspec

from discovery.model import ServiceName
from federation.status.peer_values import ClusterDocument
from federation.status.service_values import ServicesDocument
from federation.status.values import StatusDocument
from gateway.controller.loopback_ports import LOOPBACK, free_ports_for
from gateway.controller.private_etcd import find_etcd
from gateway.demo.group import Group
from gateway.demo.leash import Program
from gateway.demo.numbers import free_client_port, free_vip_ranges
from gateway.demo.waiting import NotInTime, wait_until
from gateway.process.state_dir import LISTENERS_FILE, prepare
from gateway.status.addresses import Addresses, read_addresses
from tests.fault_rig.samples import LoadPlan
from trust.authority import Authority

NAMESPACE = "shop"
TCP_SERVICES = ("ledger",)
"""All other services are HTTP."""
READY_TIMEOUT_S = 60.0
_ANSWER_TIMEOUT_S = 10.0


class Site(msgspec.Struct, frozen=True):
    """A cluster on paper."""

    name: str
    services: Mapping[str, int] = {}
    """How many endpoints each service has here."""
    health: str = "{http: /healthz, interval: 500ms, fall: 2}"
    """How its HTTP endpoints are checked; the defaults if empty."""
    apart: tuple[str, ...] = ()
    """Services whose endpoints are in a process of their own, not in that of all others."""
    gateways: int = 1
    region: str = ""
    """Its own, named as it is, if empty."""
    failover: tuple[str, ...] = ()
    address: str = LOOPBACK
    """Where its gateways listen for peers."""
    prefix: tuple[str, ...] = ()
    """What its processes are started with, such as `ip netns exec`."""
    advertise: str = ""
    """What its gateways say where they are, a template of the mesh port; where they listen, if empty."""
    mesh_port: int = 0
    sections: str = ""
    """More sections of the file, as YAML."""
    gateway_section: str = ""
    """More keys of the section `gateway`, as YAML that begins with a comma."""

    @property
    def trust_domain(self) -> str:
        return f"{self.name}.acme.test"


class Broken:
    """Processes that can be killed, frozen, thawed and started again."""

    def __init__(self, group: Group) -> None:
        self.group = group

    def start(self) -> None:
        self.group.start()

    def kill(self) -> None:
        """SIGKILL to every process."""
        self.group.kill()

    def freeze(self) -> None:
        """SIGSTOP to every process: connections stay open, and nothing is answered."""
        os.killpg(self.group.id, signal.SIGSTOP)

    def thaw(self) -> None:
        os.killpg(self.group.id, signal.SIGCONT)


class Gateway(Broken):
    """One gateway of a cluster: controller and worker."""

    def __init__(self, directory: Path, site: Site) -> None:
        directory.mkdir()
        self.directory = directory
        self.state_dir = directory / "state"
        self.config_path = directory / "cluster.yaml"
        prepare(self.state_dir)
        command = [*site.prefix, sys.executable, "-m", "gateway", "run", "-c", str(self.config_path)]
        super().__init__(Group(directory, [Program("gateway", command)]))

    def start(self) -> None:
        (self.state_dir / LISTENERS_FILE).unlink(missing_ok=True)
        super().start()

    @property
    def addresses(self) -> Addresses:
        return wait_until(lambda: read_addresses(self.state_dir), f"{self.directory.name} says where it listens")

    def status(self) -> StatusDocument:
        """Raises OSError while it can't be asked."""
        return msgspec.json.decode(self.ask("/v1/status"), type=StatusDocument)

    def vip(self, service: str) -> str:
        document = msgspec.json.decode(self.ask("/v1/services"), type=ServicesDocument)
        return next((found.vip for found in document.services if found.name == service), "")

    def ask(self, path: str) -> bytes:
        addresses = read_addresses(self.state_dir)
        if addresses is None:
            raise OSError("it does not say yet where it listens")
        return get(addresses.status, path)[1]


class Cluster:
    """One cluster: its gateways, and its endpoints in a process of their own."""

    def __init__(self, directory: Path, site: Site, ports: Iterator[int]) -> None:
        self.site = site
        self.name = site.name
        self.endpoint_ports = {name: [next(ports) for _ in range(count)] for name, count in site.services.items()}
        directory.mkdir()
        self.gateways = [Gateway(directory / f"{site.name}-{number}", site) for number in range(site.gateways)]
        first = self.gateways[0].state_dir / "trust"
        self.authority = Authority.load_or_create(first, site.trust_domain, datetime.now(UTC))
        for other in self.gateways[1:]:
            shutil.copytree(first, other.state_dir / "trust", dirs_exist_ok=True)
        programs = [Program("endpoints", self._endpoints_command(self.endpoint_ports.keys() - {*site.apart}))]
        programs += [Program(f"endpoints-{name}", self._endpoints_command({name})) for name in site.apart]
        self.endpoints = Broken(Group(directory, programs))

    def _endpoints_command(self, services: Collection[str]) -> list[str]:
        specs = [
            f"{kind_of(name)}:{port}"
            for name, service_ports in self.endpoint_ports.items()
            for port in service_ports
            if name in services
        ]
        return [*self.site.prefix, sys.executable, "-m", "tests.fault_rig.endpoints", self.name, *specs]

    @property
    def parts(self) -> list[Broken]:
        return [*self.gateways, self.endpoints]

    def start(self) -> None:
        for part in self.parts:
            part.start()

    def kill(self) -> None:
        for part in self.parts:
            part.kill()

    def freeze(self) -> None:
        for part in self.parts:
            part.freeze()

    def thaw(self) -> None:
        for part in self.parts:
            part.thaw()

    def tell(self, service: str, number: int, **behaviour: int) -> None:
        """Tells an endpoint how to behave: `status`, `health`, `delay_ms`."""
        port = self.endpoint_ports[service][number]
        query = "&".join(f"{key}={value}" for key, value in behaviour.items())
        assert get(f"{LOOPBACK}:{port}", f"/tell?{query}")[0] == 200


class FaultLab:
    """An etcd and clusters that all import from each other. Made by `open_fault_lab`."""

    def __init__(self, directory: Path, sites: Sequence[Site], etcd_address: str) -> None:
        self.ports = free_ports_for(directory)
        self._etcd_port = next(self.ports)
        self._etcd_address = etcd_address
        self.etcd = Broken(self._etcd_group(directory / "etcd"))
        self.clusters = {site.name: Cluster(directory / site.name, site, self.ports) for site in sites}
        self._service_ports = {"http": free_client_port(8080), "tcp": free_client_port(7000)}
        self._names = sorted({service for site in sites for service in site.services})
        for cluster in self.clusters.values():
            for gateway in cluster.gateways:
                gateway.config_path.write_text(self._yaml(cluster))

    def __getitem__(self, name: str) -> Cluster:
        return self.clusters[name]

    @property
    def gateway(self) -> Gateway:
        """The gateway whose clients the load is: the first one of the first cluster."""
        return next(iter(self.clusters.values())).gateways[0]

    def plan(self, service: str = "payments", *, tcp: str = "", **more: int) -> LoadPlan:
        """A load of a service, and of a TCP service on its virtual IP."""
        host, _, port = self.gateway.addresses.http.rpartition(":")
        authority = f"{ServiceName(NAMESPACE, service).fqdn}:{self._service_ports['http']}"
        vip = None
        if tcp:
            vip = wait_until(lambda: self.gateway.vip(tcp), f"{tcp} has a virtual IP"), self._service_ports["tcp"]
        return LoadPlan((host, int(port)), authority, tcp=vip, **more)

    def start(self) -> None:
        self.etcd.start()
        wait_until(lambda: get(f"{LOOPBACK}:{self._etcd_port}", "/health")[0] == 200, "etcd serves")
        for cluster in self.clusters.values():
            cluster.start()

    def wait_ready(self, *names: str) -> None:
        """Until the first cluster sees these (or all) ready, with as many tunnels as there are gateways. NotInTime."""
        wanted = names or [*self.clusters][1:]
        seen: list[str] = []

        def ready() -> bool:
            peers = {peer.cluster: peer for peer in self.gateway.status().peers}
            seen[:] = [f"{name}: {peers[name].problem or 'ready'}" for name in wanted]
            return all(peers[name].ready and self._answering(peers[name]) for name in wanted)

        try:
            wait_until(ready, "the peers are ready", timeout_s=READY_TIMEOUT_S)
        except NotInTime as error:
            raise NotInTime(f"{error}; {'; '.join(seen)}") from None

    def _answering(self, peer: ClusterDocument) -> bool:
        answering = {tunnel.gateway for tunnel in peer.data.gateways if tunnel.ready}
        return len(answering) >= self.clusters[peer.cluster].site.gateways

    def close(self) -> None:
        for cluster in self.clusters.values():
            cluster.kill()
        self.etcd.kill()

    def last_words(self) -> str:
        parts = [part for cluster in self.clusters.values() for part in cluster.parts]
        return "\n".join(words for part in [*parts, self.etcd] if (words := part.group.last_words()))

    # Files.

    def _etcd_group(self, directory: Path) -> Group:
        directory.mkdir()
        urls = ",".join(f"http://{address}:{self._etcd_port}" for address in {LOOPBACK, self._etcd_address})
        command = [str(find_etcd()), "--name=lab", f"--data-dir={directory / 'data'}", "--log-level=warn"]
        peer = f"http://{LOOPBACK}:{next(self.ports)}"
        command += [f"--listen-client-urls={urls}", f"--advertise-client-urls={urls}"]
        command += [f"--listen-peer-urls={peer}", f"--initial-advertise-peer-urls={peer}"]
        return Group(directory, [Program("etcd", [*command, f"--initial-cluster=lab={peer}"])])

    def _yaml(self, cluster: Cluster) -> str:
        site = cluster.site
        peers = "".join(
            f'  {peer.name}: {{trust_domain: {peer.site.trust_domain}, root: "{peer.authority.fingerprint}"}}\n'
            for peer in self.clusters.values()
            if peer is not cluster
        )
        names = [ServiceName(NAMESPACE, name) for name in self._names]
        (vips,) = free_vip_ranges(1, names, self._service_ports.values(), random.Random())
        port = site.mesh_port
        failover = f"failover: {{order: [{', '.join(site.failover)}]}}\n" if site.failover else ""
        advertise = f", advertise: ['{site.advertise}']" if site.advertise else ""
        region = site.region or site.name
        return f"""\
federation: acme
cluster: {{name: {site.name}, region: {region}, zone: {site.name}-a, trust_domain: {site.trust_domain}}}
state_dir: ./state
etcd: {{endpoints: ["http://{self._etcd_address}:{self._etcd_port}"]}}
peers:
{peers}
gateway:
  {{workers: 1, mesh: "{site.address}:{port}", http: 127.0.0.1:0, vip_range: {vips}{advertise}{site.gateway_section}}}
dns: {{listen: 127.0.0.1:0}}
status: {{listen: 127.0.0.1:0}}
{failover}{site.sections}services: [{", ".join(self._service_yaml(cluster, name) for name in cluster.endpoint_ports)}]
"""

    def _service_yaml(self, cluster: Cluster, name: str) -> str:
        kind = kind_of(name)
        endpoints = ", ".join(f"{{address: 127.0.0.1, port: {port}}}" for port in cluster.endpoint_ports[name])
        check = f"health: {cluster.site.health}, " if kind == "http" and cluster.site.health else ""
        return (
            f"{{namespace: {NAMESPACE}, name: {name}, endpoints: [{endpoints}], {check}"
            f"ports: [{{name: port, port: {self._service_ports[kind]}, protocol: {kind}}}], "
            'export: {to: ["*"]}}'
        )


@contextmanager
def open_fault_lab(
    directory: Path, *sites: Site, etcd_address: str = LOOPBACK, wait: bool = True
) -> Iterator[FaultLab]:
    """Everything runs, and with `wait` the first cluster, which has the load, sees all others ready."""
    lab = FaultLab(directory, sites, etcd_address)
    try:
        lab.start()
        if wait:
            lab.wait_ready()
        yield lab
    except BaseException:
        print(lab.last_words())
        raise
    finally:
        lab.close()


def kind_of(service: str) -> str:
    return "tcp" if service in TCP_SERVICES else "http"


def get(address: str, path: str) -> tuple[int, bytes]:
    """Status and body. Raises OSError."""
    host, _, port = address.rpartition(":")
    connection = http.client.HTTPConnection(host, int(port), timeout=_ANSWER_TIMEOUT_S)
    try:
        connection.request("GET", path)
        response = connection.getresponse()
        return response.status, response.read()
    except http.client.HTTPException as error:
        raise OSError(f"{address}{path}: {error!r}") from error
    finally:
        connection.close()


def three_clusters(
    *, remote: Mapping[str, int] | None = None, local: Mapping[str, int] | None = None, **more: object
) -> tuple[Site, Site, Site]:
    """East, which calls; west, which it prefers; and eu. `more` is for west."""
    services = remote or {"payments": 1, "ledger": 1}
    west = msgspec.structs.replace(Site("west", services), **more)
    return Site("east", local or {}, failover=("west", "eu")), west, Site("eu", services)
