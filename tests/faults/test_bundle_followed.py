"""A peer outside the federation's etcd, followed by the URL of its bundle: over real HTTPS, with what goes wrong."""

from __future__ import annotations

import http.server
import random
import ssl
import threading
import time
from collections.abc import AsyncIterator, Callable, Iterator
from contextlib import asynccontextmanager, contextmanager
from datetime import UTC, datetime
from pathlib import Path

import pytest
import trio
import trustme

from federation.bundle_fetch import FetchFailed, fetch_bundle
from federation.bundle_follower import BundleFollower
from federation.federation import Peer
from gateway.config import BundleEndpointConfig
from gateway.trust_keeping.bundle_endpoint import BundleEndpoint
from gateway.trust_keeping.controller_svid import ControllerSvid
from tests.etcd_server import EtcdServer
from tests.federation_members import run_member, until
from trust.authority import Authority
from trust.bundle import MAX_DOCUMENT_BYTES, Bundle, encode_bundle
from trust.bundle_source import BundleSource
from trust.spiffe_id import gateway_id

WEST = "west.acme.test"


def now() -> datetime:
    return datetime.now(UTC)


class West:
    """The peer: its CA, and an endpoint of our own make that serves its bundle under its gateways' SVID."""

    def __init__(self, tmp_path: Path) -> None:
        self.authority = Authority.load_or_create(tmp_path / "west-trust", WEST, now())
        self.sequence = 1
        self.hint_s = 300
        section = BundleEndpointConfig(listen="127.0.0.1:0", profile="https_spiffe")  # type: ignore[arg-type]
        svid = ControllerSvid(
            lambda csr: self.authority.issue_gateway(csr, now=now(), lifetime_s=3600), random.Random(1)
        )
        self.endpoint = BundleEndpoint(section, bundle=self.bundle, svid=svid.current, clock=now)

    def bundle(self) -> Bundle:
        good = self.authority.bundle(self.sequence)
        return Bundle(WEST, self.sequence, self.hint_s, good.authorities, good.record_keys)

    def peer(self, *gateways: str) -> Peer:
        source = BundleSource(f"https://{self.endpoint.address}/", gateway_id(WEST))
        return Peer(WEST, self.authority.fingerprint, endpoint=source, gateways=gateways)

    @asynccontextmanager
    async def serving(self) -> AsyncIterator[None]:
        async with trio.open_nursery() as nursery:
            await nursery.start(self.endpoint.run)
            yield
            nursery.cancel_scope.cancel()


def follower(tmp_path: Path, peer: Peer, heard: Callable[[], None] = lambda: None) -> BundleFollower:
    return BundleFollower("west", peer, tmp_path / "bundles", lambda _: heard(), random.Random(1), time.time)


async def test_a_peer_is_believed_by_its_endpoint_alone(tmp_path: Path, etcd_server: EtcdServer) -> None:
    """It is in no etcd: its roots come from the URL, its gateways from the configuration; a change arrives, and a
    restart while the endpoint is away goes on with what was known."""
    west = West(tmp_path)
    west.hint_s = 1
    async with west.serving():
        peers = {"west": west.peer("gw.west.acme.test:15443")}
        async with run_member(tmp_path, "east", peers, etcd_server.endpoint) as east:
            await until(lambda: east.federation.peers()["west"].roots == (west.authority.root_der,))
            view = east.federation.peers()["west"]
            assert [gateway.addresses for gateway in view.gateways] == [("gw.west.acme.test:15443",)]
            assert view.trust_domain == WEST
            assert "west" in east.listener.peers
            west.sequence = 2
            await until(lambda: east.federation.status().peers[0].bundle_sequence == 2)
    async with run_member(tmp_path, "east", peers, etcd_server.endpoint) as east:
        await until(lambda: east.federation.peers()["west"].roots == (west.authority.root_der,))
        await until(lambda: east.federation.status().peers[0].following.problem != "")  # type: ignore[union-attr]
        assert east.federation.peers()["west"].roots == (west.authority.root_der,)


async def test_what_lies_in_etcd_under_its_name_is_not_taken(tmp_path: Path, etcd_server: EtcdServer) -> None:
    """A partner gets no catalog: also one that could sign records by the pinned root."""
    west = West(tmp_path)
    async with west.serving():
        peers = {"west": west.peer()}
        async with (
            run_member(tmp_path, "west", {}, etcd_server.endpoint, authority=west.authority) as outside,
            run_member(tmp_path, "east", peers, etcd_server.endpoint) as east,
        ):
            await until(lambda: outside.federation.status().etcd.leased)
            await until(lambda: east.federation.peers()["west"].roots != ())
            assert east.federation.peers()["west"].gateways == ()
            assert east.federation.status().peers[0].refusal_counts == {}


async def test_a_rollback_and_a_forger_leave_the_last_good_bundle(tmp_path: Path) -> None:
    """Both are named, and the age of what is believed is shown."""
    west = West(tmp_path)
    west.sequence = 5
    async with west.serving():
        followed = follower(tmp_path, west.peer())
        await followed.poll()
        good = followed.bundle
        assert good is not None
        west.sequence = 4
        await followed.poll()
        assert "below 5" in followed.problem
        assert followed.bundle == good
        real, west.sequence = west.authority, 6
        west.authority = Authority.load_or_create(tmp_path / "forger", WEST, now())
        west.endpoint._shown = None
        west.endpoint._svid = ControllerSvid(
            lambda csr: west.authority.issue_gateway(csr, now=now(), lifetime_s=3600), random.Random(2)
        ).current
        await followed.poll()
        assert "no chain to the bundle" in followed.problem
        assert followed.bundle == good
        assert good.authorities == (real.root_der,)
        assert followed.age_s is not None


