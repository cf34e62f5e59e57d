"""The exchange: the state machine of one request, from its head to the last byte of its response.

    downstream ── Exchange ── Attempt ── upstream
                     │
                     └─────── Attempt ── another upstream, when the first failed and it is safe

A server's connection makes an `Exchange` for each request and tells it what the client sends. The exchange asks for a
target, and an `Attempt` carries the request there and tells the exchange what comes back. Everything is synchronous:
commands go to the codecs at once, and the connections are flushed when the chunk has been handled.

What the client has sent is held, up to `REPLAY_BYTES`, for as long as another attempt is possible: until a response is
passed on. A small response to a replayable request is itself held until it is whole (`HELD_RESPONSE_BYTES`), so that an
upstream that dies in the middle of it costs nothing.

A raw TCP connection is a CONNECT here as on the tunnel, with two differences: the exchange ends when both sides have
ended, and nothing is held once the upstream accepted it.
"""

from __future__ import annotations

from typing import Protocol

from discovery.model import Protocol as ServiceProtocol
from gateway.codec.events import ErrorCode, Header, RequestHead, ResponseHead
from gateway.connection import ClientConnection, Relay, ServerConnection
from gateway.failover.outcome import Outcome, http_status_of_grpc
from gateway.failover.target import RemoteTarget, Target
from gateway.headers import NO_HEALTHY_UPSTREAM, REASON, find, passed_trailers, without_ours
from gateway.retry import IDEMPOTENT_METHODS, REPLAY_BYTES, Failure, may_retry
from gateway.routing import Origin, Route

HELD_RESPONSE_BYTES = 16_384


class RequestPath(Protocol):
    """What an exchange needs of the worker around it."""

    @property
    def now(self) -> float:
        """Seconds of the event loop's clock."""
        ...

    def route(self, exchange: Exchange) -> Route | None: ...
    def objection(self, exchange: Exchange, route: Route) -> tuple[str, str] | None:
        """Why a peer's request is not let in: the reason and words for it; None if it is."""
        ...

    def choose(self, exchange: Exchange, route: Route) -> Target | None: ...
    def has_better(self, exchange: Exchange) -> bool:
        """Whether there is a target other than what was tried, and better than one that is silent."""
        ...

    def outbound_head(self, exchange: Exchange, route: Route, target: Target) -> RequestHead: ...
    def submit(self, attempt: Attempt) -> None:
        """Finds a connection for an attempt and calls its `attached`, or `failed`; now or later."""
        ...

    def observed(self, attempt: Attempt, outcome: Outcome, latency_s: float) -> None:
        """Told once of each attempt that came to a verdict: the status that it ended with, or why it failed, and how
        long the head of the response, or the failure, took. An attempt that the client gave up before its upstream
        answered has none."""
        ...

    def may_spend_retry(self, exchange: Exchange, failure: Failure) -> bool: ...
    def refusal(self, exchange: Exchange, status: int, reason: str, detail: str) -> tuple[ResponseHead, bytes]: ...
    def retried(self, exchange: Exchange, failure: Failure) -> None: ...
    def finished(self, exchange: Exchange) -> None: ...


