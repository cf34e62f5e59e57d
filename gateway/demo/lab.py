"""The lab: a real etcd and three clusters, each a gateway in processes of its own, on free ports of this machine."""

from __future__ import annotations

import http.client
import random
import shutil
import signal
import subprocess
import sys
import tempfile
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from datetime import UTC, datetime
from pathlib import Path

import msgspec

from federation.status.service_values import ServiceDocument, ServicesDocument
from federation.status.trust_values import TrustDocument
from federation.status.values import StatusDocument
from gateway.controller.loopback_ports import LOOPBACK, free_ports_for
from gateway.controller.private_etcd import find_etcd
from gateway.demo.group import Group
from gateway.demo.leash import Program
from gateway.demo.members import (
    EU,
    INVOICES,
    MEMBERS,
    NAMESPACE,
    WEST,
    DemoService,
    Member,
    Numbers,
    cluster_yaml,
    name_of,
)
from gateway.demo.numbers import free_client_port, free_vip_ranges
from gateway.demo.waiting import NotInTime, wait_until
from gateway.process.state_dir import LISTENERS_FILE, prepare
from gateway.status.addresses import Addresses, read_addresses
from trust.authority import Authority

READY_TIMEOUT_S = 60.0
_PREFERRED_PORTS = {"http": 8080, "tcp": 7000}
_STATUS_TIMEOUT_S = 5.0


class Etcd:
    """One etcd. It keeps its port and its data when it is killed and started again."""

    def __init__(self, directory: Path, ports: Iterator[int]) -> None:
        directory.mkdir()
        self.port, peer_port = next(ports), next(ports)
        peer = f"http://{LOOPBACK}:{peer_port}"
        command = [
            str(find_etcd()),
            "--name=demo",
            f"--data-dir={directory / 'data'}",
            f"--listen-client-urls={self.endpoint}",
            f"--advertise-client-urls={self.endpoint}",
            f"--listen-peer-urls={peer}",
            f"--initial-advertise-peer-urls={peer}",
            f"--initial-cluster=demo={peer}",
            "--log-level=warn",
        ]
        self.group = Group(directory, [Program("etcd", command)])

    @property
    def endpoint(self) -> str:
        return f"http://{LOOPBACK}:{self.port}"

    def start(self) -> None:
        """Starts it and waits until it serves. Raises NotInTime."""
        self.group.start()
        wait_until(self._healthy, f"etcd is healthy at {self.endpoint}")

    def kill(self) -> None:
        self.group.kill()

    def _healthy(self) -> bool:
        return b'"health":"true"' in _get(LOOPBACK, self.port, "/health")


