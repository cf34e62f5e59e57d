"""Real TLS handshakes between gateways, and with the `openssl` program as the other side.

The clock here is the real one, because OpenSSL checks validity by itself.
"""

from __future__ import annotations

import shutil
import socket
import ssl
import subprocess
from collections.abc import Callable, Iterator
from contextlib import ExitStack
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest

from tests.forge import Forge, p256, private_key_of
from trust.authority import Authority
from trust.contexts import client_context, peer_chain, server_context
from trust.errors import PeerRejected
from trust.keys import PrivateKey
from trust.spiffe_id import gateway_id
from trust.svid import X509Svid, make_signing_request, svid_from
from trust.verify import validate_gateway

EAST, WEST = "east.acme.test", "west.acme.test"
NOW = datetime.now(UTC).replace(microsecond=0)

Handshake = Callable[[ssl.SSLContext, ssl.SSLContext], "Pair"]


@dataclass
class Pair:
    """Both ends of a connection over a socket pair, after the handshake."""

    server: ssl.SSLSocket
    client: ssl.SSLSocket


@dataclass
class Cluster:
    """A trust domain with a gateway."""

    authority: Authority
    svid: X509Svid

    @property
    def root(self) -> bytes:
        return self.authority.root_der


@pytest.fixture(scope="module")
def clusters(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Cluster]:
    state = tmp_path_factory.mktemp("state")
    return {trust_domain: make_cluster(state, trust_domain) for trust_domain in (EAST, WEST)}


def make_cluster(state: Path, trust_domain: str) -> Cluster:
    authority = Authority.load_or_create(state / trust_domain, trust_domain, NOW)
    return Cluster(authority, make_svid(authority))


def make_svid(authority: Authority) -> X509Svid:
    key = PrivateKey.generate()
    return svid_from(authority.issue_gateway(make_signing_request(key), now=NOW, lifetime_s=3600), key)


@pytest.fixture
def handshake() -> Iterator[Handshake]:
    with ExitStack() as stack:

        def connect(server: ssl.SSLContext, client: ssl.SSLContext) -> Pair:
            """Raises the first error of either side: the other one, if any, is only told of it."""
            ends = socket.socketpair()
            for each in ends:
                each.setblocking(False)
            pair = Pair(
                stack.enter_context(server.wrap_socket(ends[0], server_side=True, do_handshake_on_connect=False)),
                stack.enter_context(client.wrap_socket(ends[1], do_handshake_on_connect=False)),
            )
            unfinished = {pair.client, pair.server}
            errors: dict[ssl.SSLSocket, OSError] = {}
            for _ in range(20):
                for end in [each for each in (pair.client, pair.server) if each in unfinished]:
                    try:
                        end.do_handshake()
                    except ssl.SSLWantReadError:
                        continue
                    except OSError as error:
                        errors[end] = error
                    unfinished.discard(end)
            if errors:
                raise next(iter(errors.values()))
            assert not unfinished
            return pair

        yield connect


def test_two_gateways_recognise_each_other(clusters: dict[str, Cluster], handshake: Handshake) -> None:
    """What the mesh port does for every connection: TLS 1.3, ALPN h2, and each side's SPIFFE ID from its chain."""
    east, west = clusters[EAST], clusters[WEST]
    pair = handshake(server_context(east.svid, [west.root]), client_context(west.svid, [east.root]))
    for end, peer, bundles in (
        (pair.server, WEST, {WEST: [west.root]}),
        (pair.client, EAST, {EAST: [east.root]}),
    ):
        assert end.version() == "TLSv1.3"
        assert end.selected_alpn_protocol() == "h2"
        assert validate_gateway(peer_chain(end), bundles, NOW) == gateway_id(peer)
    assert peer_chain(pair.server) == list(west.svid.chain)


