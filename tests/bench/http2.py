"""Small HTTP/2 requests through two gateways to an HTTP/1.1 endpoint, beside Envoy and HAProxy; load by h2load."""

from __future__ import annotations

from tests.bench.rig.command import run_comparison
from tests.bench.rig.contender import Entrance
from tests.bench.rig.h2load import Load
from tests.bench.rig.small_requests import request_comparison

LOADS = [Load(connections=8, streams=4), Load(connections=16, streams=10)]


def main(argv: list[str]) -> int:
    return run_comparison(request_comparison("http2", __doc__ or "", Entrance.HTTP2, LOADS), argv)
