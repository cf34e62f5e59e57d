"""What became of an attempt, in the one form in which health is judged by it."""

from __future__ import annotations

from typing import TypeAlias

from gateway.retry import Failure

Outcome: TypeAlias = int | Failure
"""The status that the upstream answered with, or why it did not. A gRPC status is given as the HTTP status that it
means (`http_status_of_grpc`)."""

# As Envoy reads them for its outlier detection (source/common/grpc/status.cc).
_HTTP_STATUS = {
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
