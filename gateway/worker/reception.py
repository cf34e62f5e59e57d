"""Where connections come in: listening sockets, TLS handshakes with peers, and who is let in.

The sockets are shared by all workers, so a worker that cannot serve yet leaves what comes in their queues: another
takes it, or it waits.
"""

from __future__ import annotations

import socket
import ssl
from collections.abc import Callable
from datetime import datetime

import trio

from discovery.address import canonical_host
from discovery.dns_server import serve_tcp, udp_turn
from gateway.callers import AllowedWorkloads, Caller
from gateway.codec.choose import mesh_codec
from gateway.control import ListenerSpec
from gateway.route import Origin
from gateway.routing import RouteTable
from gateway.telemetry import CONNECTIONS, WorkerCounters
from gateway.transport.dial import handshake, send_away
from gateway.transport.reactor import Reactor
from gateway.tunnel.identity import Identity, NotReady
from gateway.worker.acceptor import SHARED_INTEREST, Accepted, Acceptor
from gateway.worker.clientele import Clientele
from gateway.worker.handshake_slots import HandshakeSlots
from gateway.worker.local_clients import LocalClients
from gateway.worker.names import NameService
from gateway.worker.refused import Refused, tls_reason
from gateway.worker.request_path import WorkerRequestPath
from gateway.worker.turned_away import CONNECTION_LIMIT
from trust.errors import TrustError

HANDSHAKE_TIMEOUT_S = 5.0
# Kinds of listeners, by who comes there.
PEERS = ("mesh",)
WORKLOADS = ("http", "vip")
RESOLVERS = ("dns-udp", "dns-tcp")