class Cluster:
    """One cluster: its configuration, its gateway and its services."""

    def __init__(self, lab: Lab, member: Member) -> None:
        self.name = member.name
        self.member = member
        self.directory = lab.directory / member.name
        self.config_path = self.directory / "cluster.yaml"
        self.state_dir = self.directory / "state"
        self._lab = lab
        self.directory.mkdir()
        prepare(self.state_dir)
        now = datetime.now(UTC)  # noqa: TID251 - a certificate is dated by the wall clock
        self.authority = Authority.load_or_create(self.state_dir / "trust", member.trust_domain, now)
        self.group = Group(self.directory, [])

    # Life.

    def write_config(self, services: Sequence[DemoService] | None = None) -> None:
        """Writes cluster.yaml, with these services in place of the member's own."""
        members = [cluster.member for cluster in self._lab.clusters.values()]
        text = cluster_yaml(
            self.member, self._lab.numbers, self.member.services if services is None else services, members
        )
        draft = self.config_path.with_suffix(".new")
        draft.write_text(text)
        draft.replace(self.config_path)

    def start(self) -> None:
        """Starts the gateway and the services, and does not wait for them."""
        (self.state_dir / LISTENERS_FILE).unlink(missing_ok=True)
        gateway = Program(
            "gateway", [sys.executable, "-m", "gateway", "run", "-c", str(self.config_path)], restart=True
        )
        ports = self._lab.numbers.endpoint_ports
        specs = [f"{s.kind}:{s.name}:{ports[self.name, s.name]}" for s in self._lab.running_services(self.member)]
        services = Program("services", [sys.executable, "-m", "gateway.demo.services", self.name, *specs])
        self.group = Group(self.directory, [services, gateway])
        self.group.start()

    def kill(self) -> None:
        """SIGKILL to everything in this cluster."""
        self.group.kill()

    def stop(self) -> None:
        """Lets the gateway drain and end."""
        self.group.stop()

    # What it says.

    @property
    def addresses(self) -> Addresses:
        """Where it listens. Raises NotInTime if it does not say so soon."""
        return wait_until(lambda: read_addresses(self.state_dir), f"{self.name} says where it listens")

    def status(self) -> StatusDocument:
        """`/v1/status`. Raises OSError while it can't be asked."""
        return msgspec.json.decode(self._ask("/v1/status"), type=StatusDocument)

    def services(self) -> dict[str, ServiceDocument]:
        """What it may use, by "namespace/name". Raises OSError while it can't be asked."""
        document = msgspec.json.decode(self._ask("/v1/services"), type=ServicesDocument)
        return {f"{service.namespace}/{service.name}": service for service in document.services}

    def trust(self) -> TrustDocument:
        """`/v1/trust`. Raises OSError while it can't be asked."""
        return msgspec.json.decode(self._ask("/v1/trust"), type=TrustDocument)

    def metrics(self) -> str:
        return self._ask("/metrics").decode()

    def _ask(self, path: str) -> bytes:
        addresses = read_addresses(self.state_dir)
        if addresses is None:
            raise OSError(f"{self.name} does not say yet where it listens")
        host, _, port = addresses.status.rpartition(":")
        return _get(host, int(port), path)

    def wait_ready(self, timeout_s: float = READY_TIMEOUT_S) -> StatusDocument:
        """Until all of its workers serve and it sees every peer ready. Raises NotInTime with what is missing."""

        missing: list[str] = []

        def ready() -> StatusDocument | None:
            status = self.status()
            missing[:] = [peer.problem for peer in status.peers if not peer.ready] + [*status.not_ready_because]
            serving = sum(worker.ready for worker in status.workers)
            if serving < status.workers_wanted:
                missing.append(f"{serving} of {status.workers_wanted} workers serve")
            return None if missing else status

        try:
            return wait_until(ready, f"{self.name} and its peers are ready", timeout_s=timeout_s)
        except NotInTime as error:
            raise NotInTime(f"{error}; missing: {'; '.join(missing)}") from None

    def vip(self, service: str) -> str:
        """The virtual IP that a service of the demo has here; empty if it has none."""
        found = self.services().get(f"{NAMESPACE}/{service}")
        return found.vip if found is not None else ""

    def isthmus(self, command: str, *arguments: str) -> str:
        """What `isthmus <command> -c cluster.yaml` prints. Raises OSError with what it said when it fails."""
        return self._isthmus(command, "-c", str(self.config_path), *arguments)

    def isthmus_trust(self, action: str, *arguments: str) -> str:
        """What `isthmus trust <action> -c cluster.yaml` prints. Raises OSError with what it said when it fails."""
        return self._isthmus("trust", action, "-c", str(self.config_path), *arguments)

    def _isthmus(self, *arguments: str) -> str:
        line = [sys.executable, "-m", "gateway", *arguments]
        done = subprocess.run(line, capture_output=True, text=True, check=False, cwd=self.directory)
        if done.returncode != 0:
            raise OSError(f"isthmus {arguments[0]} ended with status {done.returncode}: {done.stderr.strip()}")
        return done.stdout


