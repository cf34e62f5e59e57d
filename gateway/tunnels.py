"""Tunnels: the long-lived HTTP/2 connections to peers' gateways, kept open and probed.

Each worker keeps a few tunnels to each gateway of each peer. One task a tunnel: dial, shake hands, check who answered,
carry, and after its end wait a little and begin again. A request never waits for a tunnel: there is one ready, or the
request goes to another cluster.
"""

from __future__ import annotations

import logging
import random
import socket
import ssl
from collections.abc import Awaitable, Callable, Iterator
from datetime import datetime

import trio

from gateway.codec.interface import Codec
from gateway.connection import ClientConnection
from gateway.control import Tunnel as TunnelReport
from gateway.dial import dial, handshake
from gateway.identity import Identity, NotReady, Proof
from gateway.reactor import Reactor
from gateway.snapshot import GatewayAddress, PeerResource
from trust.errors import TrustError

log = logging.getLogger("isthmus.tunnels")

TUNNELS_PER_GATEWAY = 2
CONNECT_TIMEOUT_S = 2.0
HANDSHAKE_TIMEOUT_S = 5.0
# A peer is probed this often, and given up when it stays silent for so long after a probe: a frozen gateway is noticed
# within a second, for which users of other meshes wait minutes.
PING_INTERVAL_S = 0.5
# Our own event loop may have been the one that was late: what has arrived meanwhile is read before a verdict.
PING_GRACE_S = 0.05
RECONNECT_FIRST_S = 0.05
RECONNECT_LIMIT_S = 5.0
# A tunnel that was there for so long did not end for what it was opened with.
STABLE_S = 10.0
# A tunnel is replaced, and then ends when it is idle, after this part of what was left of the certificates that it was
# opened with: so that none carries new requests on certificates that have ended, or whose root is retired by then.
_REPLACE_FROM, _REPLACE_TO = 0.6, 0.9


class GatewayTunnels:
    """This worker's tunnels to one gateway of a peer."""

    def __init__(self, cluster: str, gateway: GatewayAddress) -> None:
        self.cluster = cluster
        self.gateway = gateway
        self.connections: dict[ClientConnection, Proof] = {}
        """All that are open, also those that have not answered yet and those that only finish what they carry."""
        self.ready: list[ClientConnection] = []
        self.expiring: list[ClientConnection] = []
        """Those that are ready, and to be replaced by the next ones that become so."""
        self.scopes: set[trio.CancelScope] = set()
        self.news = trio.Event()
        """Something has changed that may let the next try succeed."""
        self.peer_id = ""
        self.address = ""
        self.rtt_s = 0.0
        self.error = ""

    def report(self) -> TunnelReport:
        return TunnelReport(
            cluster=self.cluster,
            gateway=self.gateway.id,
            address=self.address,
            ready=min(len(self.ready), TUNNELS_PER_GATEWAY),
            wanted=TUNNELS_PER_GATEWAY,
            peer_id=self.peer_id,
            rtt_ms=round(self.rtt_s * 1000, 3),
            error=self.error,
            serials=tuple(sorted({self.connections[conn].serial for conn in self.ready if conn in self.connections})),
        )


