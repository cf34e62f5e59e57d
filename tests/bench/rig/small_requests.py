"""Small requests at several concurrencies: what the http1, http2 and grpc benchmarks measure."""

from __future__ import annotations

from collections.abc import Callable, Sequence

import msgspec

from gateway.controller.loopback_ports import LOOPBACK
from tests.bench.rig.command import Comparison
from tests.bench.rig.contender import AUTHORITIES, Contender, Entrance
from tests.bench.rig.figures import Figure, Sample
from tests.bench.rig.h2load import Load, require_h2load, run_h2load
from tests.bench.rig.rounds import Work, joined, with_cpu
from tests.bench.rig.stage import Stage

_WARM_UP_S = 0.5


def request_comparison(
    name: str,
    documentation: str,
    entrance: Entrance,
    loads: Sequence[Load],
    check: Callable[[Contender], None] | None = None,
) -> Comparison:
    """Requests a second, and CPU for each, of every load. `check` sees what h2load does not."""

    def sample(stage: Stage, contender: Contender, seconds: float) -> Sample:
        return joined([_sample(contender, entrance, load, seconds) for load in loads])

    def warm_up(stage: Stage, contender: Contender) -> None:
        if check is not None:
            check(contender)
        for load in loads:
            run_h2load(load, contender.entrances[entrance], AUTHORITIES[entrance], _WARM_UP_S)

    def alone(stage: Stage) -> str:
        return _alone(stage, entrance, loads[-1])

    figures = [figure for load in loads for figure in _figures(load)]
    return Comparison(name, documentation, figures, sample, warm_up, alone, requirements=(require_h2load,))


def _figures(load: Load) -> list[Figure]:
    return [
        Figure(_throughput(load), f"requests/s, {load.concurrent} at once", higher_is_better=True),
        Figure(_cpu(load), "CPU µs each", higher_is_better=False),
    ]


def _sample(contender: Contender, entrance: Entrance, load: Load, seconds: float) -> Sample:
    def work() -> Work:
        seen = run_h2load(load, contender.entrances[entrance], AUTHORITIES[entrance], seconds)
        return Work(seen.requests, seen.requests_per_s)

    done, cpu_s = with_cpu(contender, work)
    cpu_us = sum(cpu_s.values()) / done.units * 1e6
    return Sample({_throughput(load): done.units_per_s, _cpu(load): cpu_us}, cpu_s)


def _alone(stage: Stage, entrance: Entrance, load: Load) -> str:
    if entrance is Entrance.HTTP2:
        # The endpoint speaks HTTP/1.1.
        load = msgspec.structs.replace(load, connections=load.concurrent, streams=1, http1=True)
    port = stage.endpoints.grpc if entrance is Entrance.GRPC else stage.endpoints.http
    seen = run_h2load(load, (LOOPBACK, port), AUTHORITIES[entrance], _WARM_UP_S)
    return f"{seen.requests_per_s:,.0f} requests/s"


def _throughput(load: Load) -> str:
    return f"requests_per_s_{load.concurrent}"


def _cpu(load: Load) -> str:
    return f"cpu_us_per_request_{load.concurrent}"
