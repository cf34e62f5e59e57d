"""The request path of one worker: what an exchange asks for, put together from the parts that know.

Routes come from `RouteTable`, targets from `FailoverDecisions`, connections from `EndpointPools` and `Tunnels`,
permission to retry from `RetryBudget`; what happened is counted in `WorkerCounters`.
"""

from __future__ import annotations

import random
import socket
from collections.abc import Callable, Iterable
from functools import partial

from discovery.model import Protocol
from gateway.attempt import Attempt
from gateway.breaker import Breaker
from gateway.callers import NotAllowed, SourceNotBelieved, WorkloadIdentities
from gateway.codec.events import Header, RequestHead, ResponseHead
from gateway.codec.interface import Codec
from gateway.connection import ServerConnection
from gateway.deadlines import Deadline
from gateway.endpoints import EndpointPools, endpoint_protocol
from gateway.exchange import Exchange
from gateway.failover.decisions import FailoverDecisions
from gateway.failover.events import Cause, EventKind
from gateway.failover.outcome import Outcome
from gateway.failover.reach import GatewayReach
from gateway.failover.target import LocalTarget, RemoteTarget, Target
from gateway.grpc_timeout import format_grpc_timeout
from gateway.headers import (
    ATTEMPT,
    GRPC_TIMEOUT,
    SOURCE,
    find,
    forwarded_element,
    replaced,
    request_headers,
    source_value,
)
from gateway.latency_sketch import LatencySketch
from gateway.reactor import Reactor
from gateway.refusal import refusal
from gateway.retry import Failure, RetryBudget, attempt_value
from gateway.routing import Origin, Route, RouteTable
from gateway.snapshot import LocalResource, PeerResource, ServiceResource
from gateway.telemetry import FAILOVERS, OVERFLOWS, REQUESTS, RETRIES, WorkerCounters
from gateway.tls_socket import TlsSocket
from gateway.traffic import Traffic
from gateway.tunnels import Tunnels

SOURCE_NOT_BELIEVED = "source-not-believed"
NOT_ALLOWED = "not-allowed"
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
        self._traffic: dict[str, Traffic] = {}
        self._sketches: dict[str, LatencySketch] = {}
        """Of the services whose requests are hedged by what they took."""
        self._breakers: dict[tuple[str, str], Breaker] = {}
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
            self._traffic.clear()
            self._sketches.clear()
            self._via = f"1.1 {resource.cluster}.{resource.federation}.isthmus".encode()

    def follow_tunnels(self, now: float) -> None:
        """Tunnels opened or ended, or were measured again."""
        self.failover.take_tunnels(
            [GatewayReach(t.cluster, t.gateway, t.ready, t.rtt_ms / 1000) for t in self._tunnels.report()], now
        )

    def _count_failover(self, service: str, kind: EventKind, cause: Cause) -> None:
        self._counters.add(FAILOVERS, service, kind.value, cause.value)

    # Connections that ask.

    def serve(self, sock: socket.socket | TlsSocket, codec: Codec, origin: Origin, client: str) -> ServerConnection:
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

    def call_at(self, when: float, action: Callable[[], None]) -> Deadline:
        return self._reactor.call_at(when, action)

    def traffic(self, route: Route) -> Traffic:
        traffic = self._traffic.get(route.label)
        if traffic is None:
            local = self._routes.local
            assert local is not None, "there is no route before the first snapshot"
            traffic = self._traffic[route.label] = local.traffic.of(route.service.name)
        return traffic

    def hedge_delay_s(self, exchange: Exchange) -> float | None:
        retries = exchange.traffic.retries
        if retries.hedge_after_quantile and exchange.route is not None:
            sketch = self._sketches.setdefault(exchange.route.label, LatencySketch())
            return sketch.quantile(retries.hedge_after_quantile)
        return retries.hedge_after_s or None

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

    def outbound_head(self, attempt: Attempt) -> RequestHead:
        exchange, target = attempt.exchange, attempt.target
        head, route, timer = exchange.head, exchange.route, exchange.timer
        assert route is not None
        ours: Iterable[Header] = ()
        if isinstance(target, RemoteTarget):
            ours = (
                (SOURCE, self._source_of(exchange.origin.host)),
                (ATTEMPT, attempt_value(attempt.number, attempt.last)),
            )
        headers = request_headers(
            head.headers,
            forwarded=forwarded_element(exchange.client, head.authority, head.scheme),
            via=self._via,
            ours=ours,
            from_peer=bool(exchange.origin.peer),
        )
        left_s = timer.call_left_s(self._reactor.now) if timer is not None else None
        if left_s is not None:
            headers = replaced(headers, GRPC_TIMEOUT, format_grpc_timeout(left_s))
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
        if not self._admits(attempt, exchange.route):
            return
        if isinstance(target, LocalTarget):
            protocol = endpoint_protocol(exchange.route.port.protocol, exchange.head)
            limits = exchange.traffic.limits
            over = self._pools.get(target.address, protocol, target.tls).submit(attempt, limits)
            if over:
                self._overflow(attempt, exchange.route, over, limits.pending)
            return
        conn = self._tunnels.pick(target.cluster, exchange.conns_tried)
        if conn is None:
            attempt.failed(Failure.CONNECT, f"no tunnel to {target.cluster} is ready")
        else:
            exchange.conns_tried.append(conn)
            attempt.attached(conn)

    def _admits(self, attempt: Attempt, route: Route) -> bool:
        """Counts an attempt in at its upstream's breaker, or ends it."""
        key = (route.label, attempt.target.place)
        breaker = self._breakers.get(key)
        if breaker is None:
            breaker = self._breakers[key] = Breaker()
        limits = attempt.exchange.traffic.limits
        over = breaker.exceeded(limits, retry=attempt.retry)
        if over:
            self._overflow(attempt, route, over, limits.retries if over == "retries" else limits.requests)
            return False
        breaker.enter(retry=attempt.retry)
        attempt.breaker = breaker
        return True

    def _overflow(self, attempt: Attempt, route: Route, limit: str, most: int) -> None:
        place = attempt.target.place
        self._counters.add(OVERFLOWS, route.label, place, limit)
        now, breaker = self._reactor.now, self._breakers[route.label, place]
        if breaker.is_news(now):
            numbers = {"limit": float(most), "in_progress": float(breaker.requests)}
            self.failover.events.add(route.label, EventKind.OVERFLOWED, place, Cause.LIMIT, numbers, now)
        attempt.overflowed(f"limits.{limit} of {route.label} in {place} is {most}")

    def observed(self, attempt: Attempt, outcome: Outcome, latency_s: float) -> None:
        route = attempt.exchange.route
        assert route is not None
        self.failover.observed(route.label, attempt.target, outcome, latency_s, self._reactor.now)
        sketch = self._sketches.get(route.label) if self._sketches else None
        if sketch is not None and isinstance(outcome, int) and outcome < 500:
            sketch.observe(latency_s)

    def may_spend_retry(self, exchange: Exchange, failure: Failure | None) -> bool:
        if failure is not None and not failure.costs_budget:
            return True
        return self._budget.take(self._reactor.now)

    def retried(self, exchange: Exchange, cause: str) -> None:
        if len(exchange.tried) == 1:
            self._budget.retrying += 1
        self._counters.add(RETRIES, cause)

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
        # A peer's gateway looks at the HTTP status to go elsewhere; what is forbidden is so for its client.
        final = not exchange.origin.peer or status == 403
        grpc = final and find(exchange.head.headers, b"content-type").startswith(b"application/grpc")
        return refusal(exchange.head, status=status, reason=reason, detail=detail, where=where, grpc=grpc)
