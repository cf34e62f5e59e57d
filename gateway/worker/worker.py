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
import sys
import time
from datetime import UTC, datetime
from pathlib import Path

import trio

from gateway.callers import AllowedWorkloads
from gateway.codec.choose import endpoint_codec, mesh_codec
from gateway.control import (
    Certificate,
    ChannelClosed,
    ControlChannel,
    Drain,
    Explain,
    Explained,
    Hello,
    Listen,
    Renew,
    Report,
    SigningRequest,
    Unlisten,
    listen_messages,
)
from gateway.endpoint.endpoints import EndpointPools
from gateway.endpoint.tls import EndpointContexts
from gateway.failover.explain import explain
from gateway.process.garbage import tame_garbage_collector
from gateway.process.huge_pages import use_huge_pages
from gateway.process.log import log_to_stderr
from gateway.process.state_dir import connect_control
from gateway.routing import RouteTable
from gateway.snapshot import LocalResource, PeerResource, ServiceResource, Update, kind_of
from gateway.telemetry import DEFECTS, DNS_QUERIES, SNAPSHOT_CHANGES, WorkerCounters
from gateway.transport.reactor import Reactor
from gateway.transport.reactor_host import host
from gateway.tunnel.identity import Identity
from gateway.tunnel.tunnels import Tunnels
from gateway.version import VERSION
from gateway.worker.clientele import Clientele
from gateway.worker.departure import depart, let_go
from gateway.worker.names import NameService
from gateway.worker.opening import Opening
from gateway.worker.reception import PEERS, Reception
from gateway.worker.refused import Refused
from gateway.worker.request_path import WorkerRequestPath
from gateway.worker.svid_renewal import SvidRenewal

log = logging.getLogger("isthmus.worker")

REPORT_INTERVAL_S = 1.0
# A change is told so much later, together with what follows from it: when a cluster goes, requests move first, and the
# controllers of everybody who had tunnels to it do not ask for the same CPUs in the same millisecond.
REPORT_DELAY_S = 0.05
RECONNECT_S = 0.1
SWEEP_INTERVAL_S = 5.0
FAILOVER_TICK_S = 0.25
MEASURE_INTERVAL_S = 1.0
# A worker that is told to end by someone other than its controller.
SIGTERM_DRAIN_S = 10.0


