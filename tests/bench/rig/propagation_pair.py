"""A federation of ten clusters, of which two run: west, where services register, and east, which hears of them.

The other eight lie in etcd as their gateways would have written them. Every service but west's newest is there before
east starts.
"""

from __future__ import annotations

import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import msgspec

from discovery.model import ServiceName
from gateway.controller.loopback_ports import free_ports_for
from gateway.demo.lab import Etcd
from gateway.demo.waiting import wait_until
from gateway.process.usage import ProcessUsage, read_usage
from gateway.status.addresses import read_addresses
from tests.bench.rig.catalog_writer import __name__ as writer_module
from tests.bench.rig.command_pipe import CommandPipe
from tests.bench.rig.contender import BenchError
from tests.bench.rig.endpoints import open_endpoints
from tests.bench.rig.isthmus import Cluster
from tests.bench.rig.registering_gateway import __name__ as gateway_module
from tests.bench.rig.signed_catalog import FEDERATION, open_catalogs, service_name
from tests.bench.rig.worker_probe import NO_ROUTE, WorkerProbe

OTHERS = tuple(f"c{number}" for number in range(1, 9))
_RANGES = {"east": "127.16.0.0/12", "west": "127.32.0.0/12"}
"""A million addresses each, away from those of the demo and of the other benchmarks."""
_SAMPLES = 30
_FILL_TIMEOUT_S = 300.0
SYNC_TIMEOUT_S = 300.0
_QUIET_CPU_S = 0.2
"""Of all four processes in a second."""


class Synced(msgspec.Struct, frozen=True):
    """How long after its start a gateway knew everything."""

    routable_s: float
    """Until its worker answered for every service of the sample."""
    synced_s: float
    """Until its controller also said that it has read etcd."""