class Tunnels:
    """All tunnels of a worker."""

    def __init__(
        self,
        identity: Identity,
        reactor: Reactor,
        nursery: trio.Nursery,
        *,
        make_codec: Callable[[], Codec],
        wall_clock: Callable[[], datetime],
        changed: Callable[[], None],
        rng: random.Random,
    ) -> None:
        self._identity = identity
        self._reactor = reactor
        self._nursery = nursery
        self._make_codec = make_codec
        self._wall_clock = wall_clock
        self._changed = changed
        self._rng = rng
        self._gateways: dict[tuple[str, str], GatewayTunnels] = {}
        self._ready: dict[str, list[ClientConnection]] = {}

    # For the request path.

    def is_ready(self, cluster: str) -> bool:
        """Whether there is a tunnel to a cluster. It may be full: `pick` knows."""
        return bool(self._ready.get(cluster))

    def pick(self, cluster: str) -> ClientConnection | None:
        """The least loaded tunnel to a cluster that can take a request, or None."""
        ready = self._ready.get(cluster)
        if not ready:
            return None
        best = min(ready, key=_load)
        if best.usable:
            return best
        return min((conn for conn in ready if conn.usable), key=_load, default=None)

    def report(self) -> list[TunnelReport]:
        return [tunnels.report() for tunnels in self._gateways.values()]

    # Following the snapshot.

    def set_peer(self, peer: PeerResource) -> None:
        """Opens tunnels to new gateways, closes those to gateways that are gone or moved, and those whose peer would
        not be believed any more."""
        wanted = {(peer.cluster, gateway.id): gateway for gateway in peer.gateways}
        for key, tunnels in [*self._of(peer.cluster)]:
            if wanted.get(key) != tunnels.gateway:
                self._close(key)
            else:
                self._check_again(tunnels)
        for key, gateway in wanted.items():
            if key not in self._gateways:
                tunnels = self._gateways[key] = GatewayTunnels(peer.cluster, gateway)
                for _ in range(TUNNELS_PER_GATEWAY):
                    self._start(tunnels, self._keep, tunnels)
        self._reactor.flush()

    def _check_again(self, tunnels: GatewayTunnels) -> None:
        for conn, proof in [*tunnels.connections.items()]:
            if not self._identity.still_believed(proof):
                tunnels.error = f"{proof.spiffe_id} is not believed any more"
                conn.abort()
        news, tunnels.news = tunnels.news, trio.Event()
        news.set()

    def remove_peer(self, cluster: str) -> None:
        for key, _ in [*self._of(cluster)]:
            self._close(key)
        self._reactor.flush()

    def _of(self, cluster: str) -> Iterator[tuple[tuple[str, str], GatewayTunnels]]:
        return ((key, tunnels) for key, tunnels in self._gateways.items() if key[0] == cluster)

    def _close(self, key: tuple[str, str]) -> None:
        """Ends everything to a gateway at once: also a task that has not begun to run."""
        tunnels = self._gateways.pop(key)
        for scope in tunnels.scopes:
            scope.cancel()
        for conn in [*tunnels.connections]:
            conn.abort()

    def _start(self, tunnels: GatewayTunnels, task: Callable[..., Awaitable[None]], *arguments: object) -> None:
        scope = trio.CancelScope()
        tunnels.scopes.add(scope)

        async def run() -> None:
            with scope:
                await task(*arguments)
            tunnels.scopes.discard(scope)

        self._nursery.start_soon(run)

    # One tunnel's life.

    async def _keep(self, tunnels: GatewayTunnels) -> None:
        delay_s = RECONNECT_FIRST_S
        while True:
            lived_s = await self._carry_once(tunnels)
            delay_s = RECONNECT_FIRST_S if lived_s > STABLE_S else min(delay_s * 2, RECONNECT_LIMIT_S)
            with trio.move_on_after(delay_s * self._rng.uniform(0.5, 1.0)):
                await tunnels.news.wait()

    async def _carry_once(self, tunnels: GatewayTunnels) -> float:
        """Opens a tunnel and returns when another one is needed in its place: for how many seconds it was not."""
        try:
            ours = self._identity.not_after
            tls, proof = await self._open(tunnels)
        except (NotReady, OSError, TrustError) as error:
            tunnels.error = str(error)
        except Exception as error:
            self._reactor.defects += 1
            log.exception("a tunnel to %s failed in a way that nobody foresaw", tunnels.cluster)
            tunnels.error = f"a defect of this gateway, see its log: {type(error).__name__}"
        else:
            began, needed = trio.current_time(), trio.Event()
            replace_at = began + self._replace_after_s(ours, proof)
            self._start(tunnels, self._carry, tunnels, tls, proof, needed, replace_at)
            await needed.wait()
            return STABLE_S + 1 if trio.current_time() >= replace_at else trio.current_time() - began
        self._changed()
        return 0.0

    def _replace_after_s(self, ours: datetime, proof: Proof) -> float:
        left_s = (min(ours, proof.not_after) - self._wall_clock()).total_seconds()
        return max(0.0, left_s) * self._rng.uniform(_REPLACE_FROM, _REPLACE_TO)

    async def _open(self, tunnels: GatewayTunnels) -> tuple[ssl.SSLSocket, Proof]:
        context = self._identity.client_context(tunnels.cluster)
        sock = await self._dial(tunnels)
        try:
            with trio.fail_after(HANDSHAKE_TIMEOUT_S):
                tls = await handshake(sock, context, server=False)
        except trio.TooSlowError:
            raise OSError(f"the TLS handshake with {tunnels.address} took over {HANDSHAKE_TIMEOUT_S:g} s") from None
        except ssl.SSLError as error:
            raise OSError(f"the TLS handshake with {tunnels.address} failed: {error.reason or error}") from error
        try:
            proof = self._check(tunnels, tls)
        except BaseException:
            tls.close()
            raise
        return tls, proof

    async def _dial(self, tunnels: GatewayTunnels) -> socket.socket:
        """Tries a gateway's addresses in turn, resolving names anew each time."""
        errors: list[str] = []
        for address in tunnels.gateway.addresses:
            try:
                with trio.fail_after(CONNECT_TIMEOUT_S):
                    sock = await dial(address)
            except (OSError, trio.TooSlowError) as error:
                errors.append(str(error) or f"{address}: no answer within {CONNECT_TIMEOUT_S:g} s")
            else:
                tunnels.address = address
                return sock
        raise OSError("; ".join(errors) or "the gateway advertises no address")

    def _check(self, tunnels: GatewayTunnels, tls: ssl.SSLSocket) -> Proof:
        """Believes nobody before the chain fits the one trust domain that this cluster has."""
        proof = self._identity.prove(tls, self._wall_clock())
        if proof.cluster != tunnels.cluster:
            raise OSError(f"{tunnels.address} is {proof.spiffe_id}, not a gateway of {tunnels.cluster}")
        tunnels.peer_id = str(proof.spiffe_id)
        return proof

    async def _carry(
        self, tunnels: GatewayTunnels, tls: ssl.SSLSocket, proof: Proof, needed: trio.Event, replace_at: float
    ) -> None:
        """Serves one connection until it ends, probing it. Sets `needed` when it takes no requests any more, and from
        `replace_at` on: then it takes them until another one is there in its place, and ends when it carries none.

        It takes them from the first answer to a PING on: in TLS 1.3 our side of the handshake ends before the peer has
        judged our certificate, so a finished handshake says nothing about being let in.
        """
        probe, began = _Probe(), trio.current_time()
        ended = trio.Event()
        conn: ClientConnection

        def answered(payload: bytes) -> None:
            tunnels.rtt_s = probe.answered(payload, trio.current_time())
            if conn not in tunnels.ready and not needed.is_set():
                self._take_into_service(tunnels, conn)

        def going_away() -> None:
            # What it carries goes on; what is new goes over the tunnel that is opened in its place.
            self._take_out_of_service(tunnels, conn)
            needed.set()

        conn = ClientConnection(self._reactor, tls, self._make_codec(), ping_ack=answered, going_away=going_away)
        tunnels.connections[conn] = proof
        conn.on_end = ended.set
        conn.start()
        try:
            while not conn.closed:
                if trio.current_time() >= replace_at:
                    if conn in tunnels.ready and conn not in tunnels.expiring:
                        tunnels.expiring.append(conn)
                        needed.set()
                    elif conn not in tunnels.ready and not conn.handlers:
                        break
                conn.codec.ping(probe.next(trio.current_time()))
                conn.touch()
                self._reactor.flush()
                with trio.move_on_after(PING_INTERVAL_S):
                    await ended.wait()
                if probe.unanswered_since(conn.last_active):
                    await trio.sleep(PING_GRACE_S)
                # At first the peer's side of the handshake may still be under way.
                limit_s = PING_INTERVAL_S if probe.was_answered else HANDSHAKE_TIMEOUT_S
                if probe.unanswered_since(conn.last_active) and trio.current_time() - began >= limit_s:
                    if not conn.closed:
                        tunnels.error = f"no answer to a PING within {limit_s:g} s"
                    break
        finally:
            conn.abort()
            self._reactor.flush()
            del tunnels.connections[conn]
            if conn in tunnels.expiring:
                tunnels.expiring.remove(conn)
            tunnels.error = tunnels.error or _why(conn, probe.was_answered)
            going_away()

    def _take_into_service(self, tunnels: GatewayTunnels, conn: ClientConnection) -> None:
        self._ready.setdefault(tunnels.cluster, []).append(conn)
        tunnels.ready.append(conn)
        tunnels.error = ""
        if tunnels.expiring:
            self._take_out_of_service(tunnels, tunnels.expiring.pop(0))
        self._changed()

    def _take_out_of_service(self, tunnels: GatewayTunnels, conn: ClientConnection) -> None:
        if conn in tunnels.ready:
            self._ready[tunnels.cluster].remove(conn)
            tunnels.ready.remove(conn)
        self._changed()