def test_it_works_without_sockets_too(clusters: dict[str, Cluster]) -> None:
    """SSLObject over memory, whose chain is had from another private object than a socket's."""
    east, west = clusters[EAST], clusters[WEST]
    to_server, to_client = ssl.MemoryBIO(), ssl.MemoryBIO()
    server = server_context(east.svid, [west.root]).wrap_bio(to_server, to_client, server_side=True)
    client = client_context(west.svid, [east.root]).wrap_bio(to_client, to_server)
    for end in (client, server, client, server):
        try:
            end.do_handshake()
        except ssl.SSLWantReadError:
            pass
    assert peer_chain(server) == list(west.svid.chain)
    assert validate_gateway(peer_chain(client), {EAST: [east.root]}, NOW) == gateway_id(EAST)


def test_an_intermediate_is_sent_and_seen(clusters: dict[str, Cluster], handshake: Handshake) -> None:
    """Both of a chain's certificates arrive, in order; also with an intermediate alone as the anchor, which a SPIFFE
    bundle may have."""
    root = Forge.root("root", not_before=NOW - timedelta(days=1), not_after=NOW + timedelta(days=1))
    middle = root.intermediate(not_before=NOW - timedelta(days=1), not_after=NOW + timedelta(days=1))
    svid = forged_svid(middle, str(gateway_id("own.test")), [middle.der])
    east = clusters[EAST]
    for anchor in (root.der, middle.der):
        pair = handshake(server_context(east.svid, [anchor]), client_context(svid, [east.root]))
        assert peer_chain(pair.server) == [svid.chain[0], middle.der]
        assert validate_gateway(peer_chain(pair.server), {"own.test": [anchor]}, NOW) == gateway_id("own.test")


def forged_svid(ca: Forge, uri: str, above: list[bytes] | None = None) -> X509Svid:
    key = p256()
    leaf = ca.leaf(uri, key=key, not_before=NOW - timedelta(minutes=1), not_after=NOW + timedelta(hours=1))
    return svid_from([leaf, *(above or [])], private_key_of(key))


def forge_at_now() -> Forge:
    return Forge.root("forge", not_before=NOW - timedelta(days=1), not_after=NOW + timedelta(days=1))


def test_tls_1_2_is_refused(clusters: dict[str, Cluster], handshake: Handshake) -> None:
    """By the server to such a client, and by the client to such a server."""
    east, west = clusters[EAST], clusters[WEST]
    old_client = client_context(west.svid, [east.root])
    old_client.minimum_version = old_client.maximum_version = ssl.TLSVersion.TLSv1_2
    with pytest.raises(ssl.SSLError, match="UNSUPPORTED_PROTOCOL"):
        handshake(server_context(east.svid, [west.root]), old_client)
    old_server = server_context(east.svid, [west.root])
    old_server.minimum_version = old_server.maximum_version = ssl.TLSVersion.TLSv1_2
    with pytest.raises(ssl.SSLError):
        handshake(old_server, client_context(west.svid, [east.root]))


def test_a_client_without_a_certificate_is_refused(clusters: dict[str, Cluster], handshake: Handshake) -> None:
    """The handshake itself fails: nothing above it has to look."""
    east = clusters[EAST]
    nobody = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
    nobody.check_hostname = False
    nobody.load_verify_locations(cadata=east.root)
    with pytest.raises(ssl.SSLError, match="PEER_DID_NOT_RETURN_A_CERTIFICATE"):
        handshake(server_context(east.svid, [clusters[WEST].root]), nobody)


def test_an_unknown_trust_domains_certificate_is_refused(clusters: dict[str, Cluster], handshake: Handshake) -> None:
    """In both directions: no root that was given leads to it."""
    east, west = clusters[EAST], clusters[WEST]
    stranger = forged_svid(forge_at_now(), str(gateway_id("evil.test")))
    with pytest.raises(ssl.SSLCertVerificationError):
        handshake(server_context(east.svid, [west.root]), client_context(stranger, [east.root]))
    with pytest.raises(ssl.SSLCertVerificationError):
        handshake(server_context(stranger, [west.root]), client_context(west.svid, [east.root]))
    with pytest.raises(ssl.SSLCertVerificationError):
        handshake(server_context(east.svid, []), client_context(west.svid, [east.root]))


