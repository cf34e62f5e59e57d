"""A worker process: owns connections, and serves its last snapshot for as long as it must.

It is started by the controller, and outlives it: when the control connection ends, it goes on serving and tries to
reach a controller again, to whom it then shows the listening sockets that it holds.
"""

from __future__ import annotations

import logging
import os
import random
import signal
import socket
import ssl
import sys
import time
from collections import Counter
from collections.abc import Callable
from datetime import UTC, datetime
from pathlib import Path

import msgspec
import trio

from discovery.address import parse_host_port
from discovery.dns_server import serve_tcp, serve_udp
from discovery.model import Protocol
from gateway.acceptor import Acceptor
from gateway.callers import AllowedWorkloads, Caller
from gateway.codec.choose import endpoint_codec, listener_codec, mesh_codec
from gateway.connection import ServerConnection
from gateway.control import (
    Certificate,
    ChannelClosed,
    ControlChannel,
    Drain,
    Explain,
    Explained,
    Hello,
    Listen,
    ListenerSpec,
    Renew,
    Report,
    SigningRequest,
    Unlisten,
    listen_messages,
)
from gateway.dial import handshake
from gateway.endpoint_tls import EndpointContexts
from gateway.endpoints import EndpointPools
from gateway.failover.explain import explain
from gateway.garbage import tame_garbage_collector
from gateway.identity import Identity, NotReady, Proof
from gateway.idle import SILENT_PEER_S, SILENT_REST_S, Idleness, Verdict
from gateway.log import log_to_stderr
from gateway.names import NameService
from gateway.reactor import Reactor
from gateway.request_path import WorkerRequestPath
from gateway.routing import Origin, RouteTable
from gateway.snapshot import LocalResource, PeerResource, ServiceResource, Update
from gateway.state_dir import connect_control
from gateway.telemetry import CONNECTIONS, DEFECTS, DNS_QUERIES, REFUSED, WorkerCounters
from gateway.tunnels import Tunnels
from gateway.version import VERSION
from trust.errors import TrustError

log = logging.getLogger("isthmus.worker")

HANDSHAKE_TIMEOUT_S = 5.0
# Handshakes under way at once; more wait in the listen queue's place. A handshake costs a few milliseconds of CPU, so a
# flood of them is refused before it starves the requests.
HANDSHAKES_LIMIT = 256
REPORT_INTERVAL_S = 1.0
# A change is told so much later, together with what follows from it: when a cluster goes, requests move first, and the
# controllers of everybody who had tunnels to it do not ask for the same CPUs in the same millisecond.
REPORT_DELAY_S = 0.05
RECONNECT_S = 0.1
RENEWAL_PAUSE_S = 5.0
SWEEP_INTERVAL_S = 5.0
FAILOVER_TICK_S = 0.25
FAILOVER_TICKS_PER_MEASURE = 4
CLOCK_CHECK_S = 60.0
DRAIN_CHECK_S = 0.05
# How long peers have to open a tunnel elsewhere between the first ones' end and the last ones'.
TURNOVER_S = 1.0
# A worker that is told to end by someone other than its controller.
SIGTERM_DRAIN_S = 10.0


class Served(msgspec.Struct):
    """What a worker keeps of a connection that it serves."""

    spec: ListenerSpec
    client: str
    idleness: Idleness