class Worker:
    """Everything of one worker, put together."""

    def __init__(self, state_dir: Path, worker_id: str, nursery: trio.Nursery, reactor: Reactor) -> None:
        self._state_dir = state_dir
        self._id = worker_id
        self._nursery = nursery
        self._rng = random.Random()
        self._identity = Identity()
        self._routes = RouteTable()
        self._counters = WorkerCounters()
        self._reactor = reactor
        self._allowed = AllowedWorkloads()
        self._names = NameService()
        self._changed = trio.Event()
        self._renewal = SvidRenewal(self._identity, self._rng, wall_clock)
        self._tunnels = Tunnels(
            self._identity,
            self._reactor,
            nursery,
            make_codec=lambda: mesh_codec(self._reception.codec_kind, client=True),
            wall_clock=wall_clock,
            changed=self._tunnels_changed,
            rng=self._rng,
        )
        pools = EndpointPools(
            self._reactor,
            nursery,
            lambda protocol: endpoint_codec(self._reception.codec_kind, protocol, self._rng),
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
        self._refused = Refused(self._counters, self._reactor, wall_clock)
        self._clientele = Clientele(self._reactor, self._refused, self._counters)
        self._reception = Reception(
            nursery=nursery,
            reactor=self._reactor,
            routes=self._routes,
            identity=self._identity,
            allowed=self._allowed,
            names=self._names,
            path=self._path,
            clientele=self._clientele,
            counters=self._counters,
            refused=self._refused,
            wall_clock=wall_clock,
        )
        self._opening = Opening(
            self._reception, self._routes, self._identity, self._tunnels, self._reactor, self._report_soon
        )

    async def run(self) -> None:
        self._nursery.start_soon(self._drain_on_sigterm)
        self._nursery.start_soon(self._sweep)
        self._nursery.start_soon(self._keep_failover)
        self._nursery.start_soon(self._measure_tunnels)
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
            for message, sockets in listen_messages([*self._reception.listeners.values()]):
                await channel.send(message, [sock.fileno() for sock in sockets])
            await channel.send(Hello(self._id, os.getpid(), VERSION))
            async with trio.open_nursery() as nursery:
                nursery.start_soon(self._report, channel)
                nursery.start_soon(self._renewal.run, lambda csr: channel.send(SigningRequest(csr)))
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
                self._reception.listen(spec, socket.socket(fileno=descriptor))
        elif isinstance(message, Unlisten):
            held = self._reception.listeners
            if any(held[name][0].kind in PEERS for name in message.names if name in held):
                # Whoever takes `mesh` out of the configuration wants no peer in here, also none that is.
                self._nursery.start_soon(let_go, self._clientele, [*self._clientele.peers])
            for name in message.names:
                self._reception.unlisten(name)
        elif isinstance(message, Certificate):
            if self._renewal.take(message):
                self._opening.look()
                self._report_soon()
        elif isinstance(message, Renew):
            self._renewal.hurry()
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
            load_of=self._path.explain_load,
        )
        return Explained(asked.request_id, explanation)

    async def _report(self, channel: ControlChannel) -> None:
        while True:
            self._changed = trio.Event()
            counters, durations = self._counters.report()
            counters[DNS_QUERIES.name] = {"|".join(label): n for label, n in self._names.counters.answers.items()}
            counters[DEFECTS.name] = {"worker": float(self._reactor.defects)}
            inbound, refusals = self._clientele.by_cluster(), self._refused.last
            events = self._path.failover.events.take(trio.current_time(), wall_clock().timestamp())
            await channel.send(
                Report(self._tunnels.report(), counters, durations, inbound, refusals, self._opening.done, events)
            )
            with trio.move_on_after(REPORT_INTERVAL_S):
                await self._changed.wait()
                await trio.sleep(REPORT_DELAY_S)

    def _tunnels_changed(self) -> None:
        self._path.follow_tunnels(trio.current_time())
        self._opening.look()
        self._report_soon()

    def _report_soon(self) -> None:
        self._changed.set()

    # The snapshot.

    def _apply(self, update: Update) -> None:
        for before, after in self._routes.apply(update):
            versions = [version for version in (before, after) if version is not None]
            self._counters.add(SNAPSHOT_CHANGES, kind_of(versions[0].key))
            for version in versions:
                self._path.changed(version)
            if isinstance(after, LocalResource):
                self._reception.codec_kind = after.http2_codec
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
        self._opening.look()

    def _close_disbelieved(self) -> None:
        """Ends peers' connections whose identity the bundles no longer bear out."""
        self._clientele.close_disbelieved(lambda proof: self._identity.still_believed(proof, self._allowed))

    # Time passes.

    async def _sweep(self) -> None:
        while True:
            await trio.sleep(SWEEP_INTERVAL_S)
            now = trio.current_time()
            self._pools.sweep(now)
            self._clientele.sweep(now)
            self._reactor.flush()

    async def _keep_failover(self) -> None:
        """What returns does so by time. Mostly there is nothing, and nobody has to look."""
        failover = self._path.failover
        while True:
            wanted = trio.Event()
            failover.restless_now = wanted.set
            if not failover.restless:
                await wanted.wait()
            await trio.sleep(FAILOVER_TICK_S)
            failover.tick(trio.current_time())

    async def _measure_tunnels(self) -> None:
        while True:
            await trio.sleep(MEASURE_INTERVAL_S)
            self._path.follow_tunnels(trio.current_time())

    async def _drain_on_sigterm(self) -> None:
        with trio.open_signal_receiver(signal.SIGTERM) as signals:
            async for _ in signals:
                self._nursery.start_soon(self._drain, SIGTERM_DRAIN_S)

    async def _drain(self, timeout_s: float) -> None:
        """Accepts nothing new, lets what runs end, and exits."""
        if self._reception.draining:
            return
        self._reception.close()
        await depart(self._clientele, timeout_s)
        self._nursery.cancel_scope.cancel()


def wall_clock() -> datetime:
    return datetime.fromtimestamp(time.time(), UTC)  # noqa: TID251 - certificates are dated by the wall clock


async def serve(state_dir: Path, worker_id: str, reactor: Reactor) -> None:
    tame_garbage_collector()
    use_huge_pages()
    async with trio.open_nursery() as nursery:
        await Worker(state_dir, worker_id, nursery, reactor).run()


def main() -> None:
    """Runs the worker that the command line (`__main__.py`) names, until it has left."""
    # These are the controller's, also a Ctrl-C in the terminal, which goes to the whole process group.
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    signal.signal(signal.SIGHUP, signal.SIG_IGN)
    signal.signal(signal.SIGUSR2, signal.SIG_IGN)
    log_to_stderr(sys.argv[3])
    reactor = Reactor()
    host(reactor, serve, Path(sys.argv[1]), sys.argv[2], reactor)
