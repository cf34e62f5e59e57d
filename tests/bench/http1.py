"""Small HTTP/1.1 requests on 32 keep-alive connections through two gateways, beside Envoy and HAProxy, by h2load."""

from __future__ import annotations

from tests.bench.rig.command import run_comparison
from tests.bench.rig.contender import Entrance
from tests.bench.rig.h2load import Load
from tests.bench.rig.small_requests import request_comparison

LOADS = [Load(connections=32, streams=1, http1=True)]


def main(argv: list[str]) -> int:
    return run_comparison(request_comparison("http1", __doc__ or "", Entrance.HTTP1, LOADS), argv)
