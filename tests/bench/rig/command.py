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
from tests.bench.rig.figures import Figure, Sample
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
    requirements: Sequence[Callable[[], object]] = ()
    """Each raises MissingProgram if something that makes the load is not there."""
    default_seconds: float = 2.0


def run_comparison(comparison: Comparison, argv: list[str]) -> int:
    """The exit code: 0, 1 if the measurement failed, 2 if something is not installed."""
    arguments = parse(comparison.name, comparison.documentation, argv, comparison.default_seconds)
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


def parse(name: str, documentation: str, argv: list[str], default_seconds: float) -> argparse.Namespace:
    """The options: `json`, `rounds`, `seconds`, `peers`."""
    parser = argparse.ArgumentParser(
        prog=f"python -m tests.bench {name}",
        description=documentation,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    parser.add_argument("--json", action="store_true", help="the last line is one JSON object")
    parser.add_argument("--rounds", type=int, default=3, help="how often each is measured, in turns (default 3)")
    parser.add_argument(
        "--seconds", type=float, default=default_seconds, help=f"of each load (default {default_seconds:g})"
    )
    parser.add_argument("--peers", default=",".join(PEERS), help=f"whom to compare with (default {','.join(PEERS)})")
    arguments = parser.parse_args(argv)
    arguments.peers = [peer for peer in arguments.peers.split(",") if peer]
    unknown = [peer for peer in arguments.peers if peer not in PEERS]
    if unknown or arguments.rounds < 1 or arguments.seconds <= 0:
        parser.error(f"unknown peer {unknown[0]}" if unknown else "rounds and seconds are above 0")
    return arguments


def _compare(comparison: Comparison, arguments: argparse.Namespace) -> None:
    for require in comparison.requirements:
        require()
    with open_stage(arguments.peers) as stage:
        _describe(stage, arguments)
        for contender in stage.contenders:
            comparison.warm_up(stage, contender)
        measured = alternate(
            stage.contenders,
            arguments.rounds,
            lambda contender: comparison.sample(stage, contender, arguments.seconds),
        )
    print(table(comparison.figures, measured))
    print(cpu_table(measured))
    print(verdict(comparison.figures, measured))
    if arguments.json:
        print(json_line(comparison.name, comparison.figures, measured))


def _describe(stage: Stage, arguments: argparse.Namespace) -> None:
    versions = ", ".join(f"{contender.name} {contender.version}" for contender in stage.contenders)
    print(f"{versions}; two gateways in a row with one worker each")
    print(f"endpoints: {stage.endpoints.described}")
    print(f"{arguments.rounds} rounds of {arguments.seconds:g} s for each load; medians:", flush=True)


def _interrupt(number: int, frame: FrameType | None) -> None:
    # A second one must not leave half of the gateways behind.
    for ending in _ENDING:
        signal.signal(ending, signal.SIG_IGN)
    raise KeyboardInterrupt