class Worker:
    """Everything of one worker, put together."""

    def __init__(self, state_dir: Path, worker_id: str, nursery: trio.Nursery) -> None:
        self._state_dir = state_dir
        self._id = worker_id
        self._nursery = nursery
        self._rng = random.Random()
        self._identity = Identity()
        self._routes = RouteTable()
        self._counters = WorkerCounters()
        self._reactor = Reactor()
        self._allowed = AllowedWorkloads()
        self._acceptor = Acceptor(self._reactor)
        self._names = NameService()
        self._listeners: dict[str, tuple[ListenerSpec, socket.socket]] = {}
        self._dns_scopes: dict[str, trio.CancelScope] = {}
        self._serving: dict[ServerConnection, Served] = {}
        self._inbound: dict[ServerConnection, Proof] = {}
        self._refusals: dict[str, str] = {}
        self._handshaking = 0
        self._changed = trio.Event()
        self._certified = trio.Event()
        self._renew_wanted = trio.Event()
        self._codec_kind = "auto"
        self._draining = False
        self._tunnels = Tunnels(
            self._identity,
            self._reactor,
            nursery,
            make_codec=lambda: mesh_codec(self._codec_kind, client=True),
            wall_clock=wall_clock,
            changed=self._tunnels_changed,
            rng=self._rng,
        )
        pools = EndpointPools(
            self._reactor,
            nursery,
            lambda protocol: endpoint_codec(self._codec_kind, protocol, self._rng),
            EndpointContexts(lambda: self._identity.svid),
        )
        self._pools = pools
        self._path = WorkerRequestPath(
            routes=self._routes,
            pools=pools,
            tunnels=self._tunnels,
            reactor=self._reactor,
            counters=self._counters,
            rng=self._rng,
        )

    async def run(self) -> None:
        self._nursery.start_soon(self._reactor.run)
        self._nursery.start_soon(self._reactor.keep_time)
        self._nursery.start_soon(self._drain_on_sigterm)
        self._nursery.start_soon(self._sweep)
        self._nursery.start_soon(self._keep_failover)
        while True:
            try:
                channel = await connect_control(self._state_dir)
            except OSError:
                pass
            else:
                await self._follow(channel)
            await trio.sleep(RECONNECT_S)

    # The controller.

    async def _follow(self, channel: ControlChannel) -> None:
        """Obeys one controller until it is gone."""
        try:
            for message, sockets in listen_messages([*self._listeners.values()]):
                await channel.send(message, [sock.fileno() for sock in sockets])
            await channel.send(Hello(self._id, os.getpid(), VERSION))
            async with trio.open_nursery() as nursery:
                nursery.start_soon(self._report, channel)
                nursery.start_soon(self._renew, channel)
                while True:
                    order, received = await channel.receive()
                    self._obey(order, received)
                    if isinstance(order, Explain):
                        await channel.send(self._explain(order))
        except* ChannelClosed:
            log.info("worker %s: the controller is gone; serving on", self._id)
        except* Exception:
            self._reactor.defects += 1
            log.exception("worker %s: what the controller said could not be done; serving on", self._id)
        finally:
            channel.close()

    def _obey(self, message: object, descriptors: list[int]) -> None:
        if isinstance(message, Update):
            self._apply(message)
        elif isinstance(message, Listen):
            for spec, descriptor in zip(message.listeners, descriptors, strict=True):
                self._listen(spec, socket.socket(fileno=descriptor))
        elif isinstance(message, Unlisten):
            for name in message.names:
                self._unlisten(name)
        elif isinstance(message, Certificate):
            self._take_certificate(message)
        elif isinstance(message, Renew):
            self._renew_wanted.set()
        elif isinstance(message, Drain):
            self._nursery.start_soon(self._drain, message.timeout_s)

    def _explain(self, asked: Explain) -> Explained:
        now, wall_now = trio.current_time(), wall_clock().timestamp()
        explanation = explain(
            self._path.failover,
            self._routes,
            asked.service,
            asked.port,
            asker=asked.from_cluster,
            now=now,
            wall_now=wall_now,
            limits_of=self._path.explain_limits,
        )
        return Explained(asked.request_id, explanation)

    def _take_certificate(self, message: Certificate) -> None:
        first = self._identity.svid is None
        try:
            self._identity.take_certificate(message.chain, message.key)
        except TrustError as error:
            log.error("worker %s: the controller's certificate is of no use: %s", self._id, error)
            return
        if first:
            for spec, sock in self._listeners.values():
                if spec.kind == "mesh":
                    self._acceptor.add(sock, self._accepted(spec))
        certified, self._certified = self._certified, trio.Event()
        certified.set()
        self._renew_wanted = trio.Event()
        self._report_soon()

    async def _renew(self, channel: ControlChannel) -> None:
        """Keeps an SVID, renewed before half of its life."""
        while True:
            svid = self._identity.svid
            if svid is not None:
                await _sleep_until(svid.renew_at(self._rng), self._renew_wanted)
            certified = self._certified
            await channel.send(SigningRequest(self._identity.signing_request()))
            with trio.move_on_after(5):
                await certified.wait()
            if svid is not None and self._identity.svid is not None and self._identity.svid.chain == svid.chain:
                # There is no newer one yet: a Workload API renews by its own clock.
                await trio.sleep(RENEWAL_PAUSE_S)

    async def _report(self, channel: ControlChannel) -> None:
        while True:
            self._changed = trio.Event()
            counters, durations = self._counters.report()
            counters[DNS_QUERIES.name] = {"|".join(label): n for label, n in self._names.counters.answers.items()}
            counters[DEFECTS.name] = {"worker": float(self._reactor.defects)}
            inbound = Counter(proof.cluster for proof in self._inbound.values())
            ready = self._identity.svid is not None and self._routes.is_whole
            events = self._path.failover.events.take(trio.current_time(), wall_clock().timestamp())
            await channel.send(
                Report(self._tunnels.report(), counters, durations, dict(inbound), self._refusals, ready, events)
            )
            with trio.move_on_after(REPORT_INTERVAL_S):
                await self._changed.wait()
                await trio.sleep(REPORT_DELAY_S)

    def _tunnels_changed(self) -> None:
        self._path.follow_tunnels(trio.current_time())
        self._report_soon()

    def _report_soon(self) -> None:
        self._changed.set()

    # The snapshot.

    def _apply(self, update: Update) -> None:
        for before, after in self._routes.apply(update):
            for version in (before, after):
                if version is not None:
                    self._path.changed(version)
            if isinstance(after, LocalResource):
                self._codec_kind = after.http2_codec
                self._tunnels.resolver.nameservers = after.peer_nameservers
                self._names.configure(after, self._routes.services)
            elif isinstance(before, ServiceResource) or isinstance(after, ServiceResource):
                self._names.changed(before, after)  # type: ignore[arg-type]
                if self._allowed.changed(before, after):  # type: ignore[arg-type]
                    self._close_disbelieved()
            elif isinstance(after, PeerResource):
                self._identity.set_peer(after)
                self._tunnels.set_peer(after)
                self._close_disbelieved()
            elif isinstance(before, PeerResource):
                self._identity.remove_peer(before.cluster)
                self._tunnels.remove_peer(before.cluster)
                self._close_disbelieved()

    def _close_disbelieved(self) -> None:
        """Ends peers' connections whose identity the bundles no longer bear out."""
        for conn, proof in [*self._inbound.items()]:
            if not self._identity.still_believed(proof, self._allowed):
                conn.abort()
        self._reactor.flush()

    # Listeners.

    def _listen(self, spec: ListenerSpec, sock: socket.socket) -> None:
        held = self._listeners.get(spec.name)
        if self._draining or (held is not None and held[0] == spec):
            sock.close()
            return
        self._unlisten(spec.name)
        self._listeners[spec.name] = (spec, sock)
        if spec.kind in ("dns-udp", "dns-tcp"):
            scope = self._dns_scopes[spec.name] = trio.CancelScope()
            self._nursery.start_soon(self._serve_dns, spec, sock, scope)
        elif spec.kind != "mesh" or self._identity.svid is not None:
            # Without an SVID peers wait in the socket's queue, rather than be turned away.
            self._acceptor.add(sock, self._accepted(spec))

    def _unlisten(self, name: str) -> None:
        entry = self._listeners.pop(name, None)
        if entry is None:
            return
        sock = entry[1]
        if scope := self._dns_scopes.pop(name, None):
            scope.cancel()
        else:
            self._acceptor.remove(sock)
            sock.close()

    async def _serve_dns(self, spec: ListenerSpec, sock: socket.socket, scope: trio.CancelScope) -> None:
        sock.setblocking(False)
        serve = serve_udp if spec.kind == "dns-udp" else serve_tcp
        with scope, sock:
            await serve(sock, self._names)

    def _accepted(self, spec: ListenerSpec) -> Callable[[socket.socket, str], None]:
        def mesh(sock: socket.socket, client: str) -> None:
            self._counters.add(CONNECTIONS, spec.kind)
            if self._handshaking >= HANDSHAKES_LIMIT:
                self._refuse(spec, "overload", f"{self._handshaking} handshakes are under way", client)
                sock.close()
            else:
                self._nursery.start_soon(self._serve_peer, spec, sock, client)

        def plain(sock: socket.socket, client: str) -> None:
            self._counters.add(CONNECTIONS, spec.kind)
            self._serve_local(spec, sock, client)

        return mesh if spec.kind == "mesh" else plain

    def _serve_local(self, spec: ListenerSpec, sock: socket.socket, client: str) -> None:
        origin, authority = Origin(host=parse_host_port(client).host), b""
        if spec.kind == "vip":
            origin = Origin(fixed=(spec.service, spec.port), host=origin.host)
            route = self._routes.find(b"", origin)
            if route is None:
                sock.close()
                return self._refuse(spec, "no-route", f"{spec.service} has no port {spec.port} any more", client)
            if route.port.protocol is Protocol.TCP:
                authority = route.authority
        conn = self._path.serve(sock, listener_codec(self._codec_kind, tcp_authority=authority), origin, client)
        self._serve(conn, spec, client)
        return None

    async def _serve_peer(self, spec: ListenerSpec, sock: socket.socket, client: str) -> None:
        self._handshaking += 1
        try:
            with trio.fail_after(HANDSHAKE_TIMEOUT_S):
                tls = await handshake(sock, self._identity.server_context(), server=True)
        except NotReady as reason:
            sock.close()
            return self._refuse(spec, "not-ready", str(reason), client)
        except trio.TooSlowError:
            return self._refuse(spec, "handshake-timeout", f"not done in {HANDSHAKE_TIMEOUT_S:g} s", client)
        except ssl.SSLError as error:
            return self._refuse(spec, _tls_reason(error), str(error.reason or error), client)
        except OSError as error:
            return self._refuse(spec, "connection-lost", str(error), client)
        except Exception as error:
            return self._refuse_unforeseen(spec, error, client)
        finally:
            self._handshaking -= 1
        try:
            proof = self._identity.prove(tls, wall_clock(), self._allowed)
        except (TrustError, OSError) as error:
            tls.close()
            return self._refuse(spec, getattr(error, "code", "no-h2"), str(error), client)
        except Exception as error:
            tls.close()
            return self._refuse_unforeseen(spec, error, client)
        origin = Origin(peer=proof.cluster, caller=Caller(proof.cluster, proof.spiffe_id))
        conn = self._path.serve(tls, mesh_codec(self._codec_kind, client=False), origin, client)
        self._inbound[conn] = proof
        self._serve(conn, spec, client)
        self._reactor.flush()
        return None

    def _serve(self, conn: ServerConnection, spec: ListenerSpec, client: str) -> None:
        self._serving[conn] = Served(spec, client, Idleness(trio.current_time()))

        def ended() -> None:
            self._serving.pop(conn, None)
            self._inbound.pop(conn, None)
            failure = conn.codec.failure
            if failure is not None:
                self._refuse(spec, failure.code, failure.detail, client)

        conn.on_end = ended
        conn.start()
        if self._draining:
            # Its handshake was under way when the draining began.
            conn.codec.drain()
            conn.codec.drained()
            conn.touch()

    def _refuse(self, spec: ListenerSpec, reason: str, detail: str, client: str) -> None:
        self._counters.add(REFUSED, spec.kind, reason)
        self._refusals[f"{spec.kind}: {reason}"] = f"{wall_clock():%Y-%m-%dT%H:%M:%SZ} {client}: {detail}"

    def _refuse_unforeseen(self, spec: ListenerSpec, error: Exception, client: str) -> None:
        """What a peer sent met a defect of ours: it costs that peer's connection, not the worker."""
        self._reactor.defects += 1
        log.exception("a peer's connection failed in a way that nobody foresaw; it is closed")
        self._refuse(spec, "internal-error", type(error).__name__, client)

    # Time passes.

    async def _sweep(self) -> None:
        while True:
            await trio.sleep(SWEEP_INTERVAL_S)
            now = trio.current_time()
            self._pools.sweep(now)
            for conn, served in [*self._serving.items()]:
                self._look(conn, served, now)
            self._reactor.flush()

    def _look(self, conn: ServerConnection, served: Served, now: float) -> None:
        """Ends a connection that is held for nothing."""
        codec, quiet = conn.codec, now - conn.last_active
        if conn in self._inbound:
            if quiet > SILENT_PEER_S:
                conn.abort()
        elif codec.open_streams:
            served.idleness.look(now, requests=conn.requests, streams=codec.open_streams, mid_head=False)
            # Requests that are carried have their own time. Here the rest of those is waited for that were answered.
            if quiet > SILENT_REST_S and not conn.handlers:
                conn.abort()
        else:
            verdict = served.idleness.look(now, requests=conn.requests, streams=0, mid_head=codec.mid_head)
            if verdict is Verdict.IDLE:
                codec.drain()
                codec.drained()
                conn.touch()
            elif verdict is Verdict.SLOW_HEAD:
                codec.expire_head()
                conn.touch()

    async def _keep_failover(self) -> None:
        """What returns does so by time, and so does the measure of tunnels."""
        while True:
            for _ in range(FAILOVER_TICKS_PER_MEASURE):
                await trio.sleep(FAILOVER_TICK_S)
                self._path.failover.tick(trio.current_time())
            self._path.follow_tunnels(trio.current_time())

    async def _drain_on_sigterm(self) -> None:
        with trio.open_signal_receiver(signal.SIGTERM) as signals:
            async for _ in signals:
                self._nursery.start_soon(self._drain, SIGTERM_DRAIN_S)

    async def _drain(self, timeout_s: float) -> None:
        """Accepts nothing new, lets what runs end, and exits."""
        if self._draining:
            return
        self._draining = True
        for name in [*self._listeners]:
            self._unlisten(name)
        later = self._second_tunnels()
        self._say_goodbye([conn for conn in self._serving if conn not in later])
        if later:
            await trio.sleep(min(TURNOVER_S, timeout_s / 4))
            self._say_goodbye([conn for conn in self._serving if conn in later])
        # One round trip later, what was on its way when the first GOAWAY went out has arrived (RFC 9113 section 6.8).
        await trio.sleep(min(0.5, timeout_s / 2))
        for conn in self._serving:
            conn.codec.drained()
            conn.touch()
        self._reactor.flush()
        with trio.move_on_after(timeout_s):
            while any(conn.codec.open_streams or conn.unsent for conn in self._serving):
                await trio.sleep(DRAIN_CHECK_S)
        self._nursery.cancel_scope.cancel()

    def _say_goodbye(self, connections: list[ServerConnection]) -> None:
        for conn in connections:
            conn.codec.drain()
            conn.touch()
        self._reactor.flush()

    def _second_tunnels(self) -> set[ServerConnection]:
        """Of the tunnels that each worker of a peer has here, all but half: it opens one with another worker of ours
        before it loses the last. Its certificate tells one worker from another, since each made its own key."""
        by_worker: dict[bytes, list[ServerConnection]] = {}
        for conn, proof in self._inbound.items():
            by_worker.setdefault(proof.chain[0], []).append(conn)
        return {conn for tunnels in by_worker.values() for conn in tunnels[(len(tunnels) + 1) // 2 :]}


def _tls_reason(error: ssl.SSLError) -> str:
    """A bounded name for why a handshake failed."""
    reason = error.reason or ""
    if "PEER_DID_NOT_RETURN_A_CERTIFICATE" in reason:
        return "no-certificate"
    if "CERTIFICATE_VERIFY_FAILED" in reason:
        return "unknown-authority"
    if "UNSUPPORTED_PROTOCOL" in reason or "VERSION" in reason:
        return "tls-version"
    return "handshake-failed"


async def _sleep_until(when: datetime, called: trio.Event) -> None:
    """By the wall clock, which may be set, and goes on while a machine sleeps; shorter if it is `called`."""
    while (left_s := (when - wall_clock()).total_seconds()) > 0 and not called.is_set():
        with trio.move_on_after(min(left_s, CLOCK_CHECK_S)):
            await called.wait()


def wall_clock() -> datetime:
    return datetime.fromtimestamp(time.time(), UTC)  # noqa: TID251 - certificates are dated by the wall clock


async def serve(state_dir: Path, worker_id: str) -> None:
    tame_garbage_collector()
    async with trio.open_nursery() as nursery:
        await Worker(state_dir, worker_id, nursery).run()


def main() -> None:
    """`python -m gateway.worker STATE_DIR WORKER_ID LOG_LEVEL`: started by the controller only."""
    # A Ctrl-C in the terminal goes to the whole process group; the controller decides what becomes of the workers.
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    signal.signal(signal.SIGHUP, signal.SIG_IGN)
    log_to_stderr(sys.argv[3])
    trio.run(serve, Path(sys.argv[1]), sys.argv[2])


if __name__ == "__main__":
    main()
