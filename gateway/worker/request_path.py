"""The request path of one worker: what an exchange asks for, put together from the parts that know.

Routes come from `RouteTable`, targets from `FailoverDecisions`, connections from `EndpointPools` and `Tunnels`,
permission to retry from `RetryBudget`; what happened is counted in `WorkerCounters`.
"""

from __future__ import annotations

import random
import socket
from collections.abc import Iterable
from functools import partial
from typing import Final

from discovery.model import Protocol
from gateway.callers import NotAllowed, SourceNotBelieved, WorkloadIdentities
from gateway.codec.events import Header, RequestHead, ResponseHead
from gateway.codec.headers import (
    ATTEMPT,
    GRPC_TIMEOUT,
    SOURCE,
    ForwardedFor,
    begin_trace,
    find,
    replaced,
    request_headers,
    source_value,
)
from gateway.codec.interface import Codec
from gateway.durations import add_duration
from gateway.endpoint.endpoints import EndpointPools, endpoint_protocol
from gateway.failover.attempt_numbers import attempt_value
from gateway.failover.decisions import FailoverDecisions
from gateway.failover.events import Cause, EventKind
from gateway.failover.explanation import LoadExplanation
from gateway.failover.outcome import Outcome
from gateway.failover.reach import GatewayReach
from gateway.failover.retry import Failure
from gateway.failover.retry_budget import RetryBudget
from gateway.failover.target import LocalTarget, RemoteTarget, Target
from gateway.request.attempt import Attempt
from gateway.request.breaker import Breaker
from gateway.request.carried_service import CarriedService
from gateway.request.exchange import Exchange
from gateway.request.exchange_path import RequestPath
from gateway.request.exchange_watch import ExchangeWatch
from gateway.request.grpc_timeout import format_grpc_timeout
from gateway.request.last_resort import LastResort
from gateway.request.refusal import refusal
from gateway.request.service_load import explain_load
from gateway.route import Origin, Route
from gateway.routing import RouteTable
from gateway.snapshot import LocalResource, PeerResource, ServiceResource
from gateway.telemetry import FAILOVERS, OVERFLOWS, REQUESTS, RETRIES, WorkerCounters
from gateway.transport.reactor import Reactor
from gateway.transport.server_connection import ServerConnection
from gateway.transport.tls_socket import TlsSocket
from gateway.tunnel.tunnels import Tunnels

SOURCE_NOT_BELIEVED: Final = "source-not-believed"
NOT_ALLOWED: Final = "not-allowed"
# Source values for as many local clients as may be at work at once.
_SOURCES_REMEMBERED: Final = 4096
_STATUS: Final = [str(status) for status in range(1000)]


