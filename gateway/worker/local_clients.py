"""Connections of local workloads, as they are accepted: who comes, for what, and with which codec."""

from __future__ import annotations

import socket
from collections.abc import Callable
from typing import Final

from discovery.address import canonical_host
from discovery.model import Protocol
from gateway.codec.choose import listener_codec
from gateway.control import ListenerSpec
from gateway.route import Origin
from gateway.routing import RouteTable
from gateway.snapshot import CONNECTION_LIMIT_DEFAULT
from gateway.telemetry import CONNECTIONS, WorkerCounters
from gateway.transport.reactor import Reactor
from gateway.worker.acceptor import Accepted
from gateway.worker.clientele import Clientele
from gateway.worker.refused import Refused
from gateway.worker.request_path import WorkerRequestPath
from gateway.worker.turned_away import CONNECTION_LIMIT, TurnedAway

_TCP: Final = Protocol.TCP


class LocalClients:
    """Lets them in.

    Attributes:
        codec_kind: the HTTP/2 engine of connections to come.
    """

    def __init__(
        self,
        *,
        reactor: Reactor,
        routes: RouteTable,
        path: WorkerRequestPath,
        clientele: Clientele,
        counters: WorkerCounters,
        refused: Refused,
        where: Callable[[], str],
    ) -> None:
        """`where` names this gateway, for people."""
        self.codec_kind = "auto"
        self._routes = routes
        self._path = path
        self._clientele = clientele
        self._counted = counters.counts[CONNECTIONS.name]
        self._refused = refused
        self._turned_away = TurnedAway(reactor, where)

    @property
    def limit(self) -> int:
        """How many connections there may be."""
        local = self._routes.local
        return local.connection_limit if local is not None else CONNECTION_LIMIT_DEFAULT

    def of(self, spec: ListenerSpec) -> Accepted:
        """What is to be called with those of a listener."""
        labels, fixed = (spec.kind,), (spec.service, spec.port) if spec.kind == "vip" else None

        def accepted(sock: socket.SocketType, client: str) -> None:
            self._counted[labels] += 1
            origin = Origin(fixed=fixed, host=canonical_host(client.rpartition(":")[0]))
            self._serve(spec, sock, client, origin)

        return accepted

    def _serve(self, spec: ListenerSpec, sock: socket.SocketType, client: str, origin: Origin) -> None:
        authority = b""
        if origin.fixed is not None:
            route = self._routes.find(b"", origin)
            if route is None:
                sock.close()
                detail = f"{spec.service} has no port {spec.port} any more"
                self._refused.note(spec.kind, "no-route", detail, client)
                return
            if route.port.protocol is _TCP:
                authority = route.authority
        codec = listener_codec(self.codec_kind, tcp_authority=authority)
        if self._clientele.local >= self.limit:
            detail = f"gateway.limits.connections of this worker is {self.limit}"
            self._refused.note(spec.kind, CONNECTION_LIMIT, detail, client)
            if authority:
                sock.close()
            else:
                self._turned_away.add(sock, codec, detail)
            return
        conn = self._path.serve(sock, codec, origin, client)
        self._clientele.add(conn, spec, client)