class Federation:
    """What runs. `each` is the number of services of each cluster but east, which has none."""

    def __init__(self, directory: Path, count: int) -> None:
        self.each = count // (len(OTHERS) + 1)
        self.total = self.each * (len(OTHERS) + 1)
        self._directory = directory
        ports = free_ports_for(directory)
        self.etcd = Etcd(directory / "etcd", ports)
        self.east, self.west = Cluster(directory, "east"), Cluster(directory, "west")
        others = {cluster: signer.authority for cluster, signer in open_catalogs(OTHERS).signers.items()}
        peers = {cluster: (authority.trust_domain, authority.fingerprint) for cluster, authority in others.items()}
        for cluster, peer in ((self.east, self.west), (self.west, self.east)):
            _configure(cluster, self.etcd.endpoint, peers | {peer.name: (peer.trust_domain, peer.root)})
        self._ports = ports
        self.writer: CommandPipe
        self.source: CommandPipe

    @contextmanager
    def run(self) -> Iterator[None]:
        """Everything but east."""
        try:
            self.etcd.start()
            with open_endpoints(self._directory / "endpoints", self._ports) as endpoints:
                self.writer = CommandPipe(
                    self._directory, "writer", [writer_module, self.etcd.endpoint, ",".join(OTHERS)]
                )
                config = self.west.directory / "cluster.yaml"
                self.source = CommandPipe(self._directory, "west", [gateway_module, str(config), str(endpoints.http)])
                try:
                    self.source.tell("fill", self.each)
                    self.writer.ask("load", self.each, timeout_s=_FILL_TIMEOUT_S)
                    self.source.hear(_FILL_TIMEOUT_S)
                    wait_until(
                        self._is_published, "west has published its services", timeout_s=_FILL_TIMEOUT_S, poll_s=1.0
                    )
                    yield
                finally:
                    self.source.close()
                    self.writer.close()
        finally:
            self.east.group.kill()
            self.etcd.group.kill()

    def _is_published(self) -> bool:
        status = self.west.status()
        (peer,) = [peer for peer in status.peers if peer.cluster == OTHERS[-1]]
        return status.services.total == self.total and peer.services.offered == self.each

    def start_east(self) -> Synced:
        """Starts it and waits until it knows everything."""
        (self.east.state_dir / "listeners.json").unlink(missing_ok=True)
        began = time.monotonic()
        self.east.group.start()
        wait_until(lambda: read_addresses(self.east.state_dir), "east listens", timeout_s=SYNC_TIMEOUT_S)
        probe = WorkerProbe(self.east.http_address())
        for name in self._sample():
            give_up_at = began + SYNC_TIMEOUT_S
            while probe.status_of(name) == NO_ROUTE:
                if time.monotonic() > give_up_at:
                    raise BenchError(f"east does not know {name} after {SYNC_TIMEOUT_S:g} s")
                time.sleep(0.05)
        routable_s = time.monotonic() - began
        probe.close()
        wait_until(self._is_synced, "east has read etcd", timeout_s=SYNC_TIMEOUT_S, poll_s=0.5)
        return Synced(routable_s, time.monotonic() - began)

    def wait_linked(self) -> None:
        """Until the two gateways that run reach each other."""

        def linked() -> bool:
            pairs = ((self.east, "west"), (self.west, "east"))
            return all(peer.ready for own, other in pairs for peer in own.status().peers if peer.cluster == other)

        wait_until(linked, "east and west reach each other", timeout_s=SYNC_TIMEOUT_S, poll_s=0.2)

    def wait_quiet(self) -> None:
        """Until both gateways have done what follows a start, such as claiming a virtual IP for every service."""
        # Asked for once: a status of a hundred thousand services is work, too.
        pids = self._pids()
        give_up_at = time.monotonic() + SYNC_TIMEOUT_S
        before = _cpu_s(pids)
        while time.monotonic() < give_up_at:
            time.sleep(1.0)
            after = _cpu_s(pids)
            if after - before < _QUIET_CPU_S:
                return
            before = after
        raise BenchError(f"the gateways are still busy with their start after {SYNC_TIMEOUT_S:g} s")

    def stop_east(self) -> None:
        self.east.group.stop(60.0)

    def _is_synced(self) -> bool:
        status = self.east.status()
        return status.etcd.connected and status.services.total >= self.total

    def _sample(self) -> list[ServiceName]:
        """Of each cluster some services that lie evenly in its range, the first and the last among them."""
        step = max(1, (self.each - 1) // _SAMPLES)
        numbers = sorted({*range(0, self.each, step), self.each - 1})
        return [service_name(cluster, number) for number in numbers for cluster in (*OTHERS, "west")]

    def usages(self) -> dict[str, ProcessUsage]:
        """Of both gateways' processes, by role."""
        found = {role: read_usage(pid) for role, pid in self._pids().items()}
        return {role: usage for role, usage in found.items() if usage is not None}

    def _pids(self) -> dict[str, int]:
        workers = {f"{cluster.name} worker": cluster.status().workers[0].pid for cluster in (self.east, self.west)}
        return workers | {"east controller": self.east.group.pid("gateway"), "west controller": self.source.pid}


def _cpu_s(pids: dict[str, int]) -> float:
    return sum(usage.cpu_s for usage in map(read_usage, pids.values()) if usage is not None)


def _configure(cluster: Cluster, etcd: str, peers: dict[str, tuple[str, str]]) -> None:
    """Every default as a user gets it, but one worker, and room for a million addresses."""
    lines = "".join(f'  {name}: {{trust_domain: {domain}, root: "{root}"}}\n' for name, (domain, root) in peers.items())
    (cluster.directory / "cluster.yaml").write_text(f"""\
federation: {FEDERATION}
cluster: {{name: {cluster.name}, region: {cluster.name}, trust_domain: {cluster.trust_domain}}}
state_dir: {cluster.state_dir}
etcd: {{endpoints: [{etcd}]}}
peers:
{lines}gateway: {{workers: 1, mesh: 127.0.0.1:0, http: 127.0.0.1:0, vip_range: {_RANGES[cluster.name]}}}
dns: {{listen: 127.0.0.1:0}}
status: {{listen: 127.0.0.1:0}}
""")