class Exchange:
    """One request of a downstream connection. `RequestHandler` for that connection."""

    __slots__ = (
        "attempt",
        "client",
        "connect",
        "conns_tried",
        "detail",
        "down",
        "failure",
        "head",
        "held_body",
        "held_bytes",
        "origin",
        "path",
        "reason",
        "replayable",
        "request_ended",
        "request_relay",
        "request_trailers",
        "responded",
        "response_ended",
        "route",
        "started",
        "status",
        "stream_id",
        "tried",
    )

    def __init__(
        self,
        path: RequestPath,
        down: ServerConnection,
        stream_id: int,
        head: RequestHead,
        *,
        end_stream: bool,
        now: float,
        client: bytes,
        origin: Origin,
    ) -> None:
        self.path = path
        self.down = down
        self.stream_id = stream_id
        self.head = head
        self.client = client
        self.origin = origin
        self.connect = head.method == b"CONNECT"
        self.started = now
        self.route: Route | None = None
        self.attempt: Attempt | None = None
        self.tried: list[Target] = []
        self.conns_tried: list[ClientConnection] = []
        """The tunnels that were used: another gateway of the same cluster may answer."""
        self.failure: Failure | None = None
        self.detail = ""
        self.request_ended = end_stream
        self.request_trailers: list[Header] | None = None
        self.request_relay = Relay(down, stream_id)
        self.held_body: list[bytes] = []
        self.held_bytes = 0
        self.replayable = True
        self.responded = False
        self.response_ended = False
        self.status = 0
        self.reason = ""

    # The request's way.

    def begin(self) -> None:
        self.down.handlers[self.stream_id] = self
        self.route = self.path.route(self)
        if self.route is None:
            self.refuse(404, "no-route", "no service of that name may be reached from here")
        elif self.origin.peer and (refusal := self.path.objection(self, self.route)) is not None:
            self.refuse(403, *refusal)
        else:
            self._attempt_next()

    def _attempt_next(self) -> None:
        assert self.route is not None
        target = self.path.choose(self, self.route)
        if target is None:
            self._give_up()
            return
        if self.failure is not None:
            self.path.retried(self, self.failure)
        self.tried.append(target)
        self.attempt = Attempt(self, target)
        self.path.submit(self.attempt)

    def on_request_data(self, data: bytes, end_stream: bool) -> None:
        self.request_ended = end_stream
        attempt = self.attempt
        sending = attempt is not None and attempt.conn is not None
        if self.replayable or not sending:
            self._hold(data, sending)
        if sending:
            assert attempt is not None
            attempt.send_data(data, end_stream)
        if end_stream:
            self._finish_if_done()

    def _hold(self, data: bytes, sending: bool) -> None:
        self.held_body.append(data)
        self.held_bytes += len(data)
        if self.held_bytes > REPLAY_BYTES:
            self.replayable = False
            if sending:
                self.forget_body()

    def forget_body(self) -> None:
        self.held_body = []
        self.held_bytes = 0

    def on_request_trailers(self, headers: list[Header]) -> None:
        headers = passed_trailers(headers)
        self.request_ended = True
        self.request_trailers = headers
        if self.attempt is not None and self.attempt.conn is not None:
            self.attempt.send_trailers(headers)
        self._finish_if_done()

    def on_request_reset(self) -> None:
        """The client gave up, or is gone."""
        self.reason = self.reason or "downstream-reset"
        self._drop_attempt()
        self._finish()

    # The response's way.

    def on_informational(self, head: ResponseHead) -> None:
        self.down.codec.send_informational(self.stream_id, head)
        self.down.touch()

    def pass_response(self, head: ResponseHead, end_stream: bool) -> None:
        self.responded = True
        self.status = head.status
        self.replayable = False
        self.forget_body()
        self.down.codec.send_response(self.stream_id, head, end_stream)
        self.down.touch()
        if end_stream:
            self._response_has_ended()

    def pass_data(self, data: bytes, end_stream: bool, relay: Relay) -> None:
        self.down.relay(self.stream_id, data, end_stream, relay)
        if end_stream:
            self._response_has_ended()

    def pass_trailers(self, headers: list[Header]) -> None:
        self.down.codec.send_trailers(self.stream_id, passed_trailers(headers))
        self.down.touch()
        self._response_has_ended()

    def _response_has_ended(self) -> None:
        self.response_ended = True
        self._finish_if_done()

    # Failing.

    def attempt_failed(self, failure: Failure, detail: str) -> None:
        """The present attempt came to nothing. Another one, an answer of ours, or the end of the stream."""
        self.attempt = None
        self.failure, self.detail = failure, detail
        if self.responded:
            self.reason = failure.value
            self.down.codec.reset(self.stream_id, ErrorCode.INTERNAL_ERROR)
            self.down.touch()
            self._finish()
        elif may_retry(
            failure, self.head.method, replayable=self.replayable, attempts=len(self.tried)
        ) and self.path.may_spend_retry(self, failure):
            self._attempt_next()
        else:
            self._refuse_for(failure, detail)

    def attempt_stalled(self) -> None:
        """The upstream of the present attempt is silent, and may never answer. What may be repeated goes elsewhere, if
        there is somewhere better; it has no verdict on the upstream, which may only be slow."""
        failure, attempt = Failure.CONNECTION_LOST, self.attempt
        if attempt is None or self.responded:
            return
        if not may_retry(failure, self.head.method, replayable=self.replayable, attempts=len(self.tried)):
            return
        if self.path.has_better(self):
            attempt.end(whole=False)
            self.attempt_failed(failure, "the upstream is silent")

    def _give_up(self) -> None:
        """No target is left."""
        if self.failure is None or self.failure.unprocessed:
            # A peer goes elsewhere; what our endpoints are called, and what ails them, is our business.
            why = f"; the last one: {self.detail}" if self.detail and not self.origin.peer else ""
            self.refuse(503, NO_HEALTHY_UPSTREAM.decode(), f"no healthy endpoint can be reached{why}")
        else:
            self._refuse_for(self.failure, "every other place was tried")

    def _refuse_for(self, failure: Failure, detail: str) -> None:
        if failure.unprocessed:
            self.refuse(503, failure.value, detail)
        else:
            self.refuse(504 if failure is Failure.TIMEOUT else 502, failure.value, detail)

    def refuse(self, status: int, reason: str, detail: str) -> None:
        """Answers with an error of our own, which carries its reason."""
        self.reason = reason
        self.status = status
        self.responded = True
        head, body = self.path.refusal(self, status, reason, detail)
        self.down.codec.send_response(self.stream_id, head, end_stream=not body)
        if body:
            self.down.codec.send_data(self.stream_id, body, end_stream=True)
        self.down.touch()
        self._finish()

    # Ending.

    def _finish_if_done(self) -> None:
        if self.response_ended and (self.request_ended or not self.connect):
            attempt, self.attempt = self.attempt, None
            if attempt is not None:
                attempt.end(whole=self.request_ended)
            self._finish()

    def _drop_attempt(self) -> None:
        attempt, self.attempt = self.attempt, None
        if attempt is not None:
            attempt.end(whole=False)

    def _finish(self) -> None:
        self.down.handlers.pop(self.stream_id, None)
        self.down.forget(self.stream_id)
        self.request_relay.settle()
        self.forget_body()
        self.path.finished(self)


