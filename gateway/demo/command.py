"""`isthmus demo`: from the first process to the last line."""

from __future__ import annotations

import random
import signal
from collections.abc import Iterator
from contextlib import contextmanager

from gateway.demo.lab import Lab, open_lab
from gateway.demo.numbers import NothingFree
from gateway.demo.story import STEPS
from gateway.demo.teller import CheckFailed, Teller
from gateway.demo.waiting import NotInTime
from gateway.private_etcd import PrivateEtcdError

PASSED, FAILED, INTERRUPTED = 0, 1, 130


def main(*, keep: bool = False) -> int:
    """Runs the demo and returns the exit status: 0 only if every check held."""
    teller = Teller()
    try:
        with _ended_by_signals(), open_lab(random.Random()) as lab:
            return _run(lab, teller, keep=keep)
    except (NothingFree, PrivateEtcdError) as error:
        teller.say(f"demo failed: {error}")
        return FAILED
    except KeyboardInterrupt:
        teller.say("\ninterrupted; nothing is left running")
        return INTERRUPTED


@contextmanager
def _ended_by_signals() -> Iterator[None]:
    """SIGTERM and the end of the terminal do as Ctrl-C does: what was started is ended, what was written is removed."""

    def interrupt(*unused: object) -> None:
        raise KeyboardInterrupt

    before = {number: signal.signal(number, interrupt) for number in (signal.SIGTERM, signal.SIGHUP)}
    try:
        yield
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)


def _run(lab: Lab, teller: Teller, *, keep: bool) -> int:
    try:
        teller.say("Three clusters on this machine: join, resolve, cross, survive")
        teller.say(f"   lab: {lab.directory}, etcd: {lab.etcd.endpoint}")
        lab.start()
        for step in STEPS:
            step(lab, teller)
    except (CheckFailed, NotInTime, OSError) as error:
        teller.say(lab.last_words())
        teller.say(f"\ndemo failed: {error}")
        return FAILED
    teller.say(f"\ndemo passed: {teller.checks} checks")
    return PASSED
