"""What an exchange does when an attempt came to nothing, or takes too long: another one, an answer of ours, or the end.

What may be repeated is decided by `retry`, where there is another place by the request path.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from gateway.codec.events import ErrorCode
from gateway.codec.headers import NO_HEALTHY_UPSTREAM
from gateway.failover.retry import IDEMPOTENT_METHODS, Failure, may_retry
from gateway.failover.target import Target
from gateway.request.exchange_answers import break_off, end_call, refuse
from gateway.request.refusal import grpc_status

if TYPE_CHECKING:
    from gateway.request.attempt import Attempt
    from gateway.request.exchange import Exchange


def attempt_failed(exchange: Exchange, attempt: Attempt, failure: Failure, detail: str) -> None:
    """An attempt came to nothing. Another one, an answer of ours, or the end of the stream."""
    exchange.drop(attempt)
    exchange.failure, exchange.detail = failure, detail
    if exchange.responded:
        break_off(exchange, failure.value)
    elif exchange.attempts:
        # A hedge is under way: its answer counts.
        pass
    elif _may_try_again(exchange, failure) and exchange.path.may_spend_retry(exchange, failure):
        exchange.attempt_next(failure)
    else:
        _refuse_for(exchange, failure, detail)


def _may_try_again(exchange: Exchange, failure: Failure) -> bool:
    method = exchange.head.method
    return may_retry(failure, method, replayable=exchange.replayable, made=exchange.made, limit=exchange.limit)


def replace(exchange: Exchange, attempt: Attempt, *, whole: bool) -> bool:
    """An attempt was answered with an error that another place might not give: whether it is asked, in which case
    this answer goes nowhere. `whole`: both messages have ended."""
    target: Target | None = None
    if len(exchange.attempts) == 1:
        if exchange.responded or not _may_try_again(exchange, Failure.STATUS):
            return False
        assert exchange.route is not None
        exchange.failure = Failure.STATUS
        target = exchange.path.choose(exchange, exchange.route)
        if target is None or not exchange.path.may_spend_retry(exchange, Failure.STATUS):
            return False
    attempt.end(whole)
    exchange.drop(attempt)
    exchange.failure = Failure.STATUS
    if target is not None:
        exchange.begin_attempt(target, Failure.STATUS)
    return True


def attempt_stalled(exchange: Exchange, attempt: Attempt) -> None:
    """The upstream of an attempt is silent, and may never answer. What may be repeated goes elsewhere, if there is
    somewhere better, and is refused if nothing is left to wait for; it has no verdict on the upstream, which may only
    be slow. With a hedge under way it goes nowhere: one of the two will answer."""
    failure, path = Failure.CONNECTION_LOST, exchange.path
    if exchange.responded or exchange.head.method not in IDEMPOTENT_METHODS:
        return
    if path.has_better(exchange):
        if len(exchange.attempts) == 1 and _may_try_again(exchange, failure):
            attempt.end(False)
            attempt_failed(exchange, attempt, failure, "the upstream is silent")
    elif path.is_hopeless(exchange):
        silent = " and ".join(dict.fromkeys(attempt.target.place for attempt in exchange.attempts))
        refuse(exchange, 503, NO_HEALTHY_UPSTREAM.decode(), f"no answer from {silent}, and no other place is left")


def overflowed(exchange: Exchange, attempt: Attempt, detail: str) -> None:
    """A limit of ours forbids an attempt. A request that no other attempt carries is refused at once: if it went
    elsewhere, a limit here would be load there."""
    exchange.drop(attempt)
    if not exchange.attempts and not exchange.responded:
        refuse(exchange, 503, Failure.OVERFLOW.value, detail)


def give_up(exchange: Exchange) -> None:
    """No target is left."""
    if exchange.failure is None or exchange.failure.unprocessed:
        # A peer goes elsewhere; what our endpoints are called, and what ails them, is our business.
        why = f"; the last one: {exchange.detail}" if exchange.detail and not exchange.origin.peer else ""
        refuse(exchange, 503, NO_HEALTHY_UPSTREAM.decode(), f"no healthy endpoint can be reached{why}")
    else:
        _refuse_for(exchange, exchange.failure, "every other place was tried")


def _refuse_for(exchange: Exchange, failure: Failure, detail: str) -> None:
    if failure.unprocessed:
        refuse(exchange, 503, failure.value, detail)
    else:
        refuse(exchange, 504 if failure is Failure.TIMEOUT else 502, failure.value, detail)


def time_out(exchange: Exchange, detail: str, *, by_client: bool) -> None:
    """The whole takes too long. `by_client`: for its client, which says nothing of the upstream."""
    for attempt in [*exchange.attempts]:
        if by_client:
            attempt.end(False)
        else:
            attempt.give_up_late()
    _end_late(exchange, 504, Failure.TIMEOUT.value, detail)


def idle_out(exchange: Exchange, idle_s: float) -> None:
    """Nothing has moved for too long."""
    detail = f"nothing moved for {idle_s:g} s"
    if exchange.responded:
        _end_late(exchange, 504, "idle-timeout", detail)
    elif exchange.request_ended or exchange.connect:
        time_out(exchange, detail, by_client=False)
    else:
        _end_late(exchange, 408, "downstream-timeout", f"the rest of the request did not come: {detail}")


def _end_late(exchange: Exchange, status: int, reason: str, detail: str) -> None:
    if not exchange.responded:
        refuse(exchange, status, reason, detail)
    elif not exchange.is_grpc or exchange.status != 200:
        break_off(exchange, reason)
    elif exchange.down.codec.queued(exchange.stream_id):
        # Trailers would wait for a slow reader, behind what waits already. This is what gRPC's clients take for a
        # deadline when theirs is over.
        break_off(exchange, reason, ErrorCode.CANCEL)
    else:
        end_call(exchange, reason, grpc_status(status, f"{reason}: {detail}"))
