"""Resident memory of each hop's worker with 1,000 services and 1,000 idle connections, beside Envoy and HAProxy.

West serves the services, east's clients use them; each has a virtual IP in east, and in west an endpoint. The clients
are HTTP/1.1 connections to east that made one request each, all to one service, and wait. Envoy and HAProxy get a
listener, a route and an upstream for each service. Our controllers are shown and not counted: they are no workers,
and Envoy's counterpart, its control plane, does not run here.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager
from functools import partial
from pathlib import Path

from gateway.controller.loopback_ports import free_ports_for
from gateway.demo.waiting import pause
from tests.bench.rig.command import Arguments, guarded, parse, print_result
from tests.bench.rig.contender import AUTHORITIES, Contender, Entrance
from tests.bench.rig.endpoints import Endpoints, open_endpoints
from tests.bench.rig.figures import Figure, Measured, Sample
from tests.bench.rig.idle_clients import allow_files, idle_connections
from tests.bench.rig.isthmus import BENCH_SERVICES, open_isthmus
from tests.bench.rig.many_services import OPENERS
from tests.bench.rig.stage import installed, scratch_directory

SERVICES = 1000
CONNECTIONS = 1000
_MEGABYTE = 1e6
FIGURES = [
    Figure("east_worker_megabytes", "east worker, MB", higher_is_better=False),
    Figure("west_worker_megabytes", "west worker, MB", higher_is_better=False),
]

Open = Callable[[Path], AbstractContextManager[Contender]]


def main(argv: list[str]) -> int:
    arguments = parse("memory", __doc__ or "", argv, default_seconds=3.0, default_rounds=1)
    return guarded(lambda: _measure(arguments))


def _measure(arguments: Arguments) -> None:
    allow_files(CONNECTIONS, SERVICES)
    with scratch_directory() as directory:
        ports = free_ports_for(directory)
        with open_endpoints(directory / "endpoints", ports) as endpoints:
            openers = _openers(arguments, ports, endpoints)
            measured = [
                _measure_one(opener, directory / f"contender-{number}", arguments)
                for number, opener in enumerate(openers)
            ]
    print(f"{SERVICES} services, {CONNECTIONS} idle HTTP/1.1 connections to east; {endpoints.described}")
    print(f"read {arguments.seconds:g} s after the last connection; medians of {arguments.rounds}:")
    print_result("memory", FIGURES, measured, as_json=arguments.json)


def _openers(arguments: Arguments, ports: Iterator[int], endpoints: Endpoints) -> list[Open]:
    ours: Open = partial(open_isthmus, ports=ports, endpoints=endpoints, more_services=SERVICES - BENCH_SERVICES)
    peers: list[Open] = [
        partial(_open_peer, name, program, ports, endpoints) for name, program in installed(arguments.peers).items()
    ]
    return [ours, *peers]


def _open_peer(
    name: str, program: str, ports: Iterator[int], endpoints: Endpoints, directory: Path
) -> AbstractContextManager[Contender]:
    return OPENERS[name](program, directory, ports, endpoints, SERVICES)


def _measure_one(opener: Open, directory: Path, arguments: Arguments) -> Measured:
    """Starts the gateways for each round anew: memory that is freed does not always go back."""
    samples = []
    for number in range(arguments.rounds):
        with opener(directory.with_name(f"{directory.name}-{number}")) as contender:
            before = _megabytes(contender)
            with idle_connections(contender.entrances[Entrance.HTTP1], AUTHORITIES[Entrance.HTTP1], CONNECTIONS):
                pause(arguments.seconds)
                samples.append(Sample({**_megabytes(contender), **{f"{k}_before": v for k, v in before.items()}}))
    return Measured(contender.name, contender.version, samples)


def _megabytes(contender: Contender) -> dict[str, float]:
    """Of each process, `east_worker_megabytes` and so on."""
    return {
        f"{role.replace(' ', '_')}_megabytes": usage.resident_bytes / _MEGABYTE
        for role, usage in contender.usages().items()
    }
