"""What became of an attempt, in the one form in which health is judged by it."""

from __future__ import annotations

import enum
from typing import Final, TypeAlias

from gateway.failover.retry import Failure

Outcome: TypeAlias = int | Failure
"""The status that the upstream answered with, or why it did not. A gRPC status is given as the HTTP status that it
means (`http_status_of_grpc`)."""

# As Envoy reads them for its outlier detection (source/common/grpc/status.cc).
_HTTP_STATUS: Final = {
    b"0": 200,
    b"1": 499,
    b"2": 500,
    b"3": 400,
    b"4": 504,
    b"5": 404,
    b"6": 409,
    b"7": 403,
    b"8": 429,
    b"9": 400,
    b"10": 409,
    b"11": 400,
    b"12": 501,
    b"13": 500,
    b"14": 503,
    b"15": 500,
    b"16": 401,
}


def http_status_of_grpc(grpc_status: bytes, status: int) -> int:
    """The HTTP status that a `grpc-status` means; `status`, which came with it, if it means nothing.

    >>> http_status_of_grpc(b"14", 200)
    503
    """
    return _HTTP_STATUS.get(grpc_status, status)


class Verdict(enum.Enum):
    """What an outcome says about the place that it came from. The words are Envoy's."""

    SUCCESS = "success"
    """Also of answers that the client is to blame for."""
    SERVER_ERROR = "5xx"
    GATEWAY_ERROR = "gateway-error"
    """It could not be reached, or could not reach what it needs."""


_GATEWAY_STATUSES: Final = frozenset({502, 503, 504})
# What a server answers when it understands the request and was never meant to do it: not a sign of ill health.
_UNSUPPORTED: Final = frozenset({501, 505})
# How a tunnel fails. Other tunnels to that cluster may be fine, and the service there as well: tunnels are watched
# by their own probes, and one gateway's end must not eject what runs behind all of them.
_TUNNEL_FAILURES: Final = frozenset({Failure.CONNECT, Failure.REFUSED, Failure.CONNECTION_LOST})


def judge(outcome: Outcome, *, remote: bool) -> Verdict | None:
    """None: it says nothing about the place. `remote`: it came over a tunnel."""
    if isinstance(outcome, int):
        if outcome < 500 or outcome in _UNSUPPORTED:
            return Verdict.SUCCESS
        return Verdict.GATEWAY_ERROR if outcome in _GATEWAY_STATUSES else Verdict.SERVER_ERROR
    if remote and outcome in _TUNNEL_FAILURES:
        return None
    return Verdict.GATEWAY_ERROR