def test_an_expired_certificate_is_refused(clusters: dict[str, Cluster], handshake: Handshake) -> None:
    """OpenSSL does that by the machine's clock."""
    east, ca, key = clusters[EAST], forge_at_now(), p256()
    leaf = ca.leaf(str(gateway_id(WEST)), key=key, not_after=NOW - timedelta(minutes=1), not_before=NOW - timedelta(1))
    old = svid_from([leaf], private_key_of(key))
    with pytest.raises(ssl.SSLCertVerificationError, match="expired"):
        handshake(server_context(east.svid, [ca.der]), client_context(old, [east.root]))


@pytest.mark.parametrize(
    ("uri", "code"),
    [
        (f"spiffe://{WEST}/ns/shop/sa/web", "not-a-gateway"),
        (f"spiffe://{WEST}/ns/isthmus-system/sa/isthmus-controller", "not-a-gateway"),
        (str(gateway_id(EAST)), "unknown-authority"),
        (str(gateway_id("other.test")), "wrong-trust-domain"),
    ],
)
def test_what_tls_lets_through_validation_stops(
    clusters: dict[str, Cluster], handshake: Handshake, uri: str, code: str
) -> None:
    """The handshake succeeds, because a root that was given signed it. That is why it is not enough."""
    east, ca = clusters[EAST], forge_at_now()
    pair = handshake(server_context(east.svid, [ca.der, east.root]), client_context(forged_svid(ca, uri), [east.root]))
    with pytest.raises(PeerRejected) as caught:
        validate_gateway(peer_chain(pair.server), {WEST: [ca.der], EAST: [east.root]}, NOW)
    assert caught.value.code == code


def test_a_session_is_never_resumed(clusters: dict[str, Cluster], handshake: Handshake) -> None:
    """Each connection proves its identity anew, or a revoked peer could come back with a ticket."""
    east, west = clusters[EAST], clusters[WEST]
    server, client = server_context(east.svid, [west.root]), client_context(west.svid, [east.root])
    for _ in range(2):
        pair = handshake(server, client)
        pair.server.send(b"x")
        assert pair.client.recv(1) == b"x", "a ticket would have come before it"
        assert pair.client.session is None or not pair.client.session.has_ticket
        assert not pair.client.session_reused


def test_the_first_of_two_roots_with_one_name_and_key_identifier_is_used(
    clusters: dict[str, Cluster], handshake: Handshake
) -> None:
    """OpenSSL stops at the first issuer that fits by name and key identifier, so a member whose bundle copies those
    of another's root can shut the other out. `server_context` keeps the order it is given: the older goes first."""
    east = clusters[EAST]
    real = Forge.root("same", not_before=NOW - timedelta(days=1), not_after=NOW + timedelta(days=1))
    copy = Forge.root("same", not_before=NOW - timedelta(days=1), not_after=NOW + timedelta(days=1))
    client = client_context(forged_svid(real, str(gateway_id(WEST))), [east.root])
    handshake(server_context(east.svid, [real.der, copy.der]), client)
    with pytest.raises(ssl.SSLCertVerificationError, match="signature failure"):
        handshake(server_context(east.svid, [copy.der, real.der]), client)


