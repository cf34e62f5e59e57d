"""What time does to an exchange: the whole takes too long, an attempt does, nothing moves, or a hedge is due.

An exchange has at most one deadline in the worker's heap: the earliest of these. Bytes that move only note the time;
when the deadline comes it is seen whether it still holds, and the next one is set. So a stream of a million chunks
costs the heap nothing, and an ordinary request one entry.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

from gateway.codec.headers import GRPC_TIMEOUT
from gateway.failover.retry import SAFE_METHODS
from gateway.request.exchange_failures import idle_out, time_out
from gateway.request.grpc_timeout import parse_grpc_timeout
from gateway.traffic import Timeouts
from gateway.transport.deadlines import Deadline

if TYPE_CHECKING:
    from gateway.request.attempt import Attempt
    from gateway.request.exchange import Exchange

NEVER: Final = float("inf")


class ExchangeTimer:
    """The time of one exchange. All times are seconds of the event loop's clock."""

    __slots__ = (
        "_deadline",
        "_due_at",
        "_exchange",
        "_hedge_at",
        "_idle_s",
        "_queued",
        "_timeouts",
        "_wakes_at",
        "active_at",
        "call_due_at",
    )

    def __init__(self, exchange: Exchange, timeouts: Timeouts, now: float) -> None:
        self._exchange = exchange
        self._timeouts = timeouts
        self.active_at = now
        """When a byte last moved, in either direction."""
        self.call_due_at = NEVER
        """When a gRPC client stops waiting for its call."""
        self._idle_s = (timeouts.tunnel_idle_s if exchange.connect else timeouts.idle_s) or NEVER
        self._due_at = NEVER
        self._hedge_at = NEVER
        self._queued = 0
        self._deadline: Deadline | None = None
        self._wakes_at = NEVER

    # From the exchange.

    def start(self, now: float) -> None:
        exchange = self._exchange
        if exchange.is_grpc:
            timeout_s = parse_grpc_timeout(exchange.fields.get(GRPC_TIMEOUT, b""))
            if timeout_s is not None:
                self.call_due_at = now + timeout_s
        if exchange.request_ended:
            self.request_ended(now)
        self._wake_at(min(now + self._idle_s, self.call_due_at))

    def request_ended(self, now: float) -> None:
        """From here on it is the upstream that takes time."""
        timeouts = self._timeouts
        if timeouts.request_s and not self._exchange.connect:
            self._due_at = now + timeouts.request_s
            self._wake_at(self._due_at)
        for attempt in self._exchange.attempts:
            self._limit(attempt, now)

    def attempt_begun(self, attempt: Attempt) -> None:
        exchange = self._exchange
        if not exchange.request_ended or exchange.connect:
            return
        now = attempt.began
        self._limit(attempt, now)
        if len(exchange.tried) == 1 and exchange.head.method in SAFE_METHODS:
            assert exchange.service is not None
            delay_s = exchange.service.hedge_delay_s()
            if delay_s is not None:
                self._hedge_at = now + delay_s
                self._wake_at(self._hedge_at)

    def _limit(self, attempt: Attempt, now: float) -> None:
        if self._timeouts.attempt_s and not self._exchange.connect:
            attempt.due_at = now + self._timeouts.attempt_s
            self._wake_at(attempt.due_at)

    def call_left_s(self, now: float) -> float | None:
        """How long the next hop may take for a gRPC call whose client or configuration set a limit to it."""
        if self.call_due_at == NEVER:
            return None
        return max(0.0, min(self.call_due_at, self._due_at) - now)

    def stop(self) -> None:
        self._wakes_at = -NEVER
        deadline, self._deadline = self._deadline, None
        if deadline is not None:
            deadline.cancel()

    # From the worker's heap.

    def _wake_at(self, when: float) -> None:
        if when < self._wakes_at:
            if self._deadline is not None:
                self._deadline.cancel()
            self._wakes_at = when
            self._deadline = self._exchange.path.clock.call_at(when, self._woken)

    def _woken(self) -> None:
        exchange = self._exchange
        now = exchange.path.clock.now
        self._deadline, self._wakes_at = None, NEVER
        if now >= self.call_due_at:
            time_out(exchange, "the time that its client gives it is over", by_client=True)
        elif now >= self._due_at:
            time_out(exchange, f"no whole response within {self._timeouts.request_s:g} s", by_client=False)
        elif now >= self.active_at + self._idle_s and not self._still_moves(now):
            idle_out(exchange, self._idle_s)
        else:
            self._see_attempts(now)

    def _see_attempts(self, now: float) -> None:
        exchange = self._exchange
        if now >= self._hedge_at:
            self._hedge_at = NEVER
            exchange.hedge()
        for attempt in [*exchange.attempts]:
            if now >= attempt.due_at:
                attempt.time_out(f"no response within {self._timeouts.attempt_s:g} s")
        due = [attempt.due_at for attempt in exchange.attempts]
        self._wake_at(min(self.call_due_at, self._due_at, self.active_at + self._idle_s, self._hedge_at, *due))

    def _still_moves(self, now: float) -> bool:
        """Whether what waits to be sent has become another amount: a slow reader takes its time, and while it reads
        nothing new comes."""
        queued = self._exchange.queued
        moves, self._queued = queued != self._queued, queued
        if moves:
            self.active_at = now
        return moves
