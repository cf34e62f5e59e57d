"""HAProxy as two gateways in a row: a process with one thread for each hop, HTTP/2 over mutual TLS 1.3 between.

It has no CONNECT client, so each TCP connection gets a TLS connection of its own. It checks that the other side's
certificate chains to the pinned root; the SPIFFE ID in it is beyond its configuration language.
"""

from __future__ import annotations

import shutil
import subprocess
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from gateway.controller.loopback_ports import LOOPBACK
from gateway.demo.group import Group
from gateway.demo.leash import Program
from tests.bench.rig.contender import AUTHORITIES, Contender, Entrance, find_program, processes_of
from tests.bench.rig.endpoints import Endpoints, wait_listening
from tests.bench.rig.identities import Identity, make_identity

NAME = "haproxy"
HOW_TO_GET = "apt install haproxy"
_VERSION_TIMEOUT_S = 20

COMMON = """\
global
  nbthread 1
  maxconn 8000
  ssl-default-bind-options ssl-min-ver TLSv1.3
  ssl-default-server-options ssl-min-ver TLSv1.3
defaults
  mode http
  timeout connect 5s
  timeout client 600s
  timeout server 600s
  timeout http-keep-alive 600s
  http-reuse always
"""


@contextmanager
def open_haproxy(program: str, directory: Path, ports: Iterator[int], endpoints: Endpoints) -> Iterator[Contender]:
    """Runs them until the block ends."""
    directory.mkdir()
    http1, http2, tcp, mesh, mesh_tcp = (next(ports) for _ in range(5))
    east, west = make_identity(directory, "east"), make_identity(directory, "west")
    configurations = {
        "east": _east_configuration(http1, http2, tcp, mesh, mesh_tcp, east, west),
        "west": _west_configuration(mesh, mesh_tcp, endpoints, west, east),
    }
    with run_haproxies(program, directory, configurations) as group:
        for port in (http1, http2, tcp, mesh, mesh_tcp):
            wait_listening(LOOPBACK, port)
        entrances = {
            Entrance.HTTP1: (LOOPBACK, http1),
            Entrance.HTTP2: (LOOPBACK, http2),
            Entrance.GRPC: (LOOPBACK, http2),
            Entrance.TCP: (LOOPBACK, tcp),
        }
        yield Contender(NAME, haproxy_version(program), entrances, processes_of(group, configurations))


@contextmanager
def run_haproxies(program: str, directory: Path, configurations: dict[str, str]) -> Iterator[Group]:
    """A process for each configuration, in one group."""
    programs = []
    for name, configuration in configurations.items():
        path = directory / f"{name}.cfg"
        path.write_text(configuration)
        programs.append(Program(name, [program, "-db", "-f", str(path)]))
    group = Group(directory, programs)
    try:
        group.start()
        yield group
    finally:
        group.kill()


def find_haproxy() -> str | None:
    return find_program("haproxy") or shutil.which("haproxy", path="/usr/sbin:/usr/local/sbin")


def haproxy_version(program: str) -> str:
    """`2.6.12-1`"""
    done = subprocess.run([program, "-v"], capture_output=True, text=True, check=True, timeout=_VERSION_TIMEOUT_S)
    return done.stdout.split()[2]


def _east_configuration(
    http1: int, http2: int, tcp: int, mesh: int, mesh_tcp: int, own: Identity, peer: Identity
) -> str:
    tls = f"ssl crt {own.combined} ca-file {peer.root} verify required"
    return f"""{COMMON}
frontend http1
  bind {LOOPBACK}:{http1}
  # h2load counts no HTTP/1.1 status that comes without a reason.
  http-response set-status 200 reason OK if {{ status 200 }}
  default_backend west
frontend http2
  bind {LOOPBACK}:{http2} proto h2
  default_backend west
backend west
  server west {LOOPBACK}:{mesh} {tls} alpn h2
frontend tcp
  mode tcp
  bind {LOOPBACK}:{tcp}
  default_backend west-tcp
backend west-tcp
  mode tcp
  server west {LOOPBACK}:{mesh_tcp} {tls}
"""


def _west_configuration(mesh: int, mesh_tcp: int, endpoints: Endpoints, own: Identity, peer: Identity) -> str:
    tls = f"ssl crt {own.combined} ca-file {peer.root} verify required"
    return f"""{COMMON}
frontend mesh
  bind {LOOPBACK}:{mesh} {tls} alpn h2
  use_backend grpc if {{ req.hdr(host) {AUTHORITIES[Entrance.GRPC]} }}
  use_backend http if {{ req.hdr(host) {AUTHORITIES[Entrance.HTTP1]} }}
backend http
  server endpoint {LOOPBACK}:{endpoints.http}
backend grpc
  server endpoint {LOOPBACK}:{endpoints.grpc} proto h2
frontend mesh-tcp
  mode tcp
  bind {LOOPBACK}:{mesh_tcp} {tls}
  default_backend tcp
backend tcp
  mode tcp
  server endpoint {LOOPBACK}:{endpoints.tcp}
"""
