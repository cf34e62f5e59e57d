"""`isthmus demo`: from the first process to the last line."""

from __future__ import annotations

import random
import signal
from collections.abc import Iterator
from contextlib import contextmanager

from gateway.controller.private_etcd import PrivateEtcdError
from gateway.demo.dns_client import DnsQuestion
from gateway.demo.group import living_members
from gateway.demo.http_client import HttpRequest
from gateway.demo.lab import Lab, open_lab
from gateway.demo.members import name_of
from gateway.demo.numbers import NothingFree
from gateway.demo.story import STEPS
from gateway.demo.teller import CheckFailed, Teller
from gateway.demo.waiting import NotInTime

PASSED, FAILED, INTERRUPTED = 0, 1, 130


def main(*, keep: bool = False) -> int:
    """Runs the demo and returns the exit status: 0 only if every check held."""
    teller = Teller()
    try:
        with _ended_by_signals(), open_lab(random.Random(), rotates=True) as lab:
            return _run(lab, teller, keep=keep)
    except (NothingFree, PrivateEtcdError) as error:
        teller.say(f"demo failed: {error}")
        return FAILED
    except KeyboardInterrupt:
        teller.say("\nended; nothing is left running")
        return PASSED if teller.finished else INTERRUPTED


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
    teller.finish()
    if keep:
        _keep(lab, teller)
    return PASSED


def _keep(lab: Lab, teller: Teller) -> None:
    """Leaves the lab running until Ctrl-C, with lines to paste."""
    teller.say("\nThe three clusters run until you press Ctrl-C. Try them from another terminal:")
    for cluster in lab.clusters.values():
        addresses = cluster.addresses
        authority = lab.authority("payments")
        teller.say(f"\n{cluster.name}")
        teller.say(f"   http {addresses.http}, dns {addresses.dns}, mesh {addresses.mesh}")
        teller.say(f"   status http://{addresses.status}/v1/status, metrics http://{addresses.status}/metrics")
        teller.say(f"   gateway pid {cluster.group.pid('gateway')}, services pid {cluster.group.pid('services')}")
        teller.command(HttpRequest(authority, addresses.http).command)
        vip = f"{cluster.vip('payments')}:{authority.rpartition(':')[2]}"
        teller.command(HttpRequest(authority, vip, http2=True, by_resolve=True).command)
        teller.command(DnsQuestion(name_of("payments"), addresses.dns).command)
        teller.command(f"isthmus status -c {cluster.config_path}")
    west = lab["west"]
    teller.say("\nKill west, with its services, and ask east again:")
    teller.command(f"kill -KILL {' '.join(map(str, sorted(living_members(west.group.id))))}")
    teller.say(f"Kill etcd at {lab.etcd.endpoint}:")
    teller.command(f"kill -KILL {lab.etcd.group.pid('etcd')}")
    while True:
        signal.pause()