class Lab:
    """Everything that the demo runs. Made by `open_lab`."""

    def __init__(self, directory: Path, rng: random.Random, *, rotates: bool) -> None:
        self.directory = directory
        ports = free_ports_for(directory)
        self.etcd = Etcd(directory / "etcd", ports)
        self.clusters = {member.name: Cluster(self, member) for member in MEMBERS}
        names = {service.service_name for member in MEMBERS for service in self.running_services(member)}
        client_ports = {kind: free_client_port(port) for kind, port in _PREFERRED_PORTS.items()}
        ranges = free_vip_ranges(len(MEMBERS), sorted(names), client_ports.values(), rng)
        self.numbers = Numbers(
            etcd_endpoint=self.etcd.endpoint,
            vip_ranges={member.name: str(network) for member, network in zip(MEMBERS, ranges, strict=True)},
            client_ports=client_ports,
            endpoint_ports={
                (member.name, service.name): next(ports)
                for member in MEMBERS
                for service in self.running_services(member)
            },
            roots={cluster.name: cluster.authority.fingerprint for cluster in self.clusters.values()},
            rotates=EU.name if rotates else "",
        )
        for cluster in self.clusters.values():
            cluster.write_config()

    def __getitem__(self, name: str) -> Cluster:
        return self.clusters[name]

    def authority(self, service: str) -> str:
        """The name and port that clients use for one of the HTTP services."""
        return f"{name_of(service)}:{self.numbers.client_ports['http']}"

    @staticmethod
    def running_services(member: Member) -> tuple[DemoService, ...]:
        """What has a process in a cluster, also what its configuration does not name yet."""
        return (*member.services, INVOICES) if member == WEST else member.services

    def start(self) -> None:
        """Starts all, and waits until etcd serves and the gateways listen. Raises NotInTime."""
        self.etcd.start()
        for cluster in self.clusters.values():
            cluster.start()
        for cluster in self.clusters.values():
            wait_until(cluster.status, f"the gateway of {cluster.name} answers", timeout_s=READY_TIMEOUT_S)

    def wait_ready(self) -> None:
        """Until every cluster sees every other one ready. Raises NotInTime."""
        for cluster in self.clusters.values():
            cluster.wait_ready()

    def close(self) -> None:
        """Ends every process that was started."""
        for cluster in self.clusters.values():
            cluster.kill()
        self.etcd.kill()

    def last_words(self) -> str:
        groups = [cluster.group for cluster in self.clusters.values()] + [self.etcd.group]
        return "\n".join(words for group in groups if (words := group.last_words()))


@contextmanager
def open_lab(rng: random.Random, *, rotates: bool = False) -> Iterator[Lab]:
    """A lab in a temporary directory. At the end, however it comes, its processes and its files are gone. `rotates`:
    one cluster's root can be replaced within seconds."""
    directory = Path(tempfile.mkdtemp(prefix="isthmus-demo-"))
    lab: Lab | None = None
    try:
        lab = Lab(directory, rng, rotates=rotates)
        yield lab
    finally:
        with _undisturbed():
            if lab is not None:
                lab.close()
            shutil.rmtree(directory, ignore_errors=True)


@contextmanager
def _undisturbed() -> Iterator[None]:
    """Signals wait until the block has ended: a second Ctrl-C must not leave half of the lab behind."""
    before = signal.pthread_sigmask(signal.SIG_BLOCK, {signal.SIGINT, signal.SIGTERM, signal.SIGHUP})
    try:
        yield
    finally:
        signal.pthread_sigmask(signal.SIG_SETMASK, before)


def _get(host: str, port: int, path: str) -> bytes:
    """The body of an answer, whatever its status. Raises OSError."""
    connection = http.client.HTTPConnection(host, port, timeout=_STATUS_TIMEOUT_S)
    try:
        connection.request("GET", path)
        return connection.getresponse().read()
    except http.client.HTTPException as error:
        raise OSError(f"{host}:{port}{path}: {error!r}") from error
    finally:
        connection.close()