async def test_what_is_kept_belongs_to_one_configuration(tmp_path: Path) -> None:
    """Another root, URL or trust domain begins anew; a damaged file is fetched again."""
    west = West(tmp_path)
    async with west.serving():
        await follower(tmp_path, west.peer()).poll()
        again = follower(tmp_path, west.peer())
        again.restore()
        assert again.bundle == west.bundle()
        other = Peer(WEST, "sha256:" + "0" * 64, endpoint=west.peer().endpoint)
        fresh = follower(tmp_path, other)
        fresh.restore()
        assert fresh.bundle is None
        (tmp_path / "bundles" / "west.json").write_bytes(b'{"url": 1')
        damaged = follower(tmp_path, west.peer())
        damaged.restore()
        assert damaged.bundle is None
        await damaged.poll()
        assert damaged.bundle is not None


class _Odd(http.server.BaseHTTPRequestHandler):
    """A web server that answers each path in its own way. `document` is set by the test."""

    document = b"{}"
    port = 0

    def do_GET(self) -> None:
        if self.path.startswith("/to/"):
            self.send_response(307)
            self.send_header("location", self.path.removeprefix("/to/"))
            self.end_headers()
        elif self.path == "/loop":
            self.send_response(302)
            self.send_header("location", "/loop")
            self.end_headers()
        elif self.path == "/large":
            self.send_response(200)
            self.end_headers()
            self.wfile.write(b" " * (MAX_DOCUMENT_BYTES + 1))
        elif self.path == "/packed":
            self.send_response(200)
            self.send_header("content-encoding", "gzip")
            self.end_headers()
            self.wfile.write(self.document)
        elif self.path == "/bundle":
            self.send_response(200)
            self.end_headers()
            self.wfile.write(self.document)
        elif self.path == "/cut":
            self.send_response(200)
            self.send_header("content-length", "1000")
            self.end_headers()
            self.wfile.write(b"{")
        else:
            self.send_error(503)

    def log_message(self, format: str, *args: object) -> None:
        pass


@contextmanager
def web_server(tmp_path: Path) -> Iterator[tuple[str, str]]:
    """The URL without a path, and the file of its CA."""
    ca = trustme.CA()
    ca.cert_pem.write_to_path(str(tmp_path / "web-ca.pem"))
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    ca.issue_cert("127.0.0.1").configure_cert(context)
    server = http.server.HTTPServer(("127.0.0.1", 0), _Odd)
    server.socket = context.wrap_socket(server.socket, server_side=True)
    thread = threading.Thread(target=server.serve_forever)
    thread.start()
    try:
        yield f"https://127.0.0.1:{server.server_port}", str(tmp_path / "web-ca.pem")
    finally:
        server.shutdown()
        thread.join(10)
        server.server_close()


async def test_https_web_with_a_ca_file_and_a_redirect(tmp_path: Path) -> None:
    """The web's rules: a name, a CA, and redirects to what would be an endpoint itself."""
    authority = Authority.load_or_create(tmp_path / "west-trust", WEST, now())
    _Odd.document = encode_bundle(authority.bundle(3))
    with web_server(tmp_path) as (url, ca_file):
        for path in ("/bundle", "/to//bundle", f"/to/{url}/bundle"):
            peer = Peer(WEST, "", endpoint=BundleSource(url + path, None, ca_file))
            followed = follower(tmp_path, peer)
            await followed.poll()
            assert followed.bundle == authority.bundle(3), followed.problem


@pytest.mark.parametrize(
    ("path", "why"),
    [
        ("/gone", "503"),
        ("/loop", "redirects"),
        ("/large", "more than"),
        ("/packed", "encoded"),
        ("/cut", "Error"),
        ("/to/http://127.0.0.1:1/", "https://"),
        ("/to/https://user:pw@127.0.0.1/", "user"),
        ("/to/file:///etc/passwd", "https://"),
    ],
)
async def test_odd_answers_are_refused_by_name(tmp_path: Path, path: str, why: str) -> None:
    """A web server in trouble, or in the wrong hands, costs a line in status."""
    with web_server(tmp_path) as (url, ca_file):
        with pytest.raises(FetchFailed) as failed:
            await fetch_bundle(BundleSource(url + path, None, ca_file))
        assert why in str(failed.value)


async def test_the_webs_own_authorities_judge_without_a_ca_file(tmp_path: Path) -> None:
    """A certificate that anybody can make is nobody's."""
    with web_server(tmp_path) as (url, _), pytest.raises(FetchFailed, match=r"certificate verify failed"):
        await fetch_bundle(BundleSource(f"{url}/bundle"))


async def test_nobody_there(tmp_path: Path) -> None:
    """Refused connections are the ordinary failure."""
    with pytest.raises(FetchFailed, match=r"127\.0\.0\.1:9"):
        await fetch_bundle(BundleSource("https://127.0.0.1:9/"))