class TestOpensslProgram:
    """The other side is OpenSSL's own tool: what we make is read and spoken to by somebody else."""

    @pytest.fixture(autouse=True)
    def program(self) -> str:
        program = shutil.which("openssl")
        if program is None:
            pytest.skip("openssl is not installed")
        return program

    def run(self, *arguments: str, stdin: bytes = b"") -> str:
        done = subprocess.run(
            ["openssl", *arguments], input=stdin, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, timeout=10
        )
        return done.stdout.decode(errors="replace")

    def files(self, cluster: Cluster, directory: Path) -> tuple[str, str]:
        """The paths of an SVID's certificate and key."""
        certificate, key = directory / "svid.pem", directory / "svid.key"
        certificate.write_text("".join(ssl.DER_cert_to_PEM_cert(der) for der in cluster.svid.chain))
        cluster.svid.key.save(key)
        return str(certificate), str(key)

    def test_it_reads_our_certificates(self, tmp_path: Path) -> None:
        """Files in the state directory are what operators look at; the fingerprint is the one that they will pin."""
        authority = Authority.load_or_create(tmp_path / "trust", EAST, NOW)
        text = self.run("x509", "-in", str(tmp_path / "trust/ca.pem"), "-noout", "-text", "-fingerprint", "-sha256")
        assert "CA:TRUE" in text
        assert f"URI:spiffe://{EAST}\n" in text
        assert authority.fingerprint.removeprefix("sha256:") in text.replace(":", "").lower()
        text = self.run("x509", "-inform", "DER", "-noout", "-text", stdin=make_svid(authority).chain[0])
        assert f"URI:spiffe://{EAST}/ns/isthmus-system/sa/isthmus-gateway" in text
        assert "CA:FALSE" in text
        assert "Digital Signature\n" in text
        assert "TLS Web Server Authentication, TLS Web Client Authentication" in text
        assert "Subject: \n" in text
        verified = self.run("verify", "-CAfile", str(tmp_path / "trust/ca.pem"), str(tmp_path / "trust/record.pem"))
        assert verified.strip().endswith("OK")

    def test_it_reads_our_signing_request(self) -> None:
        """PKCS #10, with a good signature and no names."""
        text = self.run(
            "req", "-inform", "DER", "-noout", "-text", "-verify", stdin=make_signing_request(PrivateKey.generate())
        )
        assert "verify OK" in text
        assert "NIST CURVE: P-256" in text

    def s_client(self, clusters: dict[str, Cluster], *arguments: str) -> tuple[str, list[bytes] | OSError]:
        """Runs `openssl s_client` against east. What it printed, and what east saw: a chain, or why it refused."""
        context = server_context(clusters[EAST].svid, [clusters[WEST].root])
        with socket.create_server(("127.0.0.1", 0)) as listener:
            listener.settimeout(10)
            client = subprocess.Popen(
                ["openssl", "s_client", "-connect", f"127.0.0.1:{listener.getsockname()[1]}", *arguments],
                stdin=subprocess.PIPE,
                stdout=subprocess.PIPE,
                stderr=subprocess.STDOUT,
            )
            accepted, _ = listener.accept()
            accepted.settimeout(10)
            saw: list[bytes] | OSError
            try:
                with context.wrap_socket(accepted, server_side=True) as server:
                    saw = peer_chain(server)
            except OSError as error:
                saw = error
            finally:
                accepted.close()
            output, _ = client.communicate(timeout=10)
        return output.decode(errors="replace"), saw

    def test_it_is_let_in_with_our_svid(self, clusters: dict[str, Cluster], tmp_path: Path) -> None:
        """A whole handshake with another implementation of the client's side."""
        certificate, key = self.files(clusters[WEST], tmp_path)
        output, saw = self.s_client(clusters, "-cert", certificate, "-key", key, "-alpn", "h2")
        assert isinstance(saw, list)
        assert validate_gateway(saw, {WEST: [clusters[WEST].root]}, NOW) == gateway_id(WEST)
        assert "New, TLSv1.3" in output
        assert "ALPN protocol: h2" in output

    def test_it_is_refused_without_a_certificate(self, clusters: dict[str, Cluster]) -> None:
        """As the demo shows it."""
        _, saw = self.s_client(clusters)
        assert isinstance(saw, ssl.SSLError)
        assert saw.reason == "PEER_DID_NOT_RETURN_A_CERTIFICATE"

    def test_it_is_refused_with_tls_1_2(self, clusters: dict[str, Cluster], tmp_path: Path) -> None:
        """Even with a good certificate."""
        certificate, key = self.files(clusters[WEST], tmp_path)
        output, saw = self.s_client(clusters, "-cert", certificate, "-key", key, "-tls1_2")
        assert isinstance(saw, ssl.SSLError)
        assert "protocol version" in output
