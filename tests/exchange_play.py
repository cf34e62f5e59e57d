"""The state machine of one request, played without sockets.

Connections are real, their codecs are recorders: what an exchange tells the client's and the upstream's codec is
what is asserted. `Play` is the worker around it, with targets that a test names, and a clock that it sets.
"""

from __future__ import annotations

import socket
from collections.abc import Callable, Sequence
from typing import Any, cast

import msgspec

from discovery.model import Port, Protocol, ServiceName
from gateway.codec.events import Event, Header, RequestHead, Response, ResponseHead
from gateway.codec.headers import ATTEMPT, ForwardedFor
from gateway.codec.interface import Codec
from gateway.codec.limits import CodecFailure, Lent
from gateway.durations import DURATION_ROW
from gateway.failover.attempt_numbers import attempt_value
from gateway.failover.outcome import Outcome
from gateway.failover.retry import Failure
from gateway.failover.target import RemoteTarget, Target
from gateway.request.attempt import Attempt
from gateway.request.carried_service import CarriedService
from gateway.request.exchange import Exchange
from gateway.request.exchange_path import RequestPath
from gateway.request.exchange_watch import ExchangeWatch
from gateway.request.refusal import refusal
from gateway.route import LOCAL_ORIGIN, Origin, Route
from gateway.snapshot import ServiceResource
from gateway.traffic import DEFAULT_TRAFFIC, Traffic
from gateway.transport.client_connection import ClientConnection
from gateway.transport.deadlines import Clock, Deadline, Deadlines
from gateway.transport.reactor import Reactor
from gateway.transport.server_connection import ServerConnection

SERVICE = ServiceResource(ServiceName("shop", "payments"), "", (Port("http", 80, Protocol.HTTP),))
ROUTE = Route(SERVICE, SERVICE.ports[0], b"payments.shop.svc.clusterset.local:80", "shop/payments")
WEST, EU = RemoteTarget("west"), RemoteTarget("eu")
UNHEALTHY = ResponseHead(503, [(b"isthmus-reason", b"no-healthy-upstream")])


class Recorder(Codec):
    """A codec that notes its commands."""

    failure: CodecFailure | None = None
    closing = paused = half_closed = mid_head = False
    can_open = True

    def __init__(self) -> None:
        self.said: list[tuple[Any, ...]] = []
        self.heads: list[ResponseHead] = []
        self.queued_bytes = 0
        self.consumed_bytes = 0
        self._streams = 0

    @property
    def open_streams(self) -> int:
        return self._streams

    def receive(self, data: Lent) -> list[Event]:
        raise AssertionError("nobody reads here")

    def receive_eof(self) -> list[Event]:
        return []

    def resume(self) -> list[Event]:
        return []

    def data_to_send(self) -> bytes:
        return b""

    def send_request(self, head: RequestHead, end_stream: bool) -> int:
        self._streams += 1
        self.said.append(("request", head.method, end_stream))
        return self._streams

    def send_informational(self, stream_id: int, head: ResponseHead) -> None:
        self.said.append(("informational", head.status))

    def send_response(self, stream_id: int, head: ResponseHead, end_stream: bool) -> None:
        self.heads.append(head)
        self.said.append(("response", head.status, end_stream))

    def send_data(self, stream_id: int, data: bytes, end_stream: bool) -> None:
        self.said.append(("data", data, end_stream))

    def send_trailers(self, stream_id: int, headers: Sequence[Header]) -> None:
        self.said.append(("trailers", list(headers)))

    def reset(self, stream_id: int, code: int) -> None:
        self.said.append(("reset", code))

    def consumed(self, stream_id: int, size: int) -> None:
        self.consumed_bytes += size

    def queued(self, stream_id: int) -> int:
        return self.queued_bytes

    def ping(self, payload: bytes) -> bool:
        return False

    def drain(self) -> None: ...

    def drained(self) -> None: ...

    def expire_head(self) -> None: ...


class Unread:
    """A socket that is never read nor written."""

    def fileno(self) -> int:
        return -1


def nowhere() -> socket.socket:
    return cast(socket.socket, Unread())


class PlayClock(Clock):
    """Stands still until it is told otherwise."""

    def __init__(self, deadlines: Deadlines) -> None:
        self.now = 0.0
        self._deadlines = deadlines

    def call_at(self, when: float, action: Callable[[], None]) -> Deadline:
        return self._deadlines.add(when, action)


