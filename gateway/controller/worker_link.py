"""The controller's connection to one worker, and what is still to be told it."""

from __future__ import annotations

import os
import socket
from collections import deque
from collections.abc import Iterable, Iterator, Mapping

import trio

from gateway.control import ControlChannel, Hello, Listen, ListenerSpec, Report, ToWorker, listen_messages
from gateway.snapshot import Resource, Update

UPSERTS_PER_UPDATE = 2_000


class WorkerLink:
    """Resources wait in a dictionary, so a worker that is slow to read gets the last state of each and nothing piles
    up."""

    def __init__(self, channel: ControlChannel, hello: Hello) -> None:
        self.id = hello.worker_id
        self.pid = channel.peer_pid
        self.version = hello.version
        self.report: Report | None = None
        self._channel = channel
        self._resources: dict[str, Resource | None] = {}
        self._begins = False
        """What waits begins a whole snapshot."""
        self._unfinished = False
        """A whole snapshot was begun, and its end was not sent yet."""
        self._whole = True
        """What waits, and what was sent, is all there is: a snapshot that was begun may end."""
        self._messages: deque[tuple[ToWorker, list[socket.socket]]] = deque()
        self._wake = trio.Event()

    def __repr__(self) -> str:
        return (
            f"<WorkerLink {self.id} pid {self.pid}: {len(self._resources)} resources and {len(self._messages)} to say>"
        )

    def tell_all(self, resources: Mapping[str, Resource], *, whole: bool = True) -> None:
        """These and nothing else; not `whole`: these, what is told until `finish`, and nothing else."""
        self._begins = True
        self._whole = whole
        self._resources = dict(resources)
        self._wake.set()

    def finish(self) -> None:
        """All that there is has been told."""
        self._whole = True
        self._wake.set()

    def tell_changes(self, changes: Mapping[str, Resource | None]) -> None:
        self._resources.update(changes)
        self._wake.set()

    def tell(self, message: ToWorker) -> None:
        self._messages.append((message, []))
        self._wake.set()

    def give(self, entries: Iterable[tuple[ListenerSpec, socket.socket]]) -> None:
        """Listening sockets to serve. Those that are closed before their turn comes are left out."""
        self._messages.extend(listen_messages([*entries]))
        self._wake.set()

    async def send_forever(self) -> None:
        """Raises ChannelClosed when the worker is gone."""
        while True:
            await self._wake.wait()
            self._wake = trio.Event()
            await self._send_resources()
            while self._messages:
                message, sockets = self._messages.popleft()
                if isinstance(message, Listen):
                    await self._send_listeners(message, sockets)
                else:
                    await self._channel.send(message)

    async def _send_resources(self) -> None:
        resources, self._resources = self._resources, {}
        begins, self._begins = self._begins, False
        within = begins or self._unfinished
        self._unfinished = within and not self._whole
        for update in _updates(resources, begins=begins, ends=within and self._whole, within=within):
            await self._channel.send(update)

    async def _send_listeners(self, message: Listen, sockets: list[socket.socket]) -> None:
        open_now = [(spec, s) for spec, s in zip(message.listeners, sockets, strict=True) if s.fileno() >= 0]
        # Copies: while this waits for room a socket may be closed, and its number be given to something else.
        copies = [os.dup(sock.fileno()) for _, sock in open_now]
        try:
            await self._channel.send(Listen([spec for spec, _ in open_now]), copies)
        finally:
            for copy in copies:
                os.close(copy)


def _updates(resources: Mapping[str, Resource | None], *, begins: bool, ends: bool, within: bool) -> Iterator[Update]:
    """In parts, so that neither side has the whole of a large snapshot in its hands at once. Where they begin, end, or
    are `within` a whole snapshot, they say so."""
    upserts = [resource for resource in resources.values() if resource is not None]
    removals = [key for key, resource in resources.items() if resource is None]
    starts = range(0, len(upserts), UPSERTS_PER_UPDATE) or range(begins or ends or bool(removals))
    for i in starts:
        last = i + UPSERTS_PER_UPDATE >= len(upserts)
        part = upserts[i : i + UPSERTS_PER_UPDATE]
        yield Update(part, removals if last else [], reset=begins and i == 0, more=within and not (ends and last))
