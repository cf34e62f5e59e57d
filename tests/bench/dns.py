"""DNS queries per second and CPU per query over UDP, by dnsperf, beside CoreDNS where it is installed.

Each server runs as one process on one thread. Three mixes: one name again and again; a thousand names; names that
were never asked before and do not exist.
"""

from __future__ import annotations

import argparse
import json
import os
import re
import shutil
import signal
import socket
import subprocess
import sys
import tempfile
import time
from pathlib import Path

import trio

from discovery.dns_message import DnsCounters, Responder
from discovery.dns_server import serve_udp
from discovery.model import Port, Protocol, ServiceName
from discovery.zone import Zone
from discovery.zone_records import ZoneService
from tests.ports import free_port

SERVICES = [ServiceName("shop", f"service-{number}") for number in range(1000)]
MIXES = {
    "repeat": [f"{SERVICES[0].fqdn} A"],
    "spread": [f"{name.fqdn} A" for name in SERVICES],
    "random": [f"x{number}.shop.svc.clusterset.local A" for number in range(200_000)],
}


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


def coredns_command(binary: str, port: int, directory: Path) -> list[str]:
    hosts = directory / "hosts"
    hosts.write_text(
        "".join(f"127.80.{number // 250}.{number % 250 + 2} {name.fqdn}\n" for number, name in enumerate(SERVICES))
    )
    corefile = directory / "Corefile"
    corefile.write_text(f"clusterset.local:{port} {{\n  bind 127.0.0.1\n  hosts {hosts}\n}}\n")
    return [binary, "-conf", str(corefile), "-quiet"]


def wait_until_up(port: int) -> None:
    query = b"\0\1\1\0\0\1\0\0\0\0\0\0\x0aclusterset\5local\0\0\6\0\1"
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as sock:
        sock.connect(("127.0.0.1", port))
        sock.settimeout(0.1)
        for _ in range(100):
            try:
                sock.send(query)
                sock.recv(4096)
                return
            except OSError:
                time.sleep(0.05)
    raise SystemExit("the server did not come up in 10 s")


def measure(command: list[str], port: int, mix: str, seconds: int) -> dict[str, float]:
    """Runs a server of its own for one mix. Returns queries a second, and µs of the server's CPU for each."""
    process = subprocess.Popen(command, stdout=subprocess.DEVNULL, env={**os.environ, "GOMAXPROCS": "1"})
    try:
        wait_until_up(port)
        with tempfile.NamedTemporaryFile("w", suffix=".txt") as queries:
            queries.write("\n".join(MIXES[mix]) + "\n")
            queries.flush()
            dnsperf = ["dnsperf", "-s", "127.0.0.1", "-p", str(port), "-d", queries.name, "-l", str(seconds), "-c", "4"]
            output = subprocess.run(dnsperf, capture_output=True, text=True, check=True).stdout
    finally:
        process.send_signal(signal.SIGKILL)
        _, status, usage = os.wait4(process.pid, 0)
        process.returncode = os.waitstatus_to_exitcode(status)
    completed = int(_figure(output, r"Queries completed:\s+(\d+)"))
    return {
        "queries_per_s": round(_figure(output, r"Queries per second:\s+([\d.]+)")),
        "cpu_us_per_query": round((usage.ru_utime + usage.ru_stime) * 1e6 / max(1, completed), 1),
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
    if shutil.which("dnsperf") is None:
        print("dnsperf is not installed: nothing was measured", file=sys.stderr)
        return 1
    results: dict[str, dict[str, dict[str, float]]] = {}
    coredns = shutil.which("coredns")
    with tempfile.TemporaryDirectory() as directory:
        for mix in MIXES:
            port = free_port()
            ours = [sys.executable, "-m", "tests.bench", "dns", "--serve", str(port)]
            results[mix] = {"isthmus": measure(ours, port, mix, arguments.seconds)}
            if coredns is not None:
                peer = coredns_command(coredns, port := free_port(), Path(directory))
                results[mix]["coredns"] = measure(peer, port, mix, arguments.seconds)
    show(results, as_json=arguments.json)
    return 0


def show(results: dict[str, dict[str, dict[str, float]]], *, as_json: bool) -> None:
    if as_json:
        print(json.dumps(results, indent=2))
        return
    for mix, by_server in results.items():
        for server, seen in by_server.items():
            share = seen["queries_per_s"] / by_server["isthmus"]["queries_per_s"]
            print(
                f"{mix:<8} {server:<8} {seen['queries_per_s']:>9,.0f} queries/s ({share:.2f} of ours)"
                f" {seen['cpu_us_per_query']:>7.1f} µs CPU each, {seen['lost']:.0f} lost"
            )
