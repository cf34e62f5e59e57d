"""h2spec, a conformance tester for HTTP/2 that others wrote, against a running gateway: both listeners, both engines.

It is used where it is installed (it is a Go program: `go install github.com/summerwind/h2spec/cmd/h2spec@latest`).
"""

from __future__ import annotations

import contextlib
import json
import os
import re
import shutil
import socket
import socketserver
import ssl
import subprocess
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

import msgspec
import pytest

from discovery.address import parse_host_port
from gateway.codec.http2.engine import available_engines
from gateway.demo.mesh_client import gateway_svid, svid_context, try_mesh
from gateway.demo.waiting import wait_until
from gateway.status.addresses import read_addresses
from tests.etcd_server import EtcdServer
from tests.federation_members import make_authority
from tests.gateway_process import GatewayProcess, gateways
from trust.authority import Authority

H2SPEC = shutil.which("h2spec", path=f"{os.environ.get('PATH', '')}{os.pathsep}{Path.home() / 'go' / 'bin'}")

pytestmark = [
    pytest.mark.processes,
    pytest.mark.long,
    pytest.mark.skipif(H2SPEC is None, reason="h2spec is not installed"),
]

_CONFIG = """
federation: acme
cluster: {{name: {name}, trust_domain: {name}.acme.test}}
state_dir: {state_dir}
etcd: {{endpoints: ["{etcd}"]}}
gateway: {{workers: 1, mesh: "127.0.0.1:0", http: "127.0.0.1:0", http2_codec: {engine}}}
dns: {{listen: "127.0.0.1:0"}}
status: {{listen: "127.0.0.1:0"}}
peers: {{{peer}: {{trust_domain: {peer}.acme.test, root: "{root}"}}}}
services:
- namespace: shop
  name: web
  ports: [{{name: http, port: {port}, protocol: http}}]
  endpoints: [{{address: 127.0.0.1, port: {port}}}]
"""
_SUMMARY = re.compile(r"(\d+) tests, (\d+) passed, (\d+) skipped, (\d+) failed")
_FAILURE = re.compile(r"× \d+: (.*)")
# h2spec holds servers to RFC 7540. libnghttp2 follows RFC 9113, which has no priorities any more, lets a server ignore
# frames on a stream that is closed (section 5.1), and end stream or connection for a window that overflows
# (section 6.9.1). It remembers no streams that are gone, so it ignores what comes on them.
_LENIENT = {
    "closed: Sends a DATA frame after sending RST_STREAM frame",
    "closed: Sends a HEADERS frame after sending RST_STREAM frame",
    "closed: Sends a DATA frame",
    "closed: Sends a HEADERS frame",
    "Sends stream identifier that is numerically smaller than previous",
    "Sends PRIORITY frame that depend on itself",
    "Sends a PRIORITY frame with 0x0 stream identifier",
    "Sends multiple WINDOW_UPDATE frames increasing the flow control window to above 2^31-1 on a stream",
}

# On the mesh, what h2spec asks for is no service of ours: the 404 may be quicker than the trailers that are wrong.
_ANSWERED_BEFORE = {"Sends a HEADERS frame that contains a pseudo-header field as trailers"}


class Gateway(msgspec.Struct, frozen=True):
    process: GatewayProcess
    engine: str
    authority: Authority
    peers_authority: Authority

    @property
    def lenient_in(self) -> set[str]:
        return _LENIENT if self.engine == "ngh2" else set()


@pytest.fixture(scope="module", params=available_engines())
def gateway(
    request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory, shared_etcd: EtcdServer
) -> Iterator[Gateway]:
    """East, with one of the engines. West has published its bundle."""
    directory = tmp_path_factory.mktemp("h2spec")
    with endpoint() as port, gateways(directory, "east", "west") as (east, west):
        authorities = {}
        for cluster in (east, west):
            cluster.directory.mkdir()
            authorities[cluster] = make_authority(cluster.state_dir.parent, cluster.name)
        for cluster, peer in ((east, west), (west, east)):
            cluster.config_path.write_text(
                _CONFIG.format(
                    name=cluster.name,
                    state_dir=cluster.state_dir,
                    etcd=shared_etcd.endpoint,
                    engine=request.param,
                    peer=peer.name,
                    root=authorities[peer].fingerprint,
                    port=port,
                )
            )
            cluster.start()
        yield Gateway(east, request.param, authorities[east], authorities[west])


