"""Who this worker is, whom it believes, and the TLS contexts made of both.

Contexts are made anew when the SVID or a peer's bundle changes; a connection keeps the one that it was opened with, and
is closed when its peer would no longer be believed (`still_believed`).
"""

from __future__ import annotations

import ssl
from collections.abc import Container, Sequence
from datetime import UTC, datetime

import msgspec

from gateway.snapshot import PeerResource
from gateway.transport.tls_socket import TlsSocket
from trust.certificate import parse_certificate
from trust.contexts import client_context, peer_chain, server_context
from trust.errors import PeerRejected
from trust.keys import PrivateKey
from trust.spiffe_id import SpiffeId
from trust.svid import X509Svid, make_signing_request, svid_from
from trust.verify import validate_gateway


class NotReady(Exception):
    """This worker has no SVID yet, or does not know that peer."""


class Proof(msgspec.Struct, frozen=True):
    """What a peer proved when its connection was opened."""

    cluster: str
    spiffe_id: SpiffeId
    chain: tuple[bytes, ...]
    at: datetime
    not_after: datetime
    """When its certificate ends."""
    serial: str = ""
    """The certificate's serial number, in hexadecimal."""


class Identity:
    """A worker's SVID, and the bundles of its peers by trust domain."""

    def __init__(self) -> None:
        self.svid: X509Svid | None = None
        self._pending: PrivateKey | None = None
        self._peers: dict[str, PeerResource] = {}
        # Of all peers, those that have been believed for longest first.
        self._roots: list[bytes] = []
        self._server: ssl.SSLContext | None = None
        self._clients: dict[str, ssl.SSLContext] = {}

    @property
    def not_after(self) -> datetime:
        """When our SVID ends; long ago while there is none."""
        return self.svid.not_after if self.svid is not None else datetime.min.replace(tzinfo=UTC)

    def signing_request(self) -> bytes:
        """A CSR (DER) for a key made just now. The key stays in this process."""
        self._pending = PrivateKey.generate()
        return make_signing_request(self._pending)

    def take_certificate(self, chain: Sequence[bytes], key: bytes = b"") -> None:
        """Raises TrustError if the chain does not fit `key` (PKCS #8, DER), or that of the last signing request."""
        own = PrivateKey.from_der(key) if key else self._pending
        if own is None:
            return
        self.svid = svid_from(list(chain), own)
        self._pending = None
        self._forget_contexts()

    def set_peer(self, peer: PeerResource) -> None:
        self._peers[peer.cluster] = peer
        self._follow_roots()

    def remove_peer(self, cluster: str) -> None:
        self._peers.pop(cluster, None)
        self._follow_roots()

    def _follow_roots(self) -> None:
        believed = dict.fromkeys(root for peer in self._peers.values() for root in peer.roots)
        self._roots = [*dict.fromkeys([*(root for root in self._roots if root in believed), *believed])]
        self._forget_contexts()

    def _forget_contexts(self) -> None:
        self._server = None
        self._clients.clear()

    def server_context(self) -> ssl.SSLContext:
        """For the mesh listener: believes every peer's roots. Raises NotReady."""
        if self._server is None:
            if self.svid is None:
                raise NotReady("no SVID yet")
            # OpenSSL tries only the first root that matches by name and key identifier, so those believed for longest
            # come first: a later root cannot shadow another's by copying its name.
            self._server = server_context(self.svid, self._roots)
        return self._server

    def client_context(self, cluster: str) -> ssl.SSLContext:
        """For a tunnel to a peer: believes that peer's roots only. Raises NotReady."""
        context = self._clients.get(cluster)
        if context is None:
            if self.svid is None:
                raise NotReady("no SVID yet")
            peer = self._peers.get(cluster)
            if peer is None or not peer.roots:
                raise NotReady(f"no trust bundle of {cluster} yet")
            context = self._clients[cluster] = client_context(self.svid, peer.roots)
        return context

    def prove(self, tls: TlsSocket, now: datetime, workloads: Container[SpiffeId] = ()) -> Proof:
        """Who is at the other end of a finished handshake: a gateway, or one of `workloads`. Raises PeerRejected;
        OSError if it does not speak h2."""
        chain = peer_chain(tls.object)
        cluster, spiffe_id = self.peer_of(chain, now, workloads)
        if tls.alpn != "h2":
            raise OSError(f"{spiffe_id} does not speak h2")
        leaf = parse_certificate(chain[0])
        return Proof(cluster, spiffe_id, tuple(chain), now, leaf.not_valid_after_utc, f"{leaf.serial_number:x}")

    def peer_of(
        self, chain: Sequence[bytes], now: datetime, workloads: Container[SpiffeId] = ()
    ) -> tuple[str, SpiffeId]:
        """The cluster and SPIFFE ID of a validated peer. Raises PeerRejected."""
        bundles = {peer.trust_domain: peer.roots for peer in self._peers.values()}
        revoked = {peer.trust_domain: peer.revoked for peer in self._peers.values()}
        spiffe_id = validate_gateway(chain, bundles, now, workloads, revoked)
        for peer in self._peers.values():
            if peer.trust_domain == spiffe_id.trust_domain:
                return peer.cluster, spiffe_id
        raise PeerRejected("wrong-trust-domain", f"{spiffe_id} is of no peer")

    def still_believed(self, proof: Proof, workloads: Container[SpiffeId] = ()) -> bool:
        """Whether a connection's peer would be let in by the bundles of today. Its certificate is judged as of the
        handshake: a connection outlives the short-lived certificate that it was opened with."""
        try:
            return self.peer_of(proof.chain, proof.at, workloads)[0] == proof.cluster
        except PeerRejected:
            return False
