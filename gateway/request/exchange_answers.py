"""What an exchange tells its client by itself: to go on, that the request is refused, or that an answer breaks off."""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

from gateway.codec.events import ErrorCode, Header, ResponseHead
from gateway.codec.headers import ATTEMPT

if TYPE_CHECKING:
    from gateway.request.exchange import Exchange

CONTINUE_S: Final = 1.0
"""So long a client that expects 100 (Continue) waits for the endpoint's. Endpoints that do not know it, and gateways of
earlier versions, never say it; curl waits as long."""


def say_continue(exchange: Exchange) -> None:
    """Asks for the request's body, unless that was done, or the answer needs none."""
    if exchange.awaits_continue and not exchange.responded:
        exchange.awaits_continue = False
        exchange.down.codec.send_informational(exchange.stream_id, ResponseHead(100, []))
        exchange.down.touch()


def refuse(exchange: Exchange, status: int, reason: str, detail: str) -> None:
    """Answers with an error of our own, which carries its reason."""
    exchange.reason = reason
    exchange.status = status
    exchange.responded = True
    head, body = exchange.path.refusal(exchange, status, reason, detail)
    tell_attempts(exchange, head)
    exchange.down.codec.send_response(exchange.stream_id, head, end_stream=not body)
    if body:
        exchange.down.codec.send_data(exchange.stream_id, body, end_stream=True)
    exchange.down.touch()
    exchange.finish()


def tell_attempts(exchange: Exchange, head: ResponseHead) -> None:
    """A peer's gateway that goes on after an error must know how far we went."""
    if exchange.origin.peer and exchange.made > exchange.first:
        head.headers = [*head.headers, (ATTEMPT, b"%d" % exchange.made)]


def break_off(exchange: Exchange, reason: str, code: int = ErrorCode.INTERNAL_ERROR) -> None:
    """A part of the response is out: it must not look whole."""
    exchange.reason = reason
    exchange.down.codec.reset(exchange.stream_id, code)
    exchange.down.touch()
    exchange.finish()


def end_call(exchange: Exchange, reason: str, trailers: list[Header]) -> None:
    """A part of a gRPC call's response is out: its trailers say that it is not whole."""
    exchange.reason = reason
    exchange.down.codec.send_trailers(exchange.stream_id, trailers)
    exchange.down.touch()
    exchange.finish()