def _why(conn: ClientConnection, was_good: bool) -> str:
    """Why a tunnel ended, for people."""
    error = conn.lost_to
    if isinstance(error, ssl.SSLError):
        return f"the peer refuses us: {error.reason or error}"
    if error is not None:
        return f"the connection was lost: {error.strerror or error}"
    return "the connection ended" if was_good else "the peer closed it: are we its peer?"


def _load(conn: ClientConnection) -> int:
    return len(conn.handlers)


class _Probe:
    """The PINGs of one tunnel, numbered. Times are seconds of the event loop's clock."""

    def __init__(self) -> None:
        self._sent = 0
        self._answered = 0
        self._sent_at = 0.0

    @property
    def was_answered(self) -> bool:
        return self._answered > 0

    def next(self, now: float) -> bytes:
        """The payload of another PING."""
        self._sent += 1
        self._sent_at = now
        return self._sent.to_bytes(8, "big")

    def answered(self, payload: bytes, now: float) -> float:
        """Takes an answer; returns how long it took."""
        self._answered = int.from_bytes(payload, "big")
        return now - self._sent_at

    def unanswered_since(self, last_active: float) -> bool:
        """Whether neither the answer nor anything else has come since the last PING."""
        return self._answered < self._sent and last_active < self._sent_at
