"""The request path of one worker: what an exchange asks for, put together from the parts that know.

Routes come from `RouteTable`, targets from `FailoverDecisions`, connections from `EndpointPools` and `Tunnels`,
permission to retry from `RetryBudget`; what happened is counted in `WorkerCounters`.
"""

from __future__ import annotations

import random
import socket
from collections.abc import Iterable
from functools import partial
from urllib.parse import quote

from discovery.model import Protocol
from gateway.callers import NotAllowed, SourceNotBelieved, WorkloadIdentities
from gateway.codec.events import Header, RequestHead, ResponseHead
from gateway.codec.interface import Codec
from gateway.connection import ServerConnection
from gateway.endpoints import EndpointPools, endpoint_protocol
from gateway.exchange import Attempt, Exchange
from gateway.failover.decisions import FailoverDecisions
from gateway.failover.events import Cause, EventKind
from gateway.failover.outcome import Outcome
from gateway.failover.reach import GatewayReach
from gateway.failover.target import LocalTarget, RemoteTarget, Target
from gateway.headers import ATTEMPT, REASON, SOURCE, find, forwarded_element, request_headers, source_value
from gateway.reactor import Reactor
from gateway.retry import Failure, RetryBudget
from gateway.routing import Origin, Route, RouteTable
from gateway.snapshot import LocalResource, PeerResource, ServiceResource
from gateway.telemetry import FAILOVERS, REQUESTS, RETRIES, WorkerCounters
from gateway.tunnels import Tunnels

SOURCE_NOT_BELIEVED = "source-not-believed"
NOT_ALLOWED = "not-allowed"
_GRPC_UNAVAILABLE = b"14"
_GRPC_PERMISSION_DENIED = b"7"
# What `grpc-message` may hold as it is (gRPC over HTTP/2, Status-Message): printable ASCII without "%".
_GRPC_MESSAGE_PLAIN = "".join(map(chr, range(0x20, 0x7F))).replace("%", "")
# How much of what a client asked for is repeated to it.
_SHOWN_BYTES = 256
# Source values for as many local clients as may be at work at once.
_SOURCES_REMEMBERED = 4096
# What says something of a tunnel, and nothing of the cluster behind it.
_LOST = frozenset({Failure.CONNECTION_LOST, Failure.REFUSED})
_STATUS = [str(status) for status in range(1000)]


