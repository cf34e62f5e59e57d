"""The command line that the comparing benchmarks share: which rounds, how long, against whom, and what is printed."""

from __future__ import annotations

import argparse
import signal
import sys
from collections.abc import Callable, Sequence
from types import FrameType

import msgspec

from gateway.demo.waiting import NotInTime
from tests.bench.rig.contender import BenchError, Contender, MissingProgram
from tests.bench.rig.figures import Figure, Measured, Sample
from tests.bench.rig.report import cpu_table, json_line, table, verdict
from tests.bench.rig.rounds import alternate
from tests.bench.rig.stage import PEERS, Stage, open_stage

_ENDING = (signal.SIGINT, signal.SIGTERM, signal.SIGHUP)


class Comparison(msgspec.Struct, frozen=True):
    """A benchmark that measures pairs of gateways in alternating rounds."""

    name: str
    documentation: str
    figures: Sequence[Figure]
    sample: Callable[[Stage, Contender, float], Sample]
    """One round of one contender; the number is the seconds of each piece of its load."""
    warm_up: Callable[[Stage, Contender], object]
    """Makes sure that the contender does what is measured, before the rounds. Raises BenchError."""
    alone: Callable[[Stage], str]
    """What the endpoint and the load do without gateways between them: a bench can show no more than that."""
    requirements: Sequence[Callable[[], object]] = ()
    """Each raises MissingProgram if something that makes the load is not there."""
    default_seconds: float = 2.0


class Arguments(msgspec.Struct, frozen=True):
    """What was asked for on the command line."""

    json: bool
    rounds: int
    seconds: float
    """Of each load."""
    peers: list[str]


def run_comparison(comparison: Comparison, argv: list[str]) -> int:
    """The exit code: 0, 1 if the measurement failed, 2 if something is not installed."""
    arguments = parse(comparison.name, comparison.documentation, argv, default_seconds=comparison.default_seconds)
    return guarded(lambda: _compare(comparison, arguments))


def guarded(run: Callable[[], None]) -> int:
    """Runs it, so that SIGTERM ends what it started just as Ctrl-C does, and says plainly what went wrong."""
    before = {number: signal.signal(number, _interrupt) for number in _ENDING}
    try:
        run()
    except MissingProgram as error:
        print(error, file=sys.stderr)
        return 2
    except (BenchError, NotInTime) as error:
        print("\n".join([f"nothing was measured: {error}", *getattr(error, "__notes__", ())]), file=sys.stderr)
        return 1
    except KeyboardInterrupt:
        print("interrupted", file=sys.stderr)
        return 130
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)
    return 0


def parse(
    name: str, documentation: str, argv: list[str], *, default_seconds: float, default_rounds: int = 3
) -> Arguments:
    """Reads the command line, or ends the process as argparse does."""
    parser = argparse.ArgumentParser(
        prog=f"python -m tests.bench {name}",
        description=documentation,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    parser.add_argument("--json", action="store_true", help="the last line is one JSON object")
    parser.add_argument(
        "--rounds", type=int, default=default_rounds, help=f"how often each is measured (default {default_rounds})"
    )
    parser.add_argument(
        "--seconds", type=float, default=default_seconds, help=f"of each load (default {default_seconds:g})"
    )
    parser.add_argument("--peers", default=",".join(PEERS), help=f"whom to compare with (default {','.join(PEERS)})")
    given = parser.parse_args(argv)
    peers = [peer for peer in given.peers.split(",") if peer]
    unknown = [peer for peer in peers if peer not in PEERS]
    if unknown or given.rounds < 1 or given.seconds <= 0:
        parser.error(f"unknown peer {unknown[0]}" if unknown else "rounds and seconds are above 0")
    return Arguments(given.json, given.rounds, given.seconds, peers)


def _compare(comparison: Comparison, arguments: Arguments) -> None:
    for require in comparison.requirements:
        require()
    with open_stage(arguments.peers) as stage:
        _describe(stage)
        for contender in stage.contenders:
            comparison.warm_up(stage, contender)
        print(f"without gateways: {comparison.alone(stage)}")
        print(f"{arguments.rounds} rounds of {arguments.seconds:g} s for each load; medians:", flush=True)
        measured = alternate(
            stage.contenders,
            arguments.rounds,
            lambda contender: comparison.sample(stage, contender, arguments.seconds),
        )
    print_result(comparison.name, comparison.figures, measured, as_json=arguments.json)


def print_result(name: str, figures: Sequence[Figure], measured: Sequence[Measured], *, as_json: bool) -> None:
    """The table, and with `as_json` the object on the last line."""
    print(
        "\n".join(part for part in (table(figures, measured), cpu_table(measured), verdict(figures, measured)) if part)
    )
    if as_json:
        print(json_line(name, figures, measured))


def _describe(stage: Stage) -> None:
    versions = ", ".join(f"{contender.name} {contender.version}" for contender in stage.contenders)
    print(f"{versions}; two gateways in a row with one worker each")
    print(f"endpoints: {stage.endpoints.described}", flush=True)


def _interrupt(number: int, frame: FrameType | None) -> None:
    # A second one must not leave half of the gateways behind.
    for ending in _ENDING:
        signal.signal(ending, signal.SIG_IGN)
    raise KeyboardInterrupt
