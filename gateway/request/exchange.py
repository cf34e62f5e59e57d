"""The exchange: the state machine of one request, from its head to the last byte of its response.

    downstream ── Exchange ─┬─ Attempt ── upstream
                            └─ Attempt ── another upstream: the first failed and it is safe, or it is late (a hedge)

A server's connection makes an `Exchange` for each request and tells it what the client sends. The exchange asks for a
target, and an `Attempt` carries the request there and tells the exchange what comes back. Everything is synchronous:
commands go to the codecs at once, and the connections are flushed when the chunk has been handled. What time does is in
`exchange_timer`, what is done about failures in `exchange_failures`, what is said without an upstream in
`exchange_answers`.

What the client has sent is held, up to `REPLAY_BYTES`, for as long as another attempt is possible: until a response is
passed on. A small response to a replayable request is itself held until it is whole (`attempt.HELD_RESPONSE_BYTES`), so
that an upstream that dies in the middle of it costs nothing. Several attempts may be under way: the first whose
response is passed on wins, and the others are reset with CANCEL.

A raw TCP connection is a CONNECT here as on the tunnel, with two differences: the exchange ends when both sides have
ended, and nothing is held once the upstream accepted it.

What comes next has its place, and needs no second path. *Rate limits* and *aborts* (injected faults) refuse in
`begin`, once the route is known. A *delay* is a deadline of the timer, before `begin` goes on to its first attempt: the
body that comes meanwhile is held, as it is for an attempt that waits for its connection. *Weighted routes* are drawn by
`RequestPath.route`: an exchange keeps the one that it was given for all of its attempts. A *mirror* is one more attempt
that is not in `attempts`: it is sent what they are sent, its response goes nowhere, and nobody waits for it.
"""

from __future__ import annotations

from functools import partial

from gateway.codec.events import Header, RequestHead, ResponseHead
from gateway.codec.headers import ATTEMPT, EXPECT, GRPC_TIMEOUT, ForwardedFor, passed_trailers
from gateway.codec.upgrade import opens_tunnel
from gateway.failover.attempt_numbers import allotment, read_attempt
from gateway.failover.retry import (
    HEDGE,
    REPLAY_BYTES,
    Failure,
)
from gateway.failover.target import RemoteTarget, Target
from gateway.request.attempt import Attempt
from gateway.request.carried_service import CarriedService
from gateway.request.exchange_answers import CONTINUE_S, refuse, say_continue, tell_attempts
from gateway.request.exchange_failures import give_up
from gateway.request.exchange_path import RequestPath
from gateway.request.exchange_timer import ExchangeTimer
from gateway.route import Origin, Route
from gateway.traffic import DEFAULT_TRAFFIC, Traffic
from gateway.transport.client_connection import ClientConnection
from gateway.transport.relay import Relay
from gateway.transport.server_connection import RequestHandler, ServerConnection