class WorkerRequestPath:
    """Implements `exchange.RequestPath`."""

    def __init__(
        self,
        *,
        routes: RouteTable,
        pools: EndpointPools,
        tunnels: Tunnels,
        reactor: Reactor,
        counters: WorkerCounters,
        rng: random.Random,
    ) -> None:
        self._routes = routes
        self._pools = pools
        self._tunnels = tunnels
        self._reactor = reactor
        self._counters = counters
        self.failover = FailoverDecisions(routes, rng, self._count_failover)
        self._budget = RetryBudget()
        # Made once: they are used for every request.
        self._loads = {protocol: partial(self._load, protocol) for protocol in Protocol}
        self._requests = counters.counts[REQUESTS.name]
        self._workloads: WorkloadIdentities | None = None
        self._sources: dict[str, bytes] = {}
        self._via: bytes = b""

    # Following the snapshot.

    def changed(self, resource: ServiceResource | PeerResource | LocalResource) -> None:
        """A resource is new or gone: what was computed from it is forgotten."""
        self.failover.changed(resource)
        if isinstance(resource, LocalResource):
            self._workloads = WorkloadIdentities(resource.trust_domain, resource.workloads)
            self._sources.clear()
            self._via = f"1.1 {resource.cluster}.{resource.federation}.isthmus".encode()

    def follow_tunnels(self, now: float) -> None:
        """Tunnels opened or ended, or were measured again."""
        self.failover.take_tunnels(
            [GatewayReach(t.cluster, t.gateway, t.ready, t.rtt_ms / 1000) for t in self._tunnels.report()], now
        )

    def _count_failover(self, service: str, kind: EventKind, cause: Cause) -> None:
        self._counters.add(FAILOVERS, service, kind.value, cause.value)

    # Connections that ask.

    def serve(self, sock: socket.socket, codec: Codec, origin: Origin, client: str) -> ServerConnection:
        """A server's connection whose requests begin exchanges here. `client` is its other end, "ip:port"."""
        forwarded_for = b'for="%b"' % client.encode()

        def begin(conn: ServerConnection, stream_id: int, head: RequestHead, end_stream: bool) -> None:
            self._budget.active += 1
            exchange = Exchange(
                self,
                conn,
                stream_id,
                head,
                end_stream=end_stream,
                now=self._reactor.now,
                client=forwarded_for,
                origin=origin,
            )
            exchange.begin()

        return ServerConnection(self._reactor, sock, codec, begin)

    # What an exchange asks for.

    @property
    def now(self) -> float:
        return self._reactor.now

    def route(self, exchange: Exchange) -> Route | None:
        return self._routes.find(exchange.head.authority, exchange.origin)

    def objection(self, exchange: Exchange, route: Route) -> tuple[str, str] | None:
        caller, head = exchange.origin.caller, exchange.head
        if caller is None:
            return (NOT_ALLOWED, "nobody knows who calls") if route.service.allow else None
        try:
            identity = caller.source(head.headers)
            caller.check(route.service, identity, connect=exchange.connect and not head.protocol)
        except SourceNotBelieved as error:
            return SOURCE_NOT_BELIEVED, str(error)
        except NotAllowed as error:
            return NOT_ALLOWED, str(error)
        return None

    def choose(self, exchange: Exchange, route: Route) -> Target | None:
        return (
            self._same_cluster(exchange, exchange.failure)
            or self._next_place(exchange, route)
            or self._last_resort(exchange, route)
        )

    def has_better(self, exchange: Exchange) -> bool:
        route = exchange.route
        if route is None:
            return False
        last = exchange.tried[-1]
        if isinstance(last, RemoteTarget) and self._tunnels.has_other(last.cluster, exchange.conns_tried):
            return True
        return self._next_place(exchange, route) is not None

    def _same_cluster(self, exchange: Exchange, failure: Failure | None) -> Target | None:
        """Another gateway of the cluster whose gateway was lost: what was lost is a gateway, not the cluster."""
        if failure not in _LOST or not exchange.tried:
            return None
        last = exchange.tried[-1]
        if isinstance(last, RemoteTarget) and self._tunnels.has_other_gateway(last.cluster, exchange.conns_tried):
            return last
        return None

    def _last_resort(self, exchange: Exchange, route: Route) -> Target | None:
        """Any tunnel that is left, also one that is silent just now."""
        if exchange.origin.peer:
            return None
        for share in route.service.remotes:
            target = RemoteTarget(share.cluster)
            if route.port.name not in share.ports or (target in exchange.tried and exchange.failure not in _LOST):
                continue
            if self._tunnels.pick(share.cluster, exchange.conns_tried) is not None:
                return target
        return None

    def _next_place(self, exchange: Exchange, route: Route) -> Target | None:
        return self.failover.choose(
            route,
            exchange.tried,
            exchange.failure,
            self._loads[endpoint_protocol(route.port.protocol, exchange.head)],
            self._reactor.now,
            from_peer=bool(exchange.origin.peer),
        )

    def _load(self, protocol: Protocol, target: LocalTarget) -> int:
        return self._pools.load(target.address, protocol, target.tls)

    def outbound_head(self, exchange: Exchange, route: Route, target: Target) -> RequestHead:
        head = exchange.head
        ours: Iterable[Header] = ()
        if isinstance(target, RemoteTarget):
            ours = ((SOURCE, self._source_of(exchange.origin.host)), (ATTEMPT, b"%d" % len(exchange.tried)))
        headers = request_headers(
            head.headers,
            forwarded=forwarded_element(exchange.client, head.authority, head.scheme),
            via=self._via,
            ours=ours,
            from_peer=bool(exchange.origin.peer),
        )
        scheme = b"https" if head.scheme and isinstance(target, LocalTarget) and target.tls else head.scheme
        return RequestHead(head.method, scheme, route.authority, head.path, headers, head.protocol)

    def _source_of(self, host: str) -> bytes:
        """What the peer is told of a local client."""
        value = self._sources.get(host)
        if value is None:
            local = self._routes.local
            assert local is not None, "there is no route before the first snapshot"
            assert self._workloads is not None
            if len(self._sources) >= _SOURCES_REMEMBERED:
                self._sources.clear()
            identity = str(self._workloads.of(host))
            value = self._sources[host] = source_value(local.cluster, local.locality, identity)
        return value

    def submit(self, attempt: Attempt) -> None:
        exchange, target = attempt.exchange, attempt.target
        assert exchange.route is not None
        if isinstance(target, LocalTarget):
            protocol = endpoint_protocol(exchange.route.port.protocol, exchange.head)
            self._pools.get(target.address, protocol, target.tls).submit(attempt)
            return
        conn = self._tunnels.pick(target.cluster, exchange.conns_tried)
        if conn is None:
            attempt.failed(Failure.CONNECT, f"no tunnel to {target.cluster} is ready")
        else:
            exchange.conns_tried.append(conn)
            attempt.attached(conn)

    def observed(self, attempt: Attempt, outcome: Outcome, latency_s: float) -> None:
        route = attempt.exchange.route
        assert route is not None
        self.failover.observed(route.label, attempt.target, outcome, latency_s, self._reactor.now)

    def may_spend_retry(self, exchange: Exchange, failure: Failure) -> bool:
        return not failure.costs_budget or self._budget.take(self._reactor.now)

    def retried(self, exchange: Exchange, failure: Failure) -> None:
        if len(exchange.tried) == 1:
            self._budget.retrying += 1
        self._counters.add(RETRIES, failure.value)

    def finished(self, exchange: Exchange) -> None:
        self._budget.active -= 1
        if len(exchange.tried) > 1:
            self._budget.retrying -= 1
        service = exchange.route.label if exchange.route is not None else ""
        destination = exchange.tried[-1].place if exchange.tried else ""
        source = exchange.origin.peer or "local"
        self._requests[source, service, destination, _STATUS[exchange.status], exchange.reason] += 1
        if service:
            self._counters.observe(service, self._reactor.now - exchange.started)

    def refusal(self, exchange: Exchange, status: int, reason: str, detail: str) -> tuple[ResponseHead, bytes]:
        """An answer of our own. A gRPC client of ours gets a gRPC status, which is all that it looks at."""
        local = self._routes.local
        where = f"cluster {local.cluster}" if local is not None else "a gateway without a snapshot"
        authority = exchange.head.authority[:_SHOWN_BYTES].decode("latin-1")
        text = f"{reason}: {authority} asked of {where}: {detail}\n"
        # A peer's gateway looks at the HTTP status to go elsewhere; what is forbidden is so for its client.
        final = not exchange.origin.peer or status == 403
        if final and find(exchange.head.headers, b"content-type").startswith(b"application/grpc"):
            message = quote(text.strip(), safe=_GRPC_MESSAGE_PLAIN).encode()
            return (
                ResponseHead(
                    200,
                    [
                        (b"content-type", b"application/grpc"),
                        (b"grpc-status", _GRPC_PERMISSION_DENIED if status == 403 else _GRPC_UNAVAILABLE),
                        (b"grpc-message", message),
                        (REASON, reason.encode()),
                    ],
                ),
                b"",
            )
        body = b"" if exchange.head.method in (b"HEAD", b"CONNECT") else text.encode()
        headers = [
            (b"content-type", b"text/plain; charset=utf-8"),
            (b"content-length", b"%d" % len(body)),
            (REASON, reason.encode()),
        ]
        return ResponseHead(status, headers), body