class Reception:
    """The listening sockets of a worker, each `open` or not yet.

    Attributes:
        listeners: by name.
        local_clients: what lets local workloads in.
        draining: nobody is let in any more.
    """

    def __init__(
        self,
        *,
        nursery: trio.Nursery,
        reactor: Reactor,
        routes: RouteTable,
        identity: Identity,
        allowed: AllowedWorkloads,
        names: NameService,
        path: WorkerRequestPath,
        clientele: Clientele,
        counters: WorkerCounters,
        refused: Refused,
        wall_clock: Callable[[], datetime],
    ) -> None:
        self.listeners: dict[str, tuple[ListenerSpec, socket.socket]] = {}
        self.handshakes = HandshakeSlots()
        self.draining = False
        self._nursery = nursery
        self._reactor = reactor
        self._routes = routes
        self._identity = identity
        self._allowed = allowed
        self._names = names
        self._path = path
        self._clientele = clientele
        self._counters = counters
        self._refused = refused
        self._wall_clock = wall_clock
        self._acceptor = Acceptor(reactor)
        self.local_clients = LocalClients(
            reactor=reactor,
            routes=routes,
            path=path,
            clientele=clientele,
            counters=counters,
            refused=refused,
            where=self._where,
        )
        self._dns_scopes: dict[str, trio.CancelScope] = {}
        self._open: set[str] = set()
        """Kinds of listeners that accept."""

    @property
    def codec_kind(self) -> str:
        """The HTTP/2 engine of connections to come."""
        return self.local_clients.codec_kind

    @codec_kind.setter
    def codec_kind(self, kind: str) -> None:
        self.local_clients.codec_kind = kind

    # Listeners.

    def listen(self, spec: ListenerSpec, sock: socket.socket) -> None:
        """Serves a listening socket, which it owns from now on, as soon as its kind is open."""
        held = self.listeners.get(spec.name)
        if self.draining or (held is not None and held[0] == spec):
            sock.close()
            return
        self.unlisten(spec.name, last=True)
        self.listeners[spec.name] = (spec, sock)
        if spec.kind in self._open:
            self._serve(spec, sock)

    def unlisten(self, name: str, *, last: bool = False) -> None:
        """`last`: nobody goes on with this socket, as one at another address is in its place."""
        entry = self.listeners.pop(name, None)
        if entry is None:
            return
        sock = entry[1]
        if scope := self._dns_scopes.pop(name, None):
            scope.cancel()
        elif entry[0].kind == "dns-udp":
            self._reactor.unregister(sock.fileno())
            sock.close()
        else:
            self._acceptor.remove(sock, last=last)
            sock.close()

    def accepts(self, *kinds: str) -> bool:
        """Whether all of these are open."""
        return self._open.issuperset(kinds)

    def open(self, *kinds: str) -> None:
        """What such listeners need is there: they accept from now on."""
        new = {*kinds} - self._open
        self._open |= new
        for spec, sock in self.listeners.values():
            if spec.kind in new:
                self._serve(spec, sock)

    def close(self) -> None:
        """Nobody is let in any more."""
        self.draining = True
        for name in [*self.listeners]:
            self.unlisten(name)

    def _serve(self, spec: ListenerSpec, sock: socket.socket) -> None:
        if spec.kind == "dns-udp":
            self._answer_datagrams(sock)
        elif spec.kind == "dns-tcp":
            scope = self._dns_scopes[spec.name] = trio.CancelScope()
            self._nursery.start_soon(self._serve_dns, sock, scope)
        else:
            self._acceptor.add(sock, self._accepted(spec))

    def _answer_datagrams(self, sock: socket.socket) -> None:
        answer = udp_turn(sock, self._names)

        def ready(flags: int) -> None:
            answer()

        self._reactor.register(sock.fileno(), SHARED_INTEREST, ready)

    async def _serve_dns(self, sock: socket.socket, scope: trio.CancelScope) -> None:
        sock.setblocking(False)
        with scope, sock:
            await serve_tcp(sock, self._names)

    # Connections.

    def _where(self) -> str:
        local = self._routes.local
        return f"cluster {local.cluster}" if local is not None else "a gateway without a snapshot"

    def _accepted(self, spec: ListenerSpec) -> Accepted:
        return self._peer_accepted(spec) if spec.kind == "mesh" else self.local_clients.of(spec)

    def _peer_accepted(self, spec: ListenerSpec) -> Accepted:
        def accepted(sock: socket.SocketType, client: str) -> None:
            self._counters.add(CONNECTIONS, spec.kind)
            # Peers have as much room as local workloads: neither takes the other's.
            limit = self.local_clients.limit
            host = canonical_host(client.rpartition(":")[0])
            objection = self.handshakes.objection(host)
            if objection:
                self._refused.note(spec.kind, "overload", objection, client)
                sock.close()
            elif len(self._clientele.peers) >= limit:
                # Before the handshake there is no way to say so in TLS, and after it there is no point in it.
                detail = f"gateway.limits.connections of this worker is {limit}"
                self._refused.note(spec.kind, CONNECTION_LIMIT, detail, client)
                sock.close()
            else:
                # Here and not when its task begins: many may be accepted before any task does.
                self.handshakes.enter(host)
                self._nursery.start_soon(self._serve_peer, spec, sock, host, client)

        return accepted

    async def _serve_peer(self, spec: ListenerSpec, sock: socket.SocketType, host: str, client: str) -> None:
        note = self._refused.note
        try:
            with trio.fail_after(HANDSHAKE_TIMEOUT_S):
                context, turns = self._identity.server_context(), self._reactor.turns
                tls = await handshake(sock, context, server=True, turns=turns)
        except NotReady as reason:
            sock.close()
            return note(spec.kind, "not-ready", str(reason), client)
        except trio.TooSlowError:
            return note(spec.kind, "handshake-timeout", f"not done in {HANDSHAKE_TIMEOUT_S:g} s", client)
        except ssl.SSLError as error:
            return note(spec.kind, tls_reason(error), str(error.reason or error), client)
        except OSError as error:
            return note(spec.kind, "connection-lost", str(error), client)
        except Exception as error:
            return self._refused.note_unforeseen(spec.kind, error, client)
        finally:
            self.handshakes.leave(host)
        try:
            proof = self._identity.prove(tls, self._wall_clock(), self._allowed)
        except (TrustError, OSError) as error:
            note(spec.kind, getattr(error, "code", "no-h2"), str(error), client)
            return await send_away(tls, getattr(error, "code", "no-h2"))
        except Exception as error:
            tls.close()
            return self._refused.note_unforeseen(spec.kind, error, client)
        origin = Origin(peer=proof.cluster, caller=Caller(proof.cluster, proof.spiffe_id))
        codec = mesh_codec(self.codec_kind, client=False)
        conn = self._path.serve(tls, codec, origin, client)
        conn.share(codec)
        self._clientele.add(conn, spec, client, proof)
        if not any(held.kind in PEERS for held, _ in self.listeners.values()):
            # Its handshake was under way when the draining began, or the last listener for peers was given up.
            conn.codec.drain()
            conn.codec.drained()
            conn.touch()
        self._reactor.flush()
        return None
