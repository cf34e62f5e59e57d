"""What clients see when the preferred cluster is killed or frozen: failures, the longest gap, until all is well.

East calls a service that runs in west, which it prefers, and in eu. Steady GETs over six connections; then every
process of west is killed, or frozen. Beside ours with its defaults: Envoy as Istio configures a locality failover, and
as well as we can configure it by hand (`tests/bench/rig/failover_envoy.py`).
"""

from __future__ import annotations

import argparse
import json
import os
import signal
import statistics
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import msgspec

from gateway.controller.loopback_ports import free_ports_for
from gateway.demo.group import Group
from gateway.demo.waiting import pause
from tests.bench.rig import envoy
from tests.bench.rig.command import guarded
from tests.bench.rig.failover_envoy import TUNINGS, open_failover_envoy
from tests.bench.rig.figures import OURS
from tests.bench.rig.stage import scratch_directory
from tests.fault_rig.clusters import open_fault_lab, three_clusters
from tests.fault_rig.load import Load, now
from tests.fault_rig.samples import LoadPlan, Sample, account, outage_s, usual_s

FAULTS = {"kill": signal.SIGKILL, "freeze": signal.SIGSTOP}
SLOW_S = 0.1
"""A request that took longer is not well, whenever it came."""
_TIMEOUT_S = 5.0
_STEADY_GETS = 200


class Seen(msgspec.Struct, frozen=True):
    """What clients saw of one fault."""

    failed: float
    gap_ms: float
    """The longest that a client waited for a good answer, its failed tries included."""
    recovered_ms: float
    """From the fault to the end of the last request that it touched: failed, slow, or slower than usual before its
    client had an answer as fast as before (`samples.outage_s`)."""

    def __str__(self) -> str:
        return (
            f"{self.failed:>6g} failed, longest gap {self.gap_ms:>6.0f} ms, all well after {self.recovered_ms:>6.0f} ms"
        )


Opened = tuple[LoadPlan, list[Group]]
"""A load's plan, and the processes of west: its gateway's, then its endpoint's."""


@contextmanager
def ours(directory: Path) -> Iterator[Opened]:
    directory.mkdir()
    with open_fault_lab(directory, *three_clusters(remote={"payments": 1}, health="")) as lab:
        yield lab.plan(), [part.group for part in lab["west"].parts]


@contextmanager
def theirs(program: str, directory: Path, name: str) -> Iterator[Opened]:
    with open_failover_envoy(program, directory, free_ports_for(directory), TUNINGS[name]) as (plan, west):
        yield plan, west


def measure(plan: LoadPlan, west: list[Group], fault: signal.Signals, seconds: float) -> Seen:
    """Sends the signal to all of west under a steady load, and looks on for `seconds`."""
    plan = msgspec.structs.replace(plan, post_clients=0, timeout_s=_TIMEOUT_S)
    with Load(plan) as load:
        load.wait_served_by("west")
        load.wait_more(_STEADY_GETS)
        at = now()
        for group in west:
            os.killpg(group.id, fault)
        pause(seconds)
        until = now()
        # What still waits would not be counted otherwise, and waits for longest.
        load.wait(lambda samples: heard_of_all(samples, plan.get_clients, until), "every client has its last answer")
        samples = load.samples
    seen = account(samples, since=at, until=until)
    touched = [sample for sample in samples if sample.began < until]
    recovered_s = outage_s(touched, since=at, usual_s=usual_s(samples, until=at), slow_s=SLOW_S)
    return Seen(seen.failed, seen.gap_s * 1000, recovered_s * 1000)


def heard_of_all(samples: list[Sample], clients: int, since: float) -> bool:
    """Whether every client has had an answer, or given up, after `since`."""
    return len({sample.client for sample in samples if sample.ended >= since}) == clients


def median(rounds: list[Seen]) -> Seen:
    return Seen(
        statistics.median(one.failed for one in rounds),
        round(statistics.median(one.gap_ms for one in rounds), 1),
        round(statistics.median(one.recovered_ms for one in rounds), 1),
    )


def parse(argv: list[str]) -> argparse.Namespace:
    parser = argparse.ArgumentParser(
        prog="python -m tests.bench failover",
        description=__doc__,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    parser.add_argument("--json", action="store_true", help="the last line is one JSON object")
    parser.add_argument("--rounds", type=int, default=3, help="how often each is measured (default 3)")
    parser.add_argument("--seconds", type=float, default=12.0, help="to look on after the fault (default 12)")
    parser.add_argument("--faults", default=",".join(FAULTS), help="which of them (default: all)")
    parser.add_argument("--peers", default=",".join(TUNINGS), help="whom to compare with")
    return parser.parse_args(argv)


def compare(arguments: argparse.Namespace) -> None:
    names = [OURS, *(name for name in arguments.peers.split(",") if name)]
    program = envoy.find_envoy()
    if program is None and len(names) > 1:
        print(f"envoy is not installed and is left out ({envoy.HOW_TO_GET})")
        names = names[:1]
    if program is not None:
        print(f"envoy {envoy.envoy_version(program)}")
    faults = arguments.faults.split(",")
    rounds: dict[str, dict[str, list[Seen]]] = {name: {fault: [] for fault in faults} for name in names}
    for number in range(arguments.rounds):
        for fault in faults:
            first = number % len(names)
            for name in [*names[first:], *names[:first]]:
                with scratch_directory() as directory:
                    opened = ours(directory / OURS) if name == OURS else theirs(str(program), directory / name, name)
                    with opened as (plan, west):
                        seen = measure(plan, west, FAULTS[fault], arguments.seconds)
                rounds[name][fault].append(seen)
                print(f"round {number + 1}, {fault:<6} {name:<21} {seen}", flush=True)
    medians = {name: {fault: median(found) for fault, found in seen.items()} for name, seen in rounds.items()}
    if arguments.json:
        mine = medians.pop(OURS)
        print(json.dumps({"bench": "failover", OURS: msgspec.to_builtins(mine), "peers": msgspec.to_builtins(medians)}))


def main(argv: list[str]) -> int:
    arguments = parse(argv)
    return guarded(lambda: compare(arguments))
