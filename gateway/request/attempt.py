"""One try of an exchange at one target."""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

from discovery.model import Protocol as ServiceProtocol
from gateway.codec.events import ErrorCode, Header, ResponseHead
from gateway.codec.headers import ATTEMPT, REASON, find, without_ours
from gateway.failover.outcome import Outcome, Verdict, http_status_of_grpc, judge
from gateway.failover.retry import IDEMPOTENT_METHODS, UNPROCESSED_REASONS, Failure
from gateway.failover.target import RemoteTarget, Target
from gateway.request.breaker import Breaker
from gateway.request.exchange_answers import refuse
from gateway.request.exchange_failures import attempt_failed, attempt_stalled, overflowed, replace
from gateway.request.refusal import STATUS_OF_REASON
from gateway.transport.client_connection import ClientConnection, ResponseHandler
from gateway.transport.relay import Relay

if TYPE_CHECKING:
    from gateway.request.exchange import Exchange

HELD_RESPONSE_BYTES: Final = 16_384
NEVER: Final = float("inf")


class Attempt(ResponseHandler):
    """`ResponseHandler` for the upstream's connection. Several of one exchange may be under way at once."""

    __slots__ = (
        "began",
        "breaker",
        "conn",
        "due_at",
        "ended",
        "exchange",
        "held_bytes",
        "held_data",
        "held_head",
        "last",
        "latency_s",
        "number",
        "observed",
        "relay_or_none",
        "retry",
        "status",
        "stream_id",
        "target",
    )

    def __init__(self, exchange: Exchange, target: Target, number: int, last: int, *, retry: bool) -> None:
        self.exchange = exchange
        self.target = target
        self.number = number
        """Which attempt of the request it is, over both gateways."""
        self.last = last
        """How far the target's gateway may go on from there."""
        self.conn: ClientConnection | None = None
        self.stream_id = 0
        self.began = exchange.path.clock.now
        self.due_at = NEVER
        """When a response must have begun."""
        self.retry = retry
        """Whether its request was tried before it."""
        self.breaker: Breaker | None = None
        """Where it counts while it is under way."""
        self.status = 0
        """What the upstream answered, as health is judged by it; 0 before it did."""
        self.latency_s = 0.0
        self.observed = False
        self.ended = False
        self.relay_or_none: Relay | None = None
        """Of the response's body, once a part of it was passed on that is not the last."""
        self.held_head: ResponseHead | None = None
        self.held_data: list[bytes] = []
        self.held_bytes = 0

    # From the pool or the tunnels.

    def attached(self, conn: ClientConnection) -> None:
        """A connection is ready: the request goes out, with what of its body has come so far."""
        exchange = self.exchange
        head = exchange.path.outbound_head(self)
        body, trailers = exchange.held_body, exchange.request_trailers
        ended = exchange.request_ended
        self.conn = conn
        self.stream_id = conn.open(head, ended and not body and trailers is None, self)
        if body:
            for data in body[:-1]:
                self.send_data(data, False)
            self.send_data(body[-1], ended and trailers is None)
        if trailers is not None:
            self.send_trailers(trailers)
        if not exchange.replayable:
            exchange.forget_body()

    @property
    def relay(self) -> Relay:
        relay = self.relay_or_none
        if relay is None:
            assert self.conn is not None
            relay = self.relay_or_none = Relay(self.conn, self.stream_id)
        return relay

    def consumed(self, size_bytes: int) -> None:
        """The end of the response's body went on to where it belongs."""
        assert self.conn is not None
        self.conn.codec.consumed(self.stream_id, size_bytes)
        self.conn.touch()

    def failed(self, failure: Failure, detail: str) -> None:
        """No connection could be had."""
        if not self.ended:
            self._over()
            # Nobody was asked: the next gateway's share of the attempts is free again.
            self._count_until(self.number)
            self._fail(failure, detail)

    def overflowed(self, detail: str) -> None:
        """A limit of ours forbids it. That says nothing of the upstream."""
        self._over()
        self._count_until(self.number)
        overflowed(self.exchange, self, detail)

    # How it ends.

    def _over(self) -> None:
        self.ended = True
        breaker, self.breaker = self.breaker, None
        if breaker is not None:
            breaker.leave(self.retry)

    def _fail(self, failure: Failure, detail: str) -> None:
        self._observe(failure, self.exchange.path.clock.now - self.began)
        attempt_failed(self.exchange, self, failure, detail)

    def _observe(self, outcome: Outcome, latency_s: float) -> None:
        if not self.observed:
            self.observed = True
            self.exchange.path.observed(self, outcome, latency_s)

    def _count_until(self, number: int) -> None:
        """The target's gateway went no further than `number`, unless others have begun since."""
        if self.exchange.made == self.last:
            self.exchange.made = min(max(self.number, number), self.last)

    # From the exchange and its timer.

    def send_data(self, data: bytes, end_stream: bool) -> None:
        exchange = self.exchange
        relay = exchange.request_relay
        if relay is None:
            relay = exchange.request_relay = Relay(exchange.down, exchange.stream_id)
        assert self.conn is not None
        self.conn.relay(self.stream_id, data, end_stream, relay)

    def send_trailers(self, headers: list[Header]) -> None:
        assert self.conn is not None
        self.conn.codec.send_trailers(self.stream_id, headers)
        self.conn.touch()

    def end(self, whole: bool) -> None:
        """The exchange needs no more of this attempt. `whole`: both messages ended cleanly."""
        if self.ended:
            return
        self._over()
        if self.conn is None:
            return
        if self.status:
            self._observe(self.status, self.latency_s)
        if whole:
            self.conn.release(self.stream_id)
        else:
            self.conn.give_up(self.stream_id, ErrorCode.CANCEL)
        if self.relay_or_none is not None:
            self.relay_or_none.settle()

    def give_up_late(self) -> None:
        """It took longer than we wait, which is the upstream's fault if it has not answered."""
        if not self.status:
            self._observe(Failure.TIMEOUT, self.exchange.path.clock.now - self.began)
        self.end(False)

    def time_out(self, detail: str) -> None:
        """Its own time is over. A response that has begun to be held is as good as none."""
        self.give_up_late()
        attempt_failed(self.exchange, self, Failure.TIMEOUT, detail)

    # From the upstream's connection.

    def on_informational(self, head: ResponseHead) -> None:
        self.exchange.on_informational(self, head)

    def on_response(self, head: ResponseHead, end_stream: bool) -> None:
        exchange = self.exchange
        remote = type(self.target) is RemoteTarget
        if not remote:
            head = without_ours(head)
        if head.status >= 400:
            reason = self._hear_gateway(head) if remote else b""
            if self._is_replaced(head, reason, end_stream):
                return
        self._answered(head, end_stream)
        if not end_stream and self._holds(head):
            self.held_head = head
        else:
            exchange.pass_response(self, head, end_stream)

    def _hear_gateway(self, head: ResponseHead) -> bytes:
        """Takes in how many attempts the other gateway made; returns why it refuses: b"" if the endpoint answered,
        or if the reason is none that goes with the status (what a peer says becomes a metric's label)."""
        made = find(head.headers, ATTEMPT)
        if made:
            head.headers = [header for header in head.headers if header[0] != ATTEMPT]
        self._count_until(int(made) if made.isdigit() and len(made) < 4 else self.number)
        reason = find(head.headers, REASON)
        return reason if STATUS_OF_REASON.get(reason) == head.status else b""

    def _is_replaced(self, head: ResponseHead, reason: bytes, end_stream: bool) -> bool:
        """Whether the client gets something else than this answer of an error."""
        exchange = self.exchange
        whole = end_stream and exchange.request_ended
        failure = UNPROCESSED_REASONS.get(reason)
        if failure is not None:
            self.end(whole)
            self._fail(failure, "the other cluster's gateway says so")
            return True
        if exchange.head.method in IDEMPOTENT_METHODS and self._is_worth_another(head.status):
            self._answered(head, end_stream)
            if replace(exchange, self, whole=whole):
                return True
        if reason and exchange.is_grpc:
            # In a gRPC client's own terms, which a gateway does not know to use to another.
            self._answered(head, end_stream)
            refuse(exchange, head.status, reason.decode("latin-1"), "the other cluster's gateway says so")
            return True
        return False

    def _is_worth_another(self, status: int) -> bool:
        """Whether another place might give a better answer than this status."""
        exchange = self.exchange
        statuses = exchange.traffic.retries.statuses
        if status in statuses or not statuses:
            return status in statuses
        return judge(status, remote=False) is not Verdict.SUCCESS and exchange.path.is_doubted(self)

    def _answered(self, head: ResponseHead, end_stream: bool) -> None:
        """Notes the status and when it came. The verdict waits for the end, as the response may still be lost; that of
        a CONNECT does not, as its stream may last for days."""
        exchange = self.exchange
        self.status = head.status
        self.latency_s = exchange.path.clock.now - self.began
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
            if not end_stream:
                self.held_bytes += len(data)
                if self.held_bytes <= HELD_RESPONSE_BYTES:
                    self.held_data.append(data)
                    return
            self._pass_held(self.held_head)
        self.exchange.pass_data(self, data, end_stream)

    def on_response_trailers(self, headers: list[Header]) -> None:
        self._judge_grpc(headers)
        if self.held_head is not None:
            self._pass_held(self.held_head)
        self.exchange.pass_trailers(headers)

    def _pass_held(self, head: ResponseHead) -> None:
        """What was held goes on, since the response is whole or not a small one."""
        self.held_head = None
        self.exchange.pass_response(self, head, False)
        if self.held_data:
            held, self.held_data = self.held_data, []
            for data in held:
                self.exchange.pass_data(self, data, False)

    def on_stall(self, *, mute: bool) -> None:
        exchange = self.exchange
        if not self.ended:
            attempt_stalled(exchange, self)
        if mute and not self.ended and self.conn is not None and exchange.path.has_better(exchange):
            # Its client may begin again, which helps where there is somewhere else to go.
            self.conn.give_up(self.stream_id, ErrorCode.CANCEL)
            self.on_response_reset(ErrorCode.CANCEL, unprocessed=False, lost=True)

    def on_response_reset(self, code: int, *, unprocessed: bool, lost: bool) -> None:
        if self.ended:
            return
        if unprocessed:
            failure = Failure.REFUSED
            self._count_until(self.number)
        elif lost:
            failure = Failure.CONNECTION_LOST
        elif code == ErrorCode.PROTOCOL_ERROR:
            failure = Failure.PROTOCOL
        else:
            failure = Failure.RESET
        self._over()
        if self.relay_or_none is not None:
            self.relay_or_none.settle()
        self._fail(failure, f"the upstream ended the stream (code {code})")
