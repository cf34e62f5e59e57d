"""A controller as far as its fleet needs one, and a worker that says what a test wants."""

from __future__ import annotations

import os
import socket
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path

import trio
import trio.testing

from discovery.model import Locality
from gateway.control import (
    Certificate,
    ControlChannel,
    Message,
    Report,
)
from gateway.controller.fleet import Fleet
from gateway.controller.totals import Totals
from gateway.controller.worker_link import WorkerLink
from gateway.process.state_dir import connect_control, prepare
from gateway.snapshot import LocalResource
from gateway.transport.listeners import Listeners
from tests.gateway_ends import wait_until, wall_clock
from trust.authority import Authority

LOCAL = LocalResource("acme", "east", Locality(), "east.test")


class Side:
    """A controller, as far as its fleet needs one."""

    def __init__(self, state_dir: Path, count: int, authority: Authority) -> None:
        self.listeners = Listeners()
        self.totals = Totals()
        self.reports: list[str] = []
        self._authority = authority
        self.fleet = Fleet(
            state_dir,
            count,
            self.listeners,
            sign=self._sign,
            reported=self._reported,
            explained=lambda link, message: None,
            ended=self.totals.retire,
        )

    def _sign(self, csr: bytes) -> Certificate:
        return Certificate(self._authority.issue_gateway(csr, now=wall_clock(), lifetime_s=600.0))

    def _reported(self, link: WorkerLink, report: Report) -> None:
        self.reports.append(link.id)
        self.totals.take(link.id, report.counters, report.durations)

    def ready(self) -> list[int]:
        """Process ids of the workers that can serve."""
        return [link.pid for link in self.fleet.links.values() if link.report is not None and link.report.ready]


@asynccontextmanager
async def controller(state_dir: Path, count: int, authority: Authority) -> AsyncIterator[tuple[Side, trio.Nursery]]:
    """A controller that has adopted what there was. Its end is sudden: its workers stay."""
    prepare(state_dir)
    side = Side(state_dir, count, authority)
    async with trio.open_nursery() as nursery:
        with trio.fail_after(60):
            await side.fleet.adopt(nursery)
            side.fleet.links.apply({"local": LOCAL})
            side.fleet.links.complete()
            yield side, nursery
        nursery.cancel_scope.cancel()
    side.listeners.close_all()


def alive(pid: int) -> bool:
    try:
        return b") Z " not in Path(f"/proc/{pid}/stat").read_bytes()
    except FileNotFoundError:
        return False


async def ended(side: Side, timeout_s: float = 1.0) -> None:
    """Drains, and waits until all processes are reaped."""
    await side.fleet.drain(timeout_s)
    await wait_until(lambda: not side.fleet._pids)


class Puppet:
    """A worker's end of the control socket."""

    def __init__(self, channel: ControlChannel) -> None:
        self.channel = channel

    async def say(self, message: Message, *sockets: socket.socket) -> None:
        await self.channel.send(message, [sock.fileno() for sock in sockets])

    async def hears(self, kind: type) -> Message:
        """The next message of a kind; others, and descriptors, are let go."""
        while True:
            message, descriptors = await self.channel.receive()
            for descriptor in descriptors:
                os.close(descriptor)
            if isinstance(message, kind):
                return message


@asynccontextmanager
async def puppet(state_dir: Path) -> AsyncIterator[Puppet]:
    channel = await connect_control(state_dir)
    try:
        yield Puppet(channel)
    finally:
        channel.close()