def run_h2spec(address: str, allowed: set[str]) -> None:
    """Fails for each of its tests that does and is not `allowed` to. One that gets no answer takes its whole second.

    Its longest header makes five of them larger than a frame may be: it expects that we take 16 KiB, and we take more.
    """
    assert H2SPEC is not None
    where = parse_host_port(address)
    line = [H2SPEC, "generic", "http2", "hpack", "-h", where.host, "-p", str(where.port), "-o", "1"]
    line += ["--max-header-length", "20000"]
    done = subprocess.run(line, capture_output=True, text=True, timeout=120, check=False)
    summary = _SUMMARY.search(done.stdout)
    assert summary is not None, done.stdout + done.stderr
    assert int(summary.group(1)) > 100
    failed = set(_FAILURE.findall(done.stdout))
    assert failed <= allowed, done.stdout


def test_the_local_listener(gateway: Gateway) -> None:
    """As a workload speaks to it: cleartext, prior knowledge, a service's virtual IP."""
    (service,) = json.loads(gateway.process.run("services", "-o", "json").stdout)["services"]
    run_h2spec(f"{service['vip']}:{service['ports'][0]['port']}", gateway.lenient_in)


def test_the_mesh_listener(gateway: Gateway) -> None:
    """As a peer gateway speaks to it. h2spec shows no certificate, so a relay shows west's."""
    addresses = read_addresses(gateway.process.state_dir)
    assert addresses is not None
    mesh = addresses.mesh
    context = svid_context(gateway_svid(gateway.peers_authority), gateway.authority.root_der)
    wait_until(lambda: not try_mesh(mesh, context).refused, "east believes west", timeout_s=20)
    with tls_relay(mesh, context) as address:
        run_h2spec(address, gateway.lenient_in | _ANSWERED_BEFORE)


class _Answer(BaseHTTPRequestHandler):
    """Reads the whole request, then answers."""

    protocol_version = "HTTP/1.1"

    def do_GET(self) -> None:
        self.rfile.read(int(self.headers.get("content-length", 0)))
        self.send_response(200)
        self.send_header("content-length", "10")
        self.end_headers()
        self.wfile.write(b"0123456789")

    do_POST = do_HEAD = do_GET

    def log_message(self, format: str, *args: object) -> None:
        pass


@contextmanager
def endpoint() -> Iterator[int]:
    """An HTTP/1.1 server; its port."""
    with ThreadingHTTPServer(("127.0.0.1", 0), _Answer) as server:
        threading.Thread(target=server.serve_forever, daemon=True).start()
        yield server.server_port
        server.shutdown()


@contextmanager
def tls_relay(target: str, context: ssl.SSLContext) -> Iterator[str]:
    """Forwards each connection over TLS; the address where it listens."""
    where = parse_host_port(target)

    class Relay(socketserver.BaseRequestHandler):
        def handle(self) -> None:
            with (
                contextlib.suppress(OSError),
                socket.create_connection((where.host, where.port)) as sock,
                context.wrap_socket(sock) as server,
            ):
                back = threading.Thread(target=_forward, args=(server, self.request))
                back.start()
                _forward(self.request, server)
                back.join()

    with socketserver.ThreadingTCPServer(("127.0.0.1", 0), Relay) as relay:
        threading.Thread(target=relay.serve_forever).start()
        yield f"127.0.0.1:{relay.server_address[1]}"
        relay.shutdown()


def _forward(source: socket.socket, sink: socket.socket) -> None:
    """Until either side ends, which ends both: h2spec looks for the end of its connection."""
    with contextlib.suppress(OSError):
        while data := source.recv(65_536):
            sink.sendall(data)
    for sock in (source, sink):
        with contextlib.suppress(OSError):
            sock.shutdown(socket.SHUT_RDWR)
