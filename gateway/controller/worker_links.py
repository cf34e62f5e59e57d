"""The connections to all workers: what all of them are told, and what each of them says.

Workers come over the control socket, those that were just started and those of an earlier controller alike. The latter
bring the sockets that they serve, so that nobody who waits to be accepted is lost.
"""

from __future__ import annotations

import logging
import os
import socket
from collections.abc import Callable, Iterable, Iterator, Mapping
from pathlib import Path
from typing import Protocol

import trio

from gateway.control import (
    Certificate,
    ChannelClosed,
    ControlChannel,
    Explained,
    Hello,
    Listen,
    ListenerSpec,
    Report,
    SigningRequest,
    Unlisten,
)
from gateway.controller.worker_link import WorkerLink
from gateway.process.state_dir import listen_control
from gateway.snapshot import Resource
from gateway.transport.listeners import Listeners
from trust.errors import TrustError

log = logging.getLogger("isthmus.fleet")

# After running out of descriptors.
EXHAUSTED_PAUSE_S = 0.1


class Keeper(Protocol):
    """Who looks after the processes behind the links: `gateway.controller.fleet.Fleet`."""

    def arrived(self, link: WorkerLink) -> None:
        """A worker said who it is, and was told everything."""

    def heard(self, worker_id: str) -> None:
        """It said anything at all."""

    def left(self, worker_id: str) -> None:
        """Its link is gone, and what it said last was read."""


class WorkerLinks(Mapping[str, WorkerLink]):
    """The workers that are connected, by id.

    Args:
        sign: answers a signing request (DER); raises TrustError.
        reported: called after each report of a worker.
        explained: called with each answer of a worker to `Explain`.
    """

    def __init__(
        self,
        keeper: Keeper,
        listeners: Listeners,
        *,
        sign: Callable[[bytes], Certificate],
        reported: Callable[[WorkerLink, Report], None],
        explained: Callable[[WorkerLink, Explained], None],
    ) -> None:
        self.takes_sockets = True
        """Whether what workers bring is taken; once ours are open, it would be there twice."""
        self._keeper = keeper
        self._listeners = listeners
        self._sign = sign
        self._reported = reported
        self._explained = explained
        self._links: dict[str, WorkerLink] = {}
        self._resources: dict[str, Resource] = {}
        self._whole = False
        """Whether those are all that is known, or more is being read from disk."""
        self._changed = trio.Event()

    def __getitem__(self, worker_id: str) -> WorkerLink:
        return self._links[worker_id]

    def __iter__(self) -> Iterator[str]:
        return iter(self._links)

    def __len__(self) -> int:
        return len(self._links)

    async def change(self) -> None:
        """Returns when a worker came, went or reported."""
        await self._changed.wait()

    # What all are told.

    def apply(self, changes: Mapping[str, Resource | None]) -> None:
        """Changes the snapshot of all workers, also of those to come. What they have been told is not told again; what
        is gone they may know from an earlier controller alone."""
        changes = {key: new for key, new in changes.items() if new is None or self._resources.get(key) != new}
        for key, resource in changes.items():
            if resource is None:
                self._resources.pop(key, None)
            else:
                self._resources[key] = resource
        for link in self._links.values():
            link.tell_changes(changes)

    def complete(self) -> None:
        """What was known before a restart has been applied: workers may serve by it, and forget what is not in it."""
        self._whole = True
        for link in self._links.values():
            link.finish()

    def listen(self, names: Iterable[str]) -> None:
        """Gives open sockets to all workers."""
        entries = [self._listeners.sockets[name] for name in names]
        for link in self._links.values():
            link.give(entries)

    def unlisten(self, names: list[str]) -> None:
        for link in self._links.values():
            link.tell(Unlisten(names))

    def certify(self, certificate: Certificate) -> None:
        """Gives all workers another SVID than they asked for."""
        for link in self._links.values():
            link.tell(certificate)

    # What each says.

    def serve(self, state_dir: Path, nursery: trio.Nursery) -> None:
        """Opens the control socket, and serves whoever comes until `nursery` ends."""
        nursery.start_soon(self._accept, listen_control(state_dir), nursery)

    async def _accept(self, server: trio.socket.SocketType, nursery: trio.Nursery) -> None:
        with server:
            while True:
                try:
                    sock, _ = await server.accept()
                except OSError as error:
                    log.error("cannot accept a worker's connection: %s", error)
                    await trio.sleep(EXHAUSTED_PAUSE_S)
                else:
                    nursery.start_soon(self._serve, ControlChannel(sock))

    async def _serve(self, channel: ControlChannel) -> None:
        """One worker's connection. Whatever comes over it ends at most this connection."""
        link: WorkerLink | None = None
        try:
            link = await self._welcome(channel)
            if link is None:
                return
            async with trio.open_nursery() as nursery:
                nursery.start_soon(link.send_forever)
                while True:
                    message, descriptors = await channel.receive()
                    self._hear(link, message, descriptors)
        except* ChannelClosed:
            pass
        except* Exception:
            log.exception("a worker's connection failed in a way that nobody foresaw; it is closed")
        finally:
            channel.close()
            if link is not None and self._links.get(link.id) is link:
                del self._links[link.id]
                self._signal()
                self._keeper.left(link.id)

    async def _welcome(self, channel: ControlChannel) -> WorkerLink | None:
        """Takes in what a worker brings, and gives it what it needs. None for somebody who is no worker."""
        brought: dict[str, ListenerSpec] = {}
        message, descriptors = await channel.receive()
        while isinstance(message, Listen):
            sockets = [socket.socket(fileno=descriptor) for descriptor in descriptors]
            for spec, sock in zip(message.listeners, sockets, strict=True):
                brought[spec.name] = spec
                self._take_back(spec, sock)
            message, descriptors = await channel.receive()
        if not isinstance(message, Hello):
            return None
        link = self._links[message.worker_id] = WorkerLink(channel, message)
        self._keeper.arrived(link)
        self._bring_up_to_date(link, brought)
        self._signal()
        return link

    def _take_back(self, spec: ListenerSpec, sock: socket.socket) -> None:
        if self.takes_sockets:
            self._listeners.adopt(spec, sock)
        else:
            sock.close()

    def _bring_up_to_date(self, link: WorkerLink, brought: Mapping[str, ListenerSpec]) -> None:
        link.tell_all(self._resources, whole=self._whole)
        sockets = self._listeners.sockets
        gone = [name for name in brought if name not in sockets]
        if gone:
            link.tell(Unlisten(gone))
        # One that is elsewhere now takes the place of the one before it.
        link.give(entry for name, entry in sockets.items() if brought.get(name) != entry[0])

    def _hear(self, link: WorkerLink, message: object, descriptors: list[int]) -> None:
        self._keeper.heard(link.id)
        if isinstance(message, Report):
            link.report = message
            self._signal()
            self._reported(link, message)
        elif isinstance(message, SigningRequest):
            self._certify(link, message.csr)
        elif isinstance(message, Explained):
            self._explained(link, message)
        for descriptor in descriptors:
            os.close(descriptor)

    def _certify(self, link: WorkerLink, csr: bytes) -> None:
        try:
            link.tell(self._sign(csr))
        except TrustError as error:
            log.error("worker %s gets no certificate: %s", link.id, error)

    def _signal(self) -> None:
        changed, self._changed = self._changed, trio.Event()
        changed.set()