class Attempt:
    """One try of an exchange at one target. `ResponseHandler` for the upstream's connection."""

    __slots__ = (
        "began",
        "conn",
        "ended",
        "exchange",
        "held_bytes",
        "held_data",
        "held_head",
        "latency_s",
        "observed",
        "relay",
        "status",
        "stream_id",
        "target",
    )

    def __init__(self, exchange: Exchange, target: Target) -> None:
        self.exchange = exchange
        self.target = target
        self.conn: ClientConnection | None = None
        self.stream_id = 0
        self.began = exchange.path.now
        self.status = 0
        """What the upstream answered, as health is judged by it; 0 before it did."""
        self.latency_s = 0.0
        self.observed = False
        self.ended = False
        self.relay: Relay | None = None
        self.held_head: ResponseHead | None = None
        self.held_data: list[bytes] = []
        self.held_bytes = 0

    # From the pool or the tunnels.

    def attached(self, conn: ClientConnection) -> None:
        """A connection is ready: the request goes out, with what of its body has come so far."""
        exchange = self.exchange
        assert exchange.route is not None
        head = exchange.path.outbound_head(exchange, exchange.route, self.target)
        body, trailers = exchange.held_body, exchange.request_trailers
        ended = exchange.request_ended
        self.conn = conn
        self.stream_id = conn.open(head, ended and not body and trailers is None, self)
        self.relay = Relay(conn, self.stream_id)
        for i, data in enumerate(body):
            self.send_data(data, ended and trailers is None and i == len(body) - 1)
        if trailers is not None:
            self.send_trailers(trailers)
        if not exchange.replayable:
            exchange.forget_body()

    def failed(self, failure: Failure, detail: str) -> None:
        """No connection could be had."""
        if not self.ended:
            self.ended = True
            self._fail(failure, detail)

    def _fail(self, failure: Failure, detail: str) -> None:
        self._observe(failure, self.exchange.path.now - self.began)
        self.exchange.attempt_failed(failure, detail)

    def _observe(self, outcome: Outcome, latency_s: float) -> None:
        if not self.observed:
            self.observed = True
            self.exchange.path.observed(self, outcome, latency_s)

    # From the exchange.

    def send_data(self, data: bytes, end_stream: bool) -> None:
        assert self.conn is not None
        self.conn.relay(self.stream_id, data, end_stream, self.exchange.request_relay)

    def send_trailers(self, headers: list[Header]) -> None:
        assert self.conn is not None
        self.conn.codec.send_trailers(self.stream_id, headers)
        self.conn.touch()

    def end(self, *, whole: bool) -> None:
        """The exchange needs no more of this attempt. `whole`: both messages ended cleanly."""
        if self.ended:
            return
        self.ended = True
        if self.conn is None:
            return
        if self.status:
            self._observe(self.status, self.latency_s)
        if whole:
            self.conn.release(self.stream_id)
        else:
            self.conn.give_up(self.stream_id, ErrorCode.CANCEL)
        if self.relay is not None:
            self.relay.settle()

    # From the upstream's connection.

    def on_informational(self, head: ResponseHead) -> None:
        if head.status != 100:
            self.exchange.on_informational(head)

    def on_response(self, head: ResponseHead, end_stream: bool) -> None:
        exchange = self.exchange
        if isinstance(self.target, RemoteTarget):
            if head.status == 503 and find(head.headers, REASON) == NO_HEALTHY_UPSTREAM:
                self.end(whole=end_stream and exchange.request_ended)
                self._fail(Failure.NO_HEALTHY_UPSTREAM, "the other cluster has no healthy endpoint")
                return
        else:
            head = without_ours(head)
        self._answered(head, end_stream)
        if not end_stream and self._holds(head):
            self.held_head = head
        else:
            exchange.pass_response(head, end_stream)

    def _answered(self, head: ResponseHead, end_stream: bool) -> None:
        """Notes the status and when it came. The verdict waits for the end, as the response may still be lost; that of
        a CONNECT does not, as its stream may last for days."""
        exchange = self.exchange
        self.status = head.status
        self.latency_s = exchange.path.now - self.began
        if end_stream:
            self._judge_grpc(head.headers)
        if exchange.connect:
            self._observe(self.status, self.latency_s)

    def _judge_grpc(self, headers: list[Header]) -> None:
        route = self.exchange.route
        if route is not None and route.port.protocol is ServiceProtocol.GRPC:
            self.status = http_status_of_grpc(find(headers, b"grpc-status"), self.status)

    def _holds(self, head: ResponseHead) -> bool:
        """Whether this response is short enough to wait for its end before any of it is passed on."""
        exchange = self.exchange
        if not exchange.replayable or exchange.head.method not in IDEMPOTENT_METHODS:
            return False
        length = find(head.headers, b"content-length")
        return len(length) <= 5 and length.isdigit() and int(length) <= HELD_RESPONSE_BYTES

    def on_response_data(self, data: bytes, end_stream: bool) -> None:
        if self.held_head is not None:
            self.held_data.append(data)
            self.held_bytes += len(data)
            if not end_stream and self.held_bytes <= HELD_RESPONSE_BYTES:
                return
            self._pass_held()
            data = self.held_data.pop()
        assert self.relay is not None
        self.exchange.pass_data(data, end_stream, self.relay)

    def on_response_trailers(self, headers: list[Header]) -> None:
        self._judge_grpc(headers)
        self._pass_held()
        self._pass_held_data()
        self.exchange.pass_trailers(headers)

    def _pass_held(self) -> None:
        """The held head, and all held data but the last, which the caller has."""
        head, self.held_head = self.held_head, None
        if head is not None:
            self.exchange.pass_response(head, end_stream=False)
            last = self.held_data[-1:]
            self.held_data = self.held_data[:-1]
            self._pass_held_data()
            self.held_data = last

    def _pass_held_data(self) -> None:
        assert self.relay is not None
        held, self.held_data = self.held_data, []
        for data in held:
            self.exchange.pass_data(data, False, self.relay)

    def on_stall(self) -> None:
        if not self.ended:
            self.exchange.attempt_stalled()

    def on_response_reset(self, code: int, *, unprocessed: bool, lost: bool) -> None:
        if self.ended:
            return
        if unprocessed:
            failure = Failure.REFUSED
        elif lost:
            failure = Failure.CONNECTION_LOST
        elif code == ErrorCode.PROTOCOL_ERROR:
            failure = Failure.PROTOCOL
        else:
            failure = Failure.RESET
        self.ended = True
        if self.relay is not None:
            self.relay.settle()
        self._fail(failure, f"the upstream ended the stream (code {code})")