class WorkerRequestPath(RequestPath):
    """Implements `exchange_path.RequestPath`."""

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
        self._last_resort = LastResort(tunnels)
        self._reactor = reactor
        self._rng = rng
        self._counters = counters
        self.clock = reactor
        self.watch = ExchangeWatch(reactor)
        self.failover = FailoverDecisions(routes, rng, self._count_failover)
        self._budget = RetryBudget()
        self._services: dict[str, CarriedService] = {}
        self._breakers: dict[str, dict[str, Breaker]] = {}
        """By service and place. What is in progress stays counted when the service's traffic changes."""
        # Made once: they are used for every request.
        self._loads = {protocol: partial(self._load, protocol) for protocol in Protocol}
        self._requests = counters.counts[REQUESTS.name]
        self._workloads: WorkloadIdentities | None = None
        self._sources: dict[str, Header] = {}
        self._via: bytes = b""

    # Following the snapshot.

    def changed(self, resource: ServiceResource | PeerResource | LocalResource) -> None:
        """A resource is new or gone: what was computed from it is forgotten."""
        self.failover.changed(resource)
        if isinstance(resource, LocalResource):
            self._workloads = WorkloadIdentities(resource.trust_domain, resource.workloads)
            self._sources.clear()
            self._services.clear()
            self._via = f"1.1 {resource.cluster}.{resource.federation}.isthmus".encode()

    def follow_tunnels(self, now: float) -> None:
        """Tunnels opened or ended, or were measured again."""
        self.failover.take_tunnels(
            [GatewayReach(t.cluster, t.gateway, t.ready, t.rtt_ms / 1000) for t in self._tunnels.report()], now
        )

    def _count_failover(self, service: str, kind: EventKind, cause: Cause) -> None:
        self._counters.add(FAILOVERS, service, kind.value, cause.value)

    # Connections that ask.

    def serve(self, sock: socket.SocketType | TlsSocket, codec: Codec, origin: Origin, client: str) -> ServerConnection:
        """A server's connection whose requests begin exchanges here. `client` is its other end, "ip:port"."""
        forwarded_for = ForwardedFor(b'for="%b"' % client.encode())
        budget, clock, rng, local = self._budget, self._reactor, self._rng, origin.peer == ""

        def begin(conn: ServerConnection, stream_id: int, head: RequestHead, end_stream: bool) -> None:
            budget.active += 1
            if local and head.scheme:  # A TCP stream has no fields.
                begin_trace(head.headers, rng)
            Exchange(self, conn, stream_id, head, end_stream, clock.now, forwarded_for, origin).begin()

        return ServerConnection(self._reactor, sock, codec, begin)

    # What an exchange asks for.

    def service(self, route: Route) -> CarriedService:
        label = route.label
        service = self._services.get(label)
        if service is None:
            local = self._routes.local
            assert local is not None, "there is no route before the first snapshot"
            breakers = self._breakers.setdefault(label, {})
            service = self._services[label] = CarriedService(
                local.traffic.of(route.service.name), self._counters.durations_of(label), breakers
            )
        return service

    def route(self, exchange: Exchange) -> Route | None:
        return self._routes.find(exchange.head.authority, exchange.origin)

    def objection(self, exchange: Exchange, route: Route) -> tuple[str, str] | None:
        caller, head = exchange.origin.caller, exchange.head
        if caller is None:
            return (NOT_ALLOWED, "nobody knows who calls") if route.service.allow else None
        try:
            identity = caller.source(head.headers, exchange.fields)
            caller.check(route.service, identity, connect=exchange.connect and not head.protocol)
        except SourceNotBelieved as error:
            return SOURCE_NOT_BELIEVED, str(error)
        except NotAllowed as refusal:
            return NOT_ALLOWED, str(refusal)
        return None

    def choose(self, exchange: Exchange, route: Route) -> Target | None:
        failure = exchange.failure
        if failure is not None and (target := self._last_resort.same_cluster(exchange, failure)) is not None:
            return target
        return self._next_place(exchange, route) or self._last_resort.of(exchange, route)

    def has_better(self, exchange: Exchange) -> bool:
        route = exchange.route
        if route is None:
            return False
        last = exchange.tried[-1]
        if isinstance(last, RemoteTarget) and self._tunnels.has_other(last.cluster, exchange.conns_tried):
            return True
        return self._next_place(exchange, route) is not None

    def is_hopeless(self, exchange: Exchange) -> bool:
        return self._last_resort.is_hopeless(exchange)

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
        scheme = head.scheme
        if type(target) is RemoteTarget:
            host = exchange.origin.host
            source = self._sources.get(host) or self._source_of(host)
            ours = (source, (ATTEMPT, attempt_value(attempt.number, attempt.last)))
        elif scheme and target.tls:
            scheme = b"https"
        forwarded = exchange.client.element(head.authority, head.scheme)
        headers = request_headers(head.headers, forwarded, self._via, ours, exchange.origin.peer != "")
        if timer is not None and (left_s := timer.call_left_s(self._reactor.now)) is not None:
            headers = replaced(headers, GRPC_TIMEOUT, format_grpc_timeout(left_s))
        return RequestHead(head.method, scheme, route.authority, head.path, headers, head.protocol, head.upgrade_method)

    def _source_of(self, host: str) -> Header:
        """What the peer is told of a local client."""
        local = self._routes.local
        assert local is not None, "there is no route before the first snapshot"
        assert self._workloads is not None
        if len(self._sources) >= _SOURCES_REMEMBERED:
            self._sources.clear()
        identity = str(self._workloads.of(host))
        field = self._sources[host] = (SOURCE, source_value(local.cluster, local.locality, identity))
        return field

    def submit(self, attempt: Attempt) -> None:
        exchange, target = attempt.exchange, attempt.target
        service = exchange.service
        assert service is not None
        place = target.cluster if type(target) is RemoteTarget else target.place
        breaker = service.breakers.get(place) or service.add_breaker(place)
        over = breaker.enter(service.traffic.limits, attempt.retry)
        if over:
            self._overflow(attempt, breaker, over)
            return
        attempt.breaker = breaker
        if type(target) is RemoteTarget:
            self._submit_remote(attempt, target)
        else:
            self._submit_local(attempt, target)

    def _submit_local(self, attempt: Attempt, target: LocalTarget) -> None:
        exchange = attempt.exchange
        assert exchange.route is not None
        protocol = endpoint_protocol(exchange.route.port.protocol, exchange.head)
        over = self._pools.get(target.address, protocol, target.tls).submit(attempt, exchange.traffic.limits)
        if over:
            assert attempt.breaker is not None
            self._overflow(attempt, attempt.breaker, over)

    def _submit_remote(self, attempt: Attempt, target: RemoteTarget) -> None:
        tried = attempt.exchange.conns_tried
        conn = self._tunnels.pick(target.cluster, tried, stream=attempt.exchange.connect)
        if conn is not None:
            tried.append(conn)
            attempt.attached(conn)
        elif self._tunnels.is_returning(target.cluster):
            self._tunnels.wait(target.cluster, lambda: self._submit_again(attempt, target))
        else:
            attempt.failed(Failure.CONNECT, f"no tunnel to {target.cluster} is ready")

    def _submit_again(self, attempt: Attempt, target: RemoteTarget) -> None:
        """The cluster that it waited for is back, or not expected any more."""
        if not attempt.ended:
            self._submit_remote(attempt, target)

    def _overflow(self, attempt: Attempt, breaker: Breaker, limit: str) -> None:
        """`limit`: the name of what is exceeded, one of those of `Limits`."""
        exchange, place = attempt.exchange, attempt.target.place
        route, most = exchange.route, getattr(exchange.traffic.limits, limit)
        assert route is not None
        self._counters.add(OVERFLOWS, route.label, place, limit)
        now = self._reactor.now
        if breaker.overflowed(now):
            numbers = {"limit": float(most), "in_progress": float(breaker.requests)}
            self.failover.events.add(route.label, EventKind.OVERFLOWED, place, Cause.LIMIT, numbers, now)
        attempt.overflowed(f"limits.{limit} of {route.label} in {place} is {most}")

    def explain_load(self, route: Route) -> LoadExplanation:
        """What is carried of a service now, beside what may be."""
        local = self._routes.local
        assert local is not None, "nothing is explained before the first snapshot"
        limits, breakers = local.traffic.of(route.service.name).limits, self._breakers.get(route.label, {})
        return explain_load(route.service, limits, breakers, self._pools, self._budget)

    def observed(self, attempt: Attempt, outcome: Outcome, latency_s: float) -> None:
        route, service = attempt.exchange.route, attempt.exchange.service
        assert route is not None
        assert service is not None
        self.failover.observed(route.label, attempt.target, outcome, latency_s, self._reactor.now)
        if service.sketch is not None and isinstance(outcome, int) and outcome < 500:
            service.sketch.observe(latency_s)

    def is_doubted(self, attempt: Attempt) -> bool:
        route = attempt.exchange.route
        return route is not None and self.failover.is_doubted(route.label, attempt.target)

    def may_spend_retry(self, exchange: Exchange, failure: Failure | None) -> bool:
        if failure is not None and not failure.costs_budget:
            return True
        return self._budget.take(self._reactor.now)

    def retried(self, exchange: Exchange, cause: str) -> None:
        if len(exchange.tried) == 1:
            self._budget.retrying += 1
        self._counters.add(RETRIES, cause)

    def finished(self, exchange: Exchange) -> None:
        self.watch.remove(exchange)
        self._budget.active -= 1
        tried, route, service = exchange.tried, exchange.route, exchange.service
        if len(tried) > 1:
            self._budget.retrying -= 1
        label = route.label if route is not None else ""
        destination = ""
        if tried:
            # Not `place` of both: an interpreted property, for each request.
            last = tried[-1]
            destination = last.cluster if type(last) is RemoteTarget else last.place
        source = exchange.origin.peer or "local"
        self._requests[source, label, destination, _STATUS[exchange.status], exchange.reason] += 1
        if label:
            row = service.durations if service is not None else self._counters.durations_of(label)
            add_duration(row, self._reactor.now - exchange.started)

    def refusal(self, exchange: Exchange, status: int, reason: str, detail: str) -> tuple[ResponseHead, bytes]:
        """An answer of our own. A gRPC client of ours gets a gRPC status, which is all that it looks at."""
        local = self._routes.local
        where = f"cluster {local.cluster}" if local is not None else "a gateway without a snapshot"
        # A peer's gateway looks at the HTTP status to go elsewhere; what is forbidden is so for its client.
        final = not exchange.origin.peer or status == 403
        grpc = final and find(exchange.head.headers, b"content-type").startswith(b"application/grpc")
        return refusal(exchange.head, status=status, reason=reason, detail=detail, where=where, grpc=grpc)
