"""The connections that ask a worker: who they are, and what becomes of them as time passes."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Iterable

from gateway.control import ListenerSpec
from gateway.telemetry import EXPIRED, WorkerCounters
from gateway.transport.idle import SILENT_PEER_S, SILENT_REST_S, Idleness, Verdict
from gateway.transport.reactor import Reactor
from gateway.transport.server_connection import ServerConnection
from gateway.tunnel.identity import Proof
from gateway.worker.refused import Refused


class Served:
    """What is kept of a connection that is served. `proof`: who a peer is; None for a local workload."""

    __slots__ = ("client", "idleness", "proof", "spec")

    def __init__(self, spec: ListenerSpec, client: str, idleness: Idleness, proof: Proof | None) -> None:
        self.spec = spec
        self.client = client
        self.idleness = idleness
        self.proof = proof


class Clientele:
    """All of them. Those of peers have proved who they are."""

    def __init__(self, reactor: Reactor, refused: Refused, counters: WorkerCounters) -> None:
        self.served: dict[ServerConnection, Served] = {}
        self.peers: dict[ServerConnection, Proof] = {}
        self._reactor = reactor
        self._refused = refused
        self._counters = counters

    @property
    def local(self) -> int:
        """How many are of local workloads."""
        return len(self.served) - len(self.peers)

    def by_cluster(self) -> dict[str, int]:
        """Peers' connections."""
        return dict(Counter(proof.cluster for proof in self.peers.values()))

    def add(self, conn: ServerConnection, spec: ListenerSpec, client: str, proof: Proof | None = None) -> None:
        """Begins to serve it. The caller flushes the reactor, unless the reactor called it."""
        self.served[conn] = Served(spec, client, Idleness(self._reactor.now), proof)
        if proof is not None:
            self.peers[conn] = proof

        def ended() -> None:
            self.served.pop(conn, None)
            self.peers.pop(conn, None)

        conn.on_end = ended
        conn.on_refused = lambda code, detail: self._refused.note(spec.kind, code, detail, client)
        conn.start()

    def close_disbelieved(self, still_believed: Callable[[Proof], bool]) -> None:
        """Ends peers' connections whose identity is not borne out any more."""
        for conn, proof in [*self.peers.items()]:
            if not still_believed(proof):
                conn.abort()
        self._reactor.flush()

    # Time passes.

    def sweep(self, now: float) -> None:
        """Ends connections that are held for nothing. The caller flushes the reactor."""
        for conn, served in [*self.served.items()]:
            self._look(conn, served, now)

    def _look(self, conn: ServerConnection, served: Served, now: float) -> None:
        codec, quiet = conn.codec, now - conn.last_active
        if served.proof is not None:
            if quiet > SILENT_PEER_S:
                self._expired(served, Verdict.SILENT_PEER)
                conn.abort()
        elif codec.open_streams:
            served.idleness.look(now, requests=conn.requests, streams=codec.open_streams, mid_head=False)
            # Requests that are carried have their own time. Here the rest of those is waited for that were answered.
            if quiet > SILENT_REST_S and not conn.handlers:
                self._expired(served, Verdict.SILENT_REST)
                conn.abort()
        else:
            verdict = served.idleness.look(now, requests=conn.requests, streams=0, mid_head=codec.mid_head)
            if verdict is Verdict.IDLE and not codec.closing:
                self._let_go_of_idle(conn, served)
            elif verdict is Verdict.SLOW_HEAD:
                codec.expire_head()
                conn.touch()

    def _let_go_of_idle(self, conn: ServerConnection, served: Served) -> None:
        requests = conn.requests
        conn.look()
        if conn.requests == requests:
            self._expired(served, Verdict.IDLE)
            conn.codec.drain()
            conn.codec.drained()
        conn.touch()

    def _expired(self, served: Served, why: Verdict) -> None:
        self._counters.add(EXPIRED, served.spec.kind, why.value)

    # Leaving.

    @property
    def busy(self) -> bool:
        """Whether any of them waits for something."""
        return any(conn.codec.open_streams or conn.unsent for conn in self.served)

    def say_goodbye(self, connections: Iterable[ServerConnection]) -> None:
        """They are told to go elsewhere with what is new."""
        for conn in connections:
            conn.codec.drain()
            conn.touch()
        self._reactor.flush()

    def take_leave(self, connections: Iterable[ServerConnection]) -> None:
        """Nothing new is taken from them, but for what has come already."""
        for conn in connections:
            conn.look()
            conn.codec.drained()
            conn.touch()
        self._reactor.flush()

    def second_tunnels(self) -> set[ServerConnection]:
        """Of the tunnels that each worker of a peer has here, all but half: it opens one with another worker of ours
        before it loses the last. Its certificate tells one worker from another, since each made its own key."""
        by_worker: dict[bytes, list[ServerConnection]] = {}
        for conn, proof in self.peers.items():
            by_worker.setdefault(proof.chain[0], []).append(conn)
        return {conn for tunnels in by_worker.values() for conn in tunnels[(len(tunnels) + 1) // 2 :]}