class Play(RequestPath):
    """The worker around one exchange."""

    def __init__(
        self,
        *targets: Target,
        method: bytes = b"GET",
        ended: bool = True,
        routed: bool = True,
        protocol: Protocol = Protocol.HTTP,
        traffic: Traffic = DEFAULT_TRAFFIC,
        headers: Sequence[Header] = (),
        origin: Origin = LOCAL_ORIGIN,
        upgrade: bytes = b"",
    ) -> None:
        self.reactor = Reactor()
        self.client = Recorder()
        self.down = ServerConnection(self.reactor, nowhere(), self.client, lambda *_: None)
        self.targets = [*targets]
        self.upstreams: list[tuple[Target, Recorder, ClientConnection]] = []
        self.pending: list[Attempt] = []
        self.retries: list[str] = []
        self.heads: list[RequestHead] = []
        """What each upstream was asked."""
        self.overflows: set[Target] = set()
        self.hopeless = False
        self.doubted: set[Target] = set()
        self.hedge_after_s: float | None = None
        self.objects_with: tuple[str, str] | None = None
        self.deadlines = Deadlines()
        self.outcomes: list[tuple[int, str]] = []
        self.verdicts: list[tuple[Target, Outcome, float]] = []
        self.clock = PlayClock(self.deadlines)
        self.watch = ExchangeWatch(self.clock)
        self.budget = True
        self.connect_later = False
        port = Port("http", 80, protocol)
        self._route = Route(SERVICE, port, ROUTE.authority, ROUTE.label) if routed else None
        self._traffic = traffic
        head = RequestHead(method, b"http", b"payments", b"/", [*headers], upgrade)
        self.exchange = Exchange(
            self, self.down, 1, head, end_stream=ended, now=0.0, client=ForwardedFor(b"for=c"), origin=origin
        )

    def begin(self) -> Play:
        self.exchange.begin()
        return self

    def send(self, *events: Event) -> Play:
        """Events from the client."""
        for event in events:
            self.down._dispatch(event)
        return self

    def answer(self, *events: Event, upstream: int = -1) -> Play:
        """Events from an upstream: the last one unless another is named."""
        for event in events:
            self.upstreams[upstream][2]._dispatch(event)
        return self

    def lose(self, upstream: int = -1) -> Play:
        """An upstream's connection ends."""
        conn = self.upstreams[upstream][2]
        conn.closed = True
        conn._end_streams()
        return self

    def connect(self, attempt: Attempt) -> None:
        recorder = Recorder()
        conn = ClientConnection(self.reactor, nowhere(), recorder)
        self.upstreams.append((attempt.target, recorder, conn))
        attempt.attached(conn)
        # It has left, as at the end of a turn.
        conn._sent_until = conn.last_stream

    def route(self, exchange: Exchange) -> Route | None:
        return self._route

    def objection(self, exchange: Exchange, route: Route) -> tuple[str, str] | None:
        return self.objects_with

    def choose(self, exchange: Exchange, route: Route) -> Target | None:
        return next((target for target in self.targets if target not in exchange.tried), None)

    def has_better(self, exchange: Exchange) -> bool:
        assert exchange.route is not None
        return self.choose(exchange, exchange.route) is not None

    def is_hopeless(self, exchange: Exchange) -> bool:
        return self.hopeless

    def outbound_head(self, attempt: Attempt) -> RequestHead:
        head = attempt.exchange.head
        headers = [header for header in head.headers if header[0] != ATTEMPT]
        if isinstance(attempt.target, RemoteTarget):
            headers.append((ATTEMPT, attempt_value(attempt.number, attempt.last)))
        self.heads.append(RequestHead(head.method, head.scheme, head.authority, head.path, headers))
        return self.heads[-1]

    def wait_until(self, now: float) -> Play:
        """Time passes, and what is due on the way happens when it is."""
        while self.deadlines.next() <= now:
            self.now = max(self.now, self.deadlines.next())
            for action in self.deadlines.due(self.now):
                action()
        self.now = now
        return self

    def service(self, route: Route) -> CarriedService:
        service = CarriedService(self._traffic, [0.0] * DURATION_ROW, {})
        if self.hedge_after_s is not None:
            retries = msgspec.structs.replace(self._traffic.retries, hedge_after_s=self.hedge_after_s)
            service = CarriedService(msgspec.structs.replace(self._traffic, retries=retries), [], {})
        return service

    def submit(self, attempt: Attempt) -> None:
        if attempt.target in self.overflows:
            attempt.overflowed("limits.requests is 1")
        elif self.connect_later:
            self.pending.append(attempt)
        else:
            self.connect(attempt)

    @property
    def now(self) -> float:
        return self.clock.now

    @now.setter
    def now(self, now: float) -> None:
        self.clock.now = self.reactor.now = now

    def observed(self, attempt: Attempt, outcome: Outcome, latency_s: float) -> None:
        self.verdicts.append((attempt.target, outcome, latency_s))

    def is_doubted(self, attempt: Attempt) -> bool:
        return attempt.target in self.doubted

    def may_spend_retry(self, exchange: Exchange, failure: Failure | None) -> bool:
        return self.budget

    def refusal(self, exchange: Exchange, status: int, reason: str, detail: str) -> tuple[ResponseHead, bytes]:
        grpc = exchange.is_grpc and not exchange.origin.peer
        head, _ = refusal(exchange.head, status=status, reason=reason, detail=detail, where="east", grpc=grpc)
        return head, b""

    def retried(self, exchange: Exchange, cause: str) -> None:
        self.retries.append(cause)

    def finished(self, exchange: Exchange) -> None:
        self.watch.remove(exchange)
        self.outcomes.append((exchange.status, exchange.reason))

    @property
    def asked(self) -> list[Target]:
        return [target for target, _, _ in self.upstreams]


def ok(length: int | None = None, *, end: bool = False) -> Response:
    headers = [] if length is None else [(b"content-length", b"%d" % length)]
    return Response(1, ResponseHead(200, headers), end)
