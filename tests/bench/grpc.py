"""Unary gRPC calls through two gateways to an HTTP/2 endpoint, beside Envoy and HAProxy; load by h2load.

h2load sends what a gRPC client sends (a POST with one message and `te: trailers`), and does not look into the trailers
that come back: a call before the rounds does.
"""

from __future__ import annotations

from tests.bench.rig.check import GRPC_BODY, GRPC_HEADERS, GRPC_PATH, check_grpc
from tests.bench.rig.command import run_comparison
from tests.bench.rig.contender import Entrance
from tests.bench.rig.h2load import Load
from tests.bench.rig.small_requests import request_comparison

_HEADERS = tuple(f"{name}: {value}" for name, value in GRPC_HEADERS.items())
LOADS = [
    Load(connections=8, streams=4, path=GRPC_PATH, headers=_HEADERS, body=GRPC_BODY),
    Load(connections=16, streams=10, path=GRPC_PATH, headers=_HEADERS, body=GRPC_BODY),
]


def main(argv: list[str]) -> int:
    comparison = request_comparison("grpc", __doc__ or "", Entrance.GRPC, LOADS, check_grpc)
    return run_comparison(comparison, argv)
