"""DNS queries per second and CPU per query over UDP, by dnsperf: through a gateway's worker, and beside CoreDNS.

The worker is that of a gateway as a user runs it. Our responder alone, without reactor and worker around it, shows what
those cost; CoreDNS is there where it is installed. Each answers in one process on one thread. Three mixes: one name
again and again; a thousand names; names that were never asked before and do not exist.
"""

from __future__ import annotations

import argparse
import json
import re
import shutil
import socket
import subprocess
import tempfile
from collections.abc import Callable
from contextlib import AbstractContextManager
from functools import partial
from pathlib import Path

import trio

from discovery.dns_message import DnsCounters, Responder
from discovery.dns_server import serve_udp
from discovery.model import Port, Protocol, ServiceName
from discovery.zone import Zone
from discovery.zone_records import ZoneService
from tests.bench.rig.command import guarded
from tests.bench.rig.contender import MissingProgram
from tests.bench.rig.dns_servers import DnsServer, find_coredns, open_alone, open_coredns, open_worker
from tests.bench.rig.idle_clients import allow_files
from tests.bench.rig.stage import scratch_directory

SERVICES = [ServiceName("shop", f"service-{number}") for number in range(1000)]
MIXES = {
    "repeat": [f"{SERVICES[0].fqdn} A"],
    "spread": [f"{name.fqdn} A" for name in SERVICES],
    "random": [f"x{number}.shop.svc.clusterset.local A" for number in range(200_000)],
}
WORKER = "worker"

Results = dict[str, dict[str, dict[str, float]]]


def serve(port: int) -> None:
    """Serves the thousand services on loopback until killed."""
    zone = Zone("bench")
    for number, name in enumerate(SERVICES):
        address = f"127.80.{number // 250}.{number % 250 + 2}"
        zone.upsert(ZoneService(name, (address,), (Port("http", 80, Protocol.HTTP),)))
    sock = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
    sock.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 1 << 21)
    sock.bind(("127.0.0.1", port))
    trio.run(serve_udp, sock, Responder(zone, 5, DnsCounters()))


def measure(server: DnsServer, mix: str, seconds: int) -> dict[str, float]:
    """Queries a second, and µs of the server's CPU for each."""
    with tempfile.NamedTemporaryFile("w", suffix=".txt") as queries:
        queries.write("\n".join(MIXES[mix]) + "\n")
        queries.flush()
        dnsperf = ["dnsperf", "-s", server.host, "-p", str(server.port), "-d", queries.name]
        before = server.cpu_s()
        output = subprocess.run(
            [*dnsperf, "-l", str(seconds), "-c", "4"], capture_output=True, text=True, check=True
        ).stdout
        cpu_s = server.cpu_s() - before
    completed = int(_figure(output, r"Queries completed:\s+(\d+)"))
    return {
        "queries_per_s": round(_figure(output, r"Queries per second:\s+([\d.]+)")),
        "cpu_us_per_query": round(cpu_s * 1e6 / max(1, completed), 1),
        "lost": int(_figure(output, r"Queries lost:\s+(\d+)")),
    }


def _figure(output: str, pattern: str) -> float:
    found = re.search(pattern, output)
    if found is None:
        raise SystemExit(f"dnsperf said nothing like {pattern!r}:\n{output}")
    return float(found[1])


def main(argv: list[str]) -> int:
    parser = argparse.ArgumentParser(prog="python -m tests.bench dns", description=__doc__)
    parser.add_argument("--json", action="store_true")
    parser.add_argument("--seconds", type=int, default=3, help="of each measurement")
    parser.add_argument("--serve", type=int, metavar="PORT", help=argparse.SUPPRESS)
    arguments = parser.parse_args(argv)
    if arguments.serve:
        serve(arguments.serve)
    return guarded(lambda: _measure_all(arguments.seconds, as_json=arguments.json))


def _measure_all(seconds: int, *, as_json: bool) -> None:
    if shutil.which("dnsperf") is None:
        raise MissingProgram("dnsperf is not installed: nothing was measured (Debian: dnsperf)")
    allow_files(0, len(SERVICES))
    results: Results = {mix: {} for mix in MIXES}
    with scratch_directory() as directory:
        for name, opened in _servers(directory).items():
            with opened() as server:
                for mix in MIXES:
                    results[mix][name] = measure(server, mix, seconds)
    show(results, as_json=as_json)


def _servers(directory: Path) -> dict[str, Callable[[], AbstractContextManager[DnsServer]]]:
    servers: dict[str, Callable[[], AbstractContextManager[DnsServer]]] = {
        WORKER: partial(open_worker, directory / "gateway", SERVICES),
        "alone": open_alone,
    }
    if coredns := find_coredns():
        servers["coredns"] = partial(open_coredns, coredns, directory / "coredns", SERVICES)
    return servers


def show(results: Results, *, as_json: bool) -> None:
    if as_json:
        print(json.dumps(results, indent=2))
        return
    for mix, by_server in results.items():
        for server, seen in by_server.items():
            share = seen["queries_per_s"] / by_server[WORKER]["queries_per_s"]
            print(
                f"{mix:<8} {server:<8} {seen['queries_per_s']:>9,.0f} queries/s ({share:.2f} of a worker's)"
                f" {seen['cpu_us_per_query']:>7.1f} µs CPU each, {seen['lost']:.0f} lost"
            )
