"""The controller's connection to one worker, and what is still to be told it."""

from __future__ import annotations

import os
import socket
from collections import deque
from collections.abc import Iterable, Mapping

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
        self._reset = False
        self._messages: deque[tuple[ToWorker, list[socket.socket]]] = deque()
        self._wake = trio.Event()

    def __repr__(self) -> str:
        return (
            f"<WorkerLink {self.id} pid {self.pid}: {len(self._resources)} resources and {len(self._messages)} to say>"
        )

    def tell_all(self, resources: Mapping[str, Resource]) -> None:
        self._reset = True
        self._resources = dict(resources)
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
        reset, self._reset = self._reset, False
        upserts = [resource for resource in resources.values() if resource is not None]
        removals = [key for key, resource in resources.items() if resource is None]
        # In parts, so that neither side has the whole of a large snapshot in its hands at once.
        for i in range(0, max(len(upserts), reset), UPSERTS_PER_UPDATE):
            more = reset and i + UPSERTS_PER_UPDATE < len(upserts)
            await self._channel.send(Update(upserts[i : i + UPSERTS_PER_UPDATE], reset=reset and i == 0, more=more))
        if removals and not reset:
            await self._channel.send(Update(removals=removals))

    async def _send_listeners(self, message: Listen, sockets: list[socket.socket]) -> None:
        open_now = [(spec, s) for spec, s in zip(message.listeners, sockets, strict=True) if s.fileno() >= 0]
        # Copies: while this waits for room a socket may be closed, and its number be given to something else.
        copies = [os.dup(sock.fileno()) for _, sock in open_now]
        try:
            await self._channel.send(Listen([spec for spec, _ in open_now]), copies)
        finally:
            for copy in copies:
                os.close(copy)
