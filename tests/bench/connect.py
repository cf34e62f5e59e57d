"""New TCP connections per second through a virtual IP, 16 clients at once, beside Envoy and HAProxy; load of our own.

A connection is counted when it was opened, carried eight bytes there and one back, and was closed by the endpoint.
Envoy listens on an address of its own in place of a virtual IP. HAProxy can't open a CONNECT tunnel, so that each
connection costs it a TLS handshake.
"""

from __future__ import annotations

from gateway.controller.loopback_ports import LOOPBACK
from tests.bench.rig.command import Comparison, run_comparison
from tests.bench.rig.contender import Contender, Entrance
from tests.bench.rig.figures import Figure, Sample
from tests.bench.rig.rounds import Work, with_cpu
from tests.bench.rig.stage import Stage
from tests.bench.rig.tcp_load import check_tcp, connect_again_and_again

CLIENTS = 16
_WARM_UP_S = 0.3
FIGURES = [
    Figure("connections_per_s", "connections/s", higher_is_better=True),
    Figure("cpu_us_per_connection", "CPU µs each", higher_is_better=False),
]


def sample(stage: Stage, contender: Contender, seconds: float) -> Sample:
    def work() -> Work:
        made = connect_again_and_again(contender.entrances[Entrance.TCP], CLIENTS, seconds)
        return Work(made.count, made.per_s)

    done, cpu_s = with_cpu(contender, work)
    cpu_us = sum(cpu_s.values()) / done.units * 1e6
    return Sample({"connections_per_s": done.units_per_s, "cpu_us_per_connection": cpu_us}, cpu_s)


def _warm_up(stage: Stage, contender: Contender) -> None:
    check_tcp(contender.entrances[Entrance.TCP])
    connect_again_and_again(contender.entrances[Entrance.TCP], CLIENTS, _WARM_UP_S)


def _alone(stage: Stage) -> str:
    made = connect_again_and_again((LOOPBACK, stage.endpoints.tcp), CLIENTS, _WARM_UP_S)
    return f"{made.per_s:,.0f} connections/s"


def main(argv: list[str]) -> int:
    return run_comparison(Comparison("connect", __doc__ or "", FIGURES, sample, _warm_up, _alone), argv)
