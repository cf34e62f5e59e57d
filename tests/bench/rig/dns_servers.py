"""Who answers DNS in the benchmark, with the same names: a worker of a gateway, our responder alone, CoreDNS."""

from __future__ import annotations

import os
import random
import shutil
import socket
import subprocess
import sys
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path

import msgspec

from discovery.address import parse_host_port
from discovery.model import ServiceName
from gateway.controller.loopback_ports import free_ports_for
from gateway.demo.lab import Etcd
from gateway.demo.numbers import free_vip_ranges
from gateway.process.usage import read_usage
from gateway.status.addresses import read_addresses
from tests.bench.rig.contender import BenchError
from tests.bench.rig.isthmus import Cluster
from tests.ports import free_port

_PORT = 8080
_UP_TIMEOUT_S = 10.0
_QUERY = b"\0\1\1\0\0\1\0\0\0\0\0\0\x0aclusterset\5local\0\0\6\0\1"
"""SOA of clusterset.local: whoever answers it serves the zone."""


class DnsServer(msgspec.Struct, frozen=True):
    """One that runs. `cpu_s` gives the CPU seconds of the process that answers, since it began."""

    host: str
    port: int
    cpu_s: Callable[[], float]


@contextmanager
def open_worker(directory: Path, names: Sequence[ServiceName]) -> Iterator[DnsServer]:
    """A gateway as a user runs it, with one worker, whose own services these are."""
    directory.mkdir()
    (vip_range,) = free_vip_ranges(1, names, (_PORT,), random.Random())
    etcd = Etcd(directory / "etcd", free_ports_for(directory))
    cluster = Cluster(directory, "east")
    (cluster.directory / "cluster.yaml").write_text(_configuration(etcd.endpoint, str(vip_range), names))
    try:
        etcd.start()
        cluster.group.start()
        cluster.wait_ready(len(names))
        addresses = read_addresses(cluster.state_dir)
        assert addresses is not None, "it is ready, so it has said where it listens"
        where = parse_host_port(addresses.dns)
        server = DnsServer(where.host, where.port, _cpu_of(cluster.processes()["east worker"]))
        _wait_until_up(server)
        yield server
    finally:
        cluster.group.kill()
        etcd.group.kill()


def _configuration(etcd_endpoint: str, vip_range: str, names: Sequence[ServiceName]) -> str:
    services = "".join(
        f"- {{namespace: {name.namespace}, name: {name.name}, ports: [{{name: http, port: {_PORT}, protocol: http}}],"
        f" endpoints: [{{address: 127.0.0.1, port: {_PORT}}}], health: {{interval: 60s}}}}\n"
        for name in names
    )
    return f"""\
federation: acme
cluster: {{name: east, trust_domain: east.acme.test}}
state_dir: ./state
etcd: {{endpoints: [{etcd_endpoint}]}}
gateway: {{workers: 1, http: 127.0.0.1:0, vip_range: {vip_range}}}
dns: {{listen: 127.0.0.1:0}}
status: {{listen: 127.0.0.1:0}}
services:
{services}"""


@contextmanager
def open_alone() -> Iterator[DnsServer]:
    """Our responder with a trio loop of its own, in a process of its own, and nothing besides."""
    port = free_port()
    with _process([sys.executable, "-m", "tests.bench", "dns", "--interpreted", "--serve", str(port)], port) as server:
        yield server


@contextmanager
def open_coredns(program: str, directory: Path, names: Sequence[ServiceName]) -> Iterator[DnsServer]:
    """CoreDNS with the names in a hosts file, on one thread."""
    directory.mkdir()
    port = free_port()
    hosts = directory / "hosts"
    hosts.write_text(
        "".join(f"127.80.{number // 250}.{number % 250 + 2} {name.fqdn}\n" for number, name in enumerate(names))
    )
    corefile = directory / "Corefile"
    corefile.write_text(f"clusterset.local:{port} {{\n  bind 127.0.0.1\n  hosts {hosts}\n}}\n")
    with _process([program, "-conf", str(corefile), "-quiet"], port) as server:
        yield server


def find_coredns() -> str | None:
    return shutil.which("coredns")


@contextmanager
def _process(command: list[str], port: int) -> Iterator[DnsServer]:
    process = subprocess.Popen(command, stdout=subprocess.DEVNULL, env={**os.environ, "GOMAXPROCS": "1"})
    try:
        server = DnsServer("127.0.0.1", port, _cpu_of(process.pid))
        _wait_until_up(server)
        yield server
    finally:
        process.kill()
        process.wait()


def _cpu_of(pid: int) -> Callable[[], float]:
    def read() -> float:
        usage = read_usage(pid)
        if usage is None:
            raise BenchError(f"the process {pid} that answers has ended")
        return usage.cpu_s

    return read


def _wait_until_up(server: DnsServer) -> None:
    give_up_at = time.monotonic() + _UP_TIMEOUT_S
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as sock:
        sock.connect((server.host, server.port))
        sock.settimeout(0.1)
        while time.monotonic() < give_up_at:
            try:
                sock.send(_QUERY)
                sock.recv(4096)
                return
            except OSError:
                time.sleep(0.05)
    raise BenchError(f"nobody answered on {server.host}:{server.port} in {_UP_TIMEOUT_S:g} s")
