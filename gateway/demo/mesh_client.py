"""Clients of a gateway's mesh port with certificates of their own making: one that is right, and those that are not."""

from __future__ import annotations

import re
import shlex
import shutil
import socket
import ssl
import subprocess
from datetime import UTC, datetime, timedelta
from pathlib import Path

import msgspec
from cryptography import x509
from cryptography.hazmat.primitives import serialization

from gateway.demo.http_client import Http2Client, HttpAnswer
from trust.authority import Authority
from trust.certificate import parse_certificate, spiffe_id_of
from trust.contexts import ALPN, client_context, peer_chain
from trust.errors import PeerRejected
from trust.issuance import issue_leaf
from trust.keys import PrivateKey
from trust.spiffe_id import SpiffeId, workload_id
from trust.svid import X509Svid, make_signing_request, svid_from

_LIFETIME_S = 600.0
_TIMEOUT_S = 10.0
_LET_IN_AFTER_S = 3.0
"""A refusal takes milliseconds: a client that is still connected then was let in."""
_CLOSED = "the connection was closed without a word"
_GOAWAY = re.compile(rb"\x07\x00\x00\x00\x00\x00.{4}\x00\x00\x00\x0c([-a-z0-9]*)", re.DOTALL)
"""A GOAWAY frame with INADEQUATE_SECURITY, and why (RFC 9113 section 6.8)."""
_SETTINGS_ACK = b"\x00\x00\x00\x04\x01\x00\x00\x00\x00"
_PREFACE = b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n\x00\x00\x00\x04\x00\x00\x00\x00\x00"


class MeshAnswer(msgspec.Struct, frozen=True):
    """What came of an attempt to connect. `refused` is the reason, empty if HTTP/2 was spoken."""

    refused: str
    tls_version: str = ""
    cipher: str = ""
    peer: str = ""
    """The other side's SPIFFE ID, from the certificate that it showed."""


def gateway_svid(authority: Authority) -> X509Svid:
    """What a gateway of that authority's cluster has."""
    key = PrivateKey.generate()
    return svid_from(authority.issue_gateway(make_signing_request(key), now=_now(), lifetime_s=_LIFETIME_S), key)


def workload_svid(trust_directory: Path, trust_domain: str) -> X509Svid:
    """A certificate from a cluster's own CA for something that is no gateway."""
    root = x509.load_pem_x509_certificate((trust_directory / "ca.pem").read_bytes())
    ca_key, key = PrivateKey.load(trust_directory / "ca.key"), PrivateKey.generate()
    identity = workload_id(trust_domain, "shop", "storefront")
    leaf = issue_leaf(key.public_key, identity, root, ca_key, _now(), timedelta(seconds=_LIFETIME_S))
    return svid_from([leaf.public_bytes(serialization.Encoding.DER)], key)


def strangers_svid(directory: Path) -> X509Svid:
    """A gateway's certificate of a trust domain that nobody here has pinned."""
    return gateway_svid(Authority.load_or_create(directory, "stranger.test", _now()))


def forgers_svid(directory: Path, trust_domain: str) -> X509Svid:
    """A gateway's certificate in another one's name, from a CA that nobody here has pinned."""
    return gateway_svid(Authority.load_or_create(directory, trust_domain, _now()))


def save_svid(svid: X509Svid, path: Path) -> None:
    """Chain and key in one PEM file of mode 0600, as openssl and curl take it."""
    path.touch(mode=0o600)
    chain = "".join(ssl.DER_cert_to_PEM_cert(der) for der in svid.chain)
    path.write_bytes(chain.encode() + svid.key.expose_private_pem())


def svid_context(svid: X509Svid | None, peer_root: bytes) -> ssl.SSLContext:
    """A client with a certificate, or with none. It believes the gateway that it calls."""
    if svid is not None:
        return client_context(svid, [peer_root])
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
    context.check_hostname = False
    context.load_verify_locations(cadata=peer_root)
    context.set_alpn_protocols([ALPN])
    return context


def openssl_line(address: str, pem: Path | None) -> str:
    """The openssl command that tries the same. Let in, it waits; refused, it shows the alert and ends."""
    return f"{shlex.join(_openssl(address, pem))} </dev/null"


def _openssl(address: str, pem: Path | None) -> list[str]:
    certificate = ["-cert", str(pem), "-key", str(pem)] if pem is not None else []
    return ["openssl", "s_client", "-connect", address, "-alpn", ALPN, *certificate, "-ign_eof"]


def why_refused(address: str, svid: X509Svid | None, pem: Path | None, peer_root: bytes) -> str:
    """Why a client with that certificate (the same in `pem`) is refused, empty if it is let in. Asks openssl where it
    is installed, else Python's ssl."""
    if shutil.which("openssl") is None:
        return try_mesh(address, svid_context(svid, peer_root)).refused
    try:
        done = subprocess.run(
            _openssl(address, pem), stdin=subprocess.DEVNULL, capture_output=True, check=False, timeout=_LET_IN_AFTER_S
        )
    except subprocess.TimeoutExpired:
        return ""
    if b"CONNECTED" not in done.stdout:
        raise OSError(f"openssl could not connect to {address}: {done.stderr.decode(errors='replace').strip()}")
    alert = re.search(rb"alert [a-z ]+", done.stderr)
    return alert.group().decode() if alert is not None else _farewell(done.stdout) or _CLOSED


def _farewell(said: bytes) -> str:
    """Why a gateway sent somebody away whose certificate is good, and is not let in."""
    goaway = _GOAWAY.search(said)
    return f"GOAWAY: {goaway[1].decode()}" if goaway is not None else ""


def try_mesh(address: str, context: ssl.SSLContext) -> MeshAnswer:
    """Connects and begins HTTP/2. Raises OSError if nothing listens there.

    A TLS 1.3 client finishes its handshake before the server has looked at its certificate (RFC 8446 section 2), so
    only an answer to its SETTINGS shows that it was let in.
    """
    with _dial(address) as sock:
        try:
            with context.wrap_socket(sock) as tls:
                tls.sendall(_PREFACE)
                said = b""
                while _SETTINGS_ACK not in said:
                    more = tls.recv(1024)
                    if not more:
                        return MeshAnswer(_farewell(said) or _CLOSED)
                    said += more
                cipher = tls.cipher()
                return MeshAnswer("", tls.version() or "", cipher[0] if cipher else "", str(_identity(peer_chain(tls))))
        except (ssl.SSLError, ConnectionError) as error:
            return MeshAnswer(getattr(error, "reason", None) or str(error))


def get_over_mesh(address: str, context: ssl.SSLContext, authority: str) -> HttpAnswer:
    """A request as a peer gateway would send it. Raises OSError."""
    with _dial(address) as sock, context.wrap_socket(sock) as tls:
        return Http2Client(tls, scheme="https").get(authority, "/")


def _dial(address: str) -> socket.socket:
    host, _, port = address.rpartition(":")
    return socket.create_connection((host, int(port)), timeout=_TIMEOUT_S)


def _identity(chain: list[bytes]) -> SpiffeId | None:
    try:
        return spiffe_id_of(parse_certificate(chain[0])) if chain else None
    except PeerRejected:
        return None


def _now() -> datetime:
    return datetime.now(UTC)  # noqa: TID251 - certificates are dated by the wall clock
