"""What stands behind the gateways: the same small, fast endpoints for all contenders, nginx where it is installed."""

from __future__ import annotations

import shutil
import socket
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import msgspec

from gateway.controller.loopback_ports import LOOPBACK
from gateway.demo.group import Group
from gateway.demo.leash import Program
from gateway.demo.waiting import wait_until
from tests.bench.rig.contender import find_program

_SERVER = Path(__file__).with_name("endpoint_server.py")
_SMALL_BODY = "hello from the endpoint, this is a body of bytes"


class Endpoints(msgspec.Struct, frozen=True):
    """The ports on 127.0.0.1."""

    http: int
    """HTTP/1.1: a GET is answered with 48 bytes."""
    grpc: int
    """HTTP/2: a POST is answered with one gRPC message and `grpc-status: 0`."""
    tcp: int
    """Sends bytes as told, or counts what it gets: `endpoint_server.py` has the protocol."""
    described: str
    """What they are, for the report."""


@contextmanager
def open_endpoints(directory: Path, ports: Iterator[int]) -> Iterator[Endpoints]:
    """Runs them until the block ends."""
    directory.mkdir()
    http, grpc, tcp = next(ports), next(ports), next(ports)
    nginx = find_program("nginx") or shutil.which("nginx", path="/usr/sbin:/usr/local/sbin")
    own = {"grpc": grpc, "tcp": tcp} if nginx else {"http": http, "grpc": grpc, "tcp": tcp}
    programs = [Program(kind, [sys.executable, str(_SERVER), kind, str(port)]) for kind, port in own.items()]
    if nginx is not None:
        configuration = directory / "nginx.conf"
        configuration.write_text(_nginx_configuration(directory, http))
        programs.append(Program("nginx", [nginx, "-p", str(directory), "-c", str(configuration)]))
    described = f"HTTP/1.1 by {'nginx' if nginx else 'our own server'}, HTTP/2 (gRPC) and TCP by our own servers"
    group = Group(directory, programs)
    try:
        group.start()
        for port in (http, grpc, tcp):
            wait_listening(LOOPBACK, port)
        yield Endpoints(http, grpc, tcp, described)
    finally:
        group.kill()


def wait_listening(host: str, port: int) -> None:
    """Until somebody accepts connections there. Raises NotInTime."""

    def accepts() -> bool:
        socket.create_connection((host, port), timeout=1).close()
        return True

    wait_until(accepts, f"something listens on {host}:{port}")


def _nginx_configuration(directory: Path, port: int) -> str:
    temporary = "".join(
        f"{kind}_temp_path {directory}/{kind};" for kind in ("client_body", "proxy", "fastcgi", "uwsgi", "scgi")
    )
    return f"""\
worker_processes 1; daemon off; pid {directory}/nginx-own.pid; error_log stderr warn;
events {{ worker_connections 8192; }}
http {{
  {temporary}
  access_log off; keepalive_requests 1000000000; keepalive_timeout 600s;
  server {{
    listen {LOOPBACK}:{port} backlog=4096;
    location / {{ default_type text/plain; return 200 "{_SMALL_BODY}"; }}
  }}
}}
"""