class Exchange(RequestHandler):
    """One request of a downstream connection. `RequestHandler` for that connection."""

    __slots__ = (
        "attempts",
        "awaits_continue",
        "client",
        "connect",
        "conns_tried",
        "detail",
        "down",
        "failure",
        "fields",
        "first",
        "head",
        "held_body",
        "held_bytes",
        "is_grpc",
        "limit",
        "made",
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
        "service",
        "started",
        "status",
        "stream_id",
        "timer",
        "tried",
    )

    def __init__(
        self,
        path: RequestPath,
        down: ServerConnection,
        stream_id: int,
        head: RequestHead,
        end_stream: bool,
        now: float,
        client: ForwardedFor,
        origin: Origin,
    ) -> None:
        self.path = path
        self.down = down
        self.stream_id = stream_id
        self.head = head
        self.client = client
        self.origin = origin
        self.fields = fields = dict(head.headers)
        """The request's fields by name; of several of one name the last."""
        self.connect = head.method == b"CONNECT"
        """Whether it asks for a tunnel, plain or for an upgrade, or has one."""
        self.is_grpc = head.method == b"POST" and fields.get(b"content-type", b"").startswith(b"application/grpc")
        self.started = now
        self.route: Route | None = None
        self.service: CarriedService | None = None
        """What there is to know of the route's service; with a route always there."""
        self.timer: ExchangeTimer | None = None
        """None as long as there is nothing that time could do."""
        self.attempts: list[Attempt] = []
        """Those under way."""
        self.tried: list[Target] = []
        self.conns_tried: list[ClientConnection] = []
        """The tunnels that were used: another gateway of the same cluster may answer."""
        self.first = 1
        """The number of the first attempt here; a peer's gateway may have made others."""
        self.made = 0
        """The number of the last attempt that was made, or given to another gateway to make."""
        self.limit = 1
        """The number of the last that may be made."""
        self.failure: Failure | None = None
        self.detail = ""
        self.request_ended = end_stream
        self.awaits_continue = not end_stream and EXPECT in fields
        """Whether its client waits to be told that it may send the body, or a second."""
        self.request_trailers: list[Header] | None = None
        self.request_relay: Relay | None = None
        """Of the request's body, when there is one."""
        self.held_body: list[bytes] = []
        self.held_bytes = 0
        self.replayable = True
        self.responded = False
        self.response_ended = False
        self.status = 0
        self.reason = ""

    @property
    def queued(self) -> int:
        """Body bytes of both directions that wait to be sent."""
        upstream = sum(a.conn.codec.queued(a.stream_id) for a in self.attempts if a.conn is not None)
        return upstream + self.down.codec.queued(self.stream_id)

    # The request's way.

    def begin(self) -> None:
        path = self.path
        self.down.handlers[self.stream_id] = self
        route = self.route = path.route(self)
        if route is None:
            refuse(self, 404, "no-route", "no service of that name may be reached from here")
            return
        if self.origin.peer and (objection := path.objection(self, route)) is not None:
            refuse(self, 403, *objection)
            return
        self.service = service = path.service(route)
        self.limit = service.traffic.retries.attempts
        if self.origin.peer and ATTEMPT in self.fields:
            self._count_on(self.fields[ATTEMPT])
        if service.patient and GRPC_TIMEOUT not in self.fields:
            path.watch.add(self)
        else:
            self.begin_timer()
        if self.awaits_continue:
            path.clock.call_at(self.started + CONTINUE_S, partial(say_continue, self))
        self.attempt_next(None)

    def begin_timer(self) -> None:
        """From here on time counts."""
        assert self.service is not None
        now = self.path.clock.now
        self.timer = ExchangeTimer(self, self.service.traffic.timeouts, now)
        self.timer.start(now)

    def _count_on(self, value: bytes) -> None:
        """A peer's gateway may have tried before, and may try again: it says how far we may go."""
        said = read_attempt(value)
        if said is not None:
            self.first, last = said
            self.made = self.first - 1
            self.limit = min(last, self.made + self.limit)

    def attempt_next(self, cause: Failure | None) -> None:
        assert self.route is not None
        target = self.path.choose(self, self.route)
        if target is None:
            give_up(self)
        else:
            self.begin_attempt(target, cause)

    def begin_attempt(self, target: Target, cause: str | None) -> None:
        """`cause`: why it is not the first."""
        if cause is not None:
            self.path.retried(self, cause)
        self.tried.append(target)
        number = self.made + 1
        self.made = self.made + allotment(self.made, self.limit) if type(target) is RemoteTarget else number
        attempt = Attempt(self, target, number, self.made, retry=cause is not None)
        self.attempts.append(attempt)
        if self.timer is not None:
            self.timer.attempt_begun(attempt)
        self.path.submit(attempt)

    def hedge(self) -> None:
        """The first attempt is late. A second one is made beside it, if there is another place and the budget allows
        it."""
        if self.responded or len(self.attempts) != 1 or self.made >= self.limit or not self.replayable:
            return
        assert self.route is not None
        target = self.path.choose(self, self.route)
        if target is not None and self.path.may_spend_retry(self, None):
            self.begin_attempt(target, HEDGE)

    def on_request_data(self, data: bytes, end_stream: bool) -> None:
        if self.request_ended:
            # What was meant for a tunnel that did not come about.
            self.down.codec.consumed(self.stream_id, len(data))
            return
        self.request_ended = end_stream
        # Before the request has ended there are no hedges.
        attempt = self.attempts[0] if self.attempts else None
        sending = attempt is not None and attempt.conn is not None
        if self.replayable or not sending:
            self._hold(data, sending)
        if sending:
            assert attempt is not None
            attempt.send_data(data, end_stream)
        self._moved(end_stream)

    def _hold(self, data: bytes, sending: bool) -> None:
        self.held_body.append(data)
        self.held_bytes += len(data)
        if self.held_bytes > REPLAY_BYTES:
            self.replayable = False
            if sending:
                self.forget_body()

    def forget_body(self) -> None:
        if self.held_body:
            self.held_body = []
            self.held_bytes = 0

    def on_request_trailers(self, headers: list[Header]) -> None:
        headers = passed_trailers(headers)
        self.request_ended = True
        self.request_trailers = headers
        if self.attempts and self.attempts[0].conn is not None:
            self.attempts[0].send_trailers(headers)
        self._moved(True)

    def _moved(self, end_stream: bool) -> None:
        """A part of the request went on its way."""
        timer = self.timer
        if timer is not None:
            timer.active_at = now = self.path.clock.now
            if end_stream:
                timer.request_ended(now)
        if end_stream:
            self._finish_if_done()

    def on_request_reset(self) -> None:
        """The client gave up, or is gone."""
        self.reason = self.reason or "downstream-reset"
        self.finish()

    # The response's way.

    def on_informational(self, attempt: Attempt, head: ResponseHead) -> None:
        if attempt is not self.attempts[0]:
            return
        if head.status == 100:
            say_continue(self)
        else:
            self.down.codec.send_informational(self.stream_id, head)
            self.down.touch()

    def pass_response(self, attempt: Attempt, head: ResponseHead, end_stream: bool) -> None:
        if len(self.attempts) > 1:
            self._win(attempt)
        self.responded = True
        self.status = head.status
        self.replayable = False
        self.forget_body()
        if self.connect and not opens_tunnel(self.head, head.status):
            self._end_without_tunnel(attempt)
        if head.status >= 400:
            tell_attempts(self, head)
        self.down.codec.send_response(self.stream_id, head, end_stream)
        self.down.touch()
        if end_stream:
            self._response_has_ended()
        elif self.timer is not None:
            self.timer.active_at = self.path.clock.now
            attempt.due_at = float("inf")

    def _end_without_tunnel(self, attempt: Attempt) -> None:
        """The answer is an ordinary one: no more of the request is waited for, and what comes goes nowhere."""
        self.connect = False
        if not self.request_ended:
            self.request_ended = True
            attempt.send_data(b"", True)

    def _win(self, attempt: Attempt) -> None:
        for other in self.attempts:
            if other is not attempt:
                other.end(False)
        self.attempts = [attempt]

    def pass_data(self, attempt: Attempt, data: bytes, end_stream: bool) -> None:
        down = self.down
        if end_stream:
            # Nothing more comes, so there is nothing to hold back for these bytes' sake.
            down.codec.send_data(self.stream_id, data, True)
            down.touch()
            attempt.consumed(len(data))
            self._response_has_ended()
        else:
            down.relay(self.stream_id, data, False, attempt.relay)
            if self.timer is not None:
                self.timer.active_at = self.path.clock.now

    def pass_trailers(self, headers: list[Header]) -> None:
        self.down.codec.send_trailers(self.stream_id, passed_trailers(headers))
        self.down.touch()
        self._response_has_ended()

    def _response_has_ended(self) -> None:
        self.response_ended = True
        self._finish_if_done()

    @property
    def traffic(self) -> Traffic:
        return self.service.traffic if self.service is not None else DEFAULT_TRAFFIC

    def drop(self, attempt: Attempt) -> None:
        if attempt in self.attempts:
            self.attempts.remove(attempt)

    # Ending.

    def _finish_if_done(self) -> None:
        if self.response_ended and (self.request_ended or not self.connect):
            self.finish(whole=self.request_ended)

    def finish(self, *, whole: bool = False) -> None:
        """It is over. `whole`: both messages of the attempts that are under way have ended."""
        self.awaits_continue = False
        attempts, self.attempts = self.attempts, []
        for attempt in attempts:
            attempt.end(whole)
        if self.timer is not None:
            self.timer.stop()
            self.timer = None
        down = self.down
        down.handlers.pop(self.stream_id, None)
        down.forget(self.stream_id)
        if self.request_relay is not None:
            self.request_relay.settle()
        self.forget_body()
        self.path.finished(self)
