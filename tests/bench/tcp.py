"""Bulk bytes of TCP through CONNECT, down and up, on 1 and 16 connections, beside Envoy and HAProxy (without CONNECT).

Our own reader and writer; what arrived is counted at the far end. HAProxy can't open a CONNECT tunnel: it gives each
connection a TLS connection of its own.
"""

from __future__ import annotations

from collections.abc import Callable

import msgspec

from gateway.controller.loopback_ports import LOOPBACK
from tests.bench.rig.command import Comparison, run_comparison
from tests.bench.rig.contender import Contender, Entrance
from tests.bench.rig.figures import Figure, Sample
from tests.bench.rig.rounds import Work, joined, with_cpu
from tests.bench.rig.stage import Stage
from tests.bench.rig.tcp_load import Address, Moved, check_tcp, download, upload

_MEGABYTE = 1e6
_ALONE_S = 0.5


class Bulk(msgspec.Struct, frozen=True):
    """One way to move bytes."""

    direction: str
    connections: int
    move: Callable[[Address, int, float], Moved]

    @property
    def throughput(self) -> Figure:
        name = f"{self.direction}_megabytes_per_s_{self.connections}"
        return Figure(name, f"{self.direction} MB/s, {self.connections} conn.", higher_is_better=True)

    @property
    def cpu(self) -> Figure:
        name = f"{self.direction}_cpu_ms_per_gigabyte_{self.connections}"
        return Figure(name, "CPU ms/GB", higher_is_better=False)


BULKS = [
    Bulk(direction, connections, move)
    for direction, move in (("down", download), ("up", upload))
    for connections in (1, 16)
]


def sample(stage: Stage, contender: Contender, seconds: float) -> Sample:
    return joined([_sample(contender, bulk, seconds) for bulk in BULKS])


def _sample(contender: Contender, bulk: Bulk, seconds: float) -> Sample:
    def work() -> Work:
        moved = bulk.move(contender.entrances[Entrance.TCP], bulk.connections, seconds)
        return Work(moved.count / _MEGABYTE, moved.per_s / _MEGABYTE)

    done, cpu_s = with_cpu(contender, work)
    cpu_ms = sum(cpu_s.values()) * 1e3 / (done.units / 1e3)
    return Sample({bulk.throughput.name: done.units_per_s, bulk.cpu.name: cpu_ms}, cpu_s)


def _warm_up(stage: Stage, contender: Contender) -> None:
    check_tcp(contender.entrances[Entrance.TCP])


def _alone(stage: Stage) -> str:
    address = (LOOPBACK, stage.endpoints.tcp)
    down, up = (move(address, 1, _ALONE_S).per_s / _MEGABYTE for move in (download, upload))
    return f"{down:,.0f} MB/s down, {up:,.0f} MB/s up on 1 connection"


def main(argv: list[str]) -> int:
    figures = [figure for bulk in BULKS for figure in (bulk.throughput, bulk.cpu)]
    return run_comparison(
        Comparison("tcp", __doc__ or "", figures, sample, _warm_up, _alone, default_seconds=1.0), argv
    )
