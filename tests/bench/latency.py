"""What two gateways add to one HTTP/1.1 request at a time, p50 and p99, beside Envoy and HAProxy; load by h2load.

Each round measures the endpoint without gateways right before each pair of gateways, and takes the difference.
"""

from __future__ import annotations

import statistics

from gateway.controller.loopback_ports import LOOPBACK
from tests.bench.rig.command import Comparison, run_comparison
from tests.bench.rig.contender import AUTHORITIES, Contender, Entrance
from tests.bench.rig.figures import Figure, Sample
from tests.bench.rig.h2load import Load, require_h2load, run_h2load
from tests.bench.rig.rounds import Work, with_cpu
from tests.bench.rig.stage import Stage

ONE_AT_A_TIME = Load(connections=1, streams=1, http1=True)
_WARM_UP_S = 0.5
_DIRECT_SHARE = 0.5
FIGURES = [
    Figure("p50_added_us", "p50 added, µs", higher_is_better=False, resolution=1.0),
    Figure("p99_added_us", "p99 added, µs", higher_is_better=False, resolution=1.0),
]


def percentiles(durations_us: list[int]) -> tuple[float, float]:
    """p50 and p99."""
    hundredths = statistics.quantiles(durations_us, n=100)
    return hundredths[49], hundredths[98]


def sample(stage: Stage, contender: Contender, seconds: float) -> Sample:
    """One round: direct, then through the gateways."""
    direct = percentiles(_durations_us((LOOPBACK, stage.endpoints.http), seconds * _DIRECT_SHARE))
    durations_us: list[int] = []

    def work() -> Work:
        durations_us.extend(_durations_us(contender.entrances[Entrance.HTTP1], seconds))
        return Work(len(durations_us), len(durations_us) / seconds)

    _, cpu_s = with_cpu(contender, work)
    p50_us, p99_us = percentiles(durations_us)
    return Sample({"p50_added_us": p50_us - direct[0], "p99_added_us": p99_us - direct[1]}, cpu_s)


def _durations_us(address: tuple[str, int], seconds: float) -> list[int]:
    seen = run_h2load(ONE_AT_A_TIME, address, AUTHORITIES[Entrance.HTTP1], seconds, log_durations=True)
    return seen.durations_us


def _warm_up(stage: Stage, contender: Contender) -> None:
    _durations_us(contender.entrances[Entrance.HTTP1], _WARM_UP_S)


def _alone(stage: Stage) -> str:
    p50_us, p99_us = percentiles(_durations_us((LOOPBACK, stage.endpoints.http), _WARM_UP_S))
    return f"p50 {p50_us:.0f} µs, p99 {p99_us:.0f} µs"


def main(argv: list[str]) -> int:
    comparison = Comparison("latency", __doc__ or "", FIGURES, sample, _warm_up, _alone, requirements=(require_h2load,))
    return run_comparison(comparison, argv)
