"""Small requests at several concurrencies: what the http1, http2 and grpc benchmarks measure."""

from __future__ import annotations

from collections.abc import Sequence

from tests.bench.rig.command import Comparison
from tests.bench.rig.contender import AUTHORITIES, Contender, Entrance
from tests.bench.rig.figures import Figure, Sample
from tests.bench.rig.h2load import Load, require_h2load, run_h2load
from tests.bench.rig.rounds import Work, joined, with_cpu
from tests.bench.rig.stage import Stage

_WARM_UP_S = 0.5


def request_comparison(name: str, documentation: str, entrance: Entrance, loads: Sequence[Load]) -> Comparison:
    """Requests a second, and CPU for each, of every load."""

    def sample(stage: Stage, contender: Contender, seconds: float) -> Sample:
        return joined([_sample(contender, entrance, load, seconds) for load in loads])

    def warm_up(stage: Stage, contender: Contender) -> None:
        for load in loads:
            run_h2load(load, contender.entrances[entrance], AUTHORITIES[entrance], _WARM_UP_S)

    figures = [figure for load in loads for figure in _figures(load)]
    return Comparison(name, documentation, figures, sample, warm_up, require_h2load)


def _figures(load: Load) -> list[Figure]:
    return [
        Figure(f"requests_per_s_{load.concurrent}", f"requests/s, {load.concurrent} at once", higher_is_better=True),
        Figure(f"cpu_us_per_request_{load.concurrent}", "CPU µs each", higher_is_better=False),
    ]


def _sample(contender: Contender, entrance: Entrance, load: Load, seconds: float) -> Sample:
    def work() -> Work:
        seen = run_h2load(load, contender.entrances[entrance], AUTHORITIES[entrance], seconds)
        return Work(seen.requests, {f"requests_per_s_{load.concurrent}": seen.requests_per_s})

    done, cpu_s = with_cpu(contender, work)
    cpu_us = sum(cpu_s.values()) / done.units * 1e6
    return Sample({**done.values, f"cpu_us_per_request_{load.concurrent}": cpu_us}, cpu_s)
