"""The worker processes: started, adopted, told, replaced, drained."""

from __future__ import annotations

import logging
import os
import socket
import subprocess
import sys
from collections import deque
from collections.abc import Callable, Iterable, Mapping
from pathlib import Path

import msgspec
import trio

from gateway.control import (
    DESCRIPTORS_PER_MESSAGE,
    Certificate,
    ChannelClosed,
    ControlChannel,
    Drain,
    Hello,
    Listen,
    ListenerSpec,
    Report,
    SigningRequest,
    ToWorker,
    Unlisten,
)
from gateway.listeners import Listeners
from gateway.snapshot import Resource, Update
from gateway.state_dir import WORKERS_FILE, listen_control
from gateway.version import VERSION

log = logging.getLogger("isthmus.fleet")

# Workers of an earlier controller try to reach a new one every 100 ms.
ADOPTION_TIMEOUT_S = 2.0
RESPAWN_FIRST_S = 0.1
RESPAWN_LIMIT_S = 5.0
# A worker that lived this long did not die of its start.
STABLE_S = 5.0
UPSERTS_PER_UPDATE = 2_000
# A worker of an older version may finish its requests for so long.
REPLACED_DRAIN_S = 30.0


class WorkerLink:
    """The controller's connection to one worker, and what is still to be told it.

    Resources wait in a dictionary, so a worker that is slow to read gets the last state of each and nothing piles up.
    """

    def __init__(self, channel: ControlChannel, hello: Hello) -> None:
        self.id = hello.worker_id
        self.pid = hello.pid
        self.version = hello.version
        self.report: Report | None = None
        self._channel = channel
        self._resources: dict[str, Resource | None] = {}
        self._reset = False
        self._messages: deque[tuple[ToWorker, list[socket.socket]]] = deque()
        self._wake = trio.Event()

    def tell_all(self, resources: Mapping[str, Resource]) -> None:
        self._reset = True
        self._resources = dict(resources)
        self._wake.set()

    def tell_changes(self, changes: Mapping[str, Resource | None]) -> None:
        self._resources.update(changes)
        self._wake.set()

    def tell(self, message: ToWorker, sockets: Iterable[socket.socket] = ()) -> None:
        self._messages.append((message, [*sockets]))
        self._wake.set()

    async def send_forever(self) -> None:
        """Raises ChannelClosed when the worker is gone."""
        while True:
            await self._wake.wait()
            self._wake = trio.Event()
            await self._send_resources()
            while self._messages:
                message, sockets = self._messages.popleft()
                if all(sock.fileno() >= 0 for sock in sockets):
                    await self._channel.send(message, [sock.fileno() for sock in sockets])

    async def _send_resources(self) -> None:
        resources, self._resources = self._resources, {}
        reset, self._reset = self._reset, False
        if reset:
            # One message, because whatever a resetting update does not name is gone.
            await self._channel.send(Update([r for r in resources.values() if r is not None], reset=True))
            return
        upserts = [resource for resource in resources.values() if resource is not None]
        removals = [key for key, resource in resources.items() if resource is None]
        for i in range(0, len(upserts), UPSERTS_PER_UPDATE):
            await self._channel.send(Update(upserts[i : i + UPSERTS_PER_UPDATE]))
        if removals:
            await self._channel.send(Update(removals=removals))


class Fleet:
    """All workers of this gateway.

    Args:
        sign: makes a certificate chain (DER, leaf first) for a signing request (DER).
        reported: called after each report of a worker.
    """

    def __init__(
        self,
        state_dir: Path,
        count: int,
        listeners: Listeners,
        *,
        sign: Callable[[bytes], list[bytes]],
        reported: Callable[[WorkerLink, Report], None],
    ) -> None:
        self.links: dict[str, WorkerLink] = {}
        self._state_dir = state_dir
        self._count = count
        self._listeners = listeners
        self._sign = sign
        self._reported = reported
        self._resources: dict[str, Resource] = {}
        self._pids: dict[str, int] = {}
        self._next = 0
        self._draining = False
        self._nursery: trio.Nursery
        self._changed = trio.Event()

    # What the controller says.

    def apply(self, changes: Mapping[str, Resource | None]) -> None:
        """Changes the snapshot of all workers, also of those to come."""
        for key, resource in changes.items():
            if resource is None:
                self._resources.pop(key, None)
            else:
                self._resources[key] = resource
        for link in self.links.values():
            link.tell_changes(changes)

    def listen(self, names: Iterable[str]) -> None:
        """Gives open sockets to all workers."""
        entries = [self._listeners.sockets[name] for name in names]
        for link in self.links.values():
            _give(link, entries)

    def unlisten(self, names: list[str]) -> None:
        for link in self.links.values():
            link.tell(Unlisten(names))

    # Life.

    async def adopt(self, nursery: trio.Nursery) -> None:
        """Opens the control socket and waits for workers that an earlier controller left; their sockets are in
        `listeners` then. Comes before any socket is opened, since theirs may hold the same addresses."""
        self._nursery = nursery
        nursery.start_soon(self._accept, listen_control(self._state_dir))
        orphans = _living(self._state_dir / WORKERS_FILE)
        if not orphans:
            return
        with trio.move_on_after(ADOPTION_TIMEOUT_S):
            while not orphans.keys() <= self.links.keys():
                await self._changed.wait()
        log.info("adopted %d of %d workers that an earlier controller left", len(self.links), len(orphans))

    def start(self) -> None:
        """Starts as many workers as are missing, and replaces those of another version."""
        for link in [*self.links.values()]:
            if link.version != VERSION:
                link.tell(Drain(REPLACED_DRAIN_S))
                self._pids.pop(link.id, None)
        for _ in range(self._count - len(self._pids)):
            self._nursery.start_soon(self._keep_one)

    async def _keep_one(self) -> None:
        """One worker after another, as they die."""
        delay_s = RESPAWN_FIRST_S
        while True:
            began = trio.current_time()
            worker_id = f"w{os.getpid()}-{self._next}"
            self._next += 1
            process = await self._spawn(worker_id)
            self._remember(worker_id, process.pid)
            status = await process.wait()
            self._forget(worker_id)
            if self._draining:
                return
            log.error("worker %s (pid %d) ended with status %d; starting another", worker_id, process.pid, status)
            delay_s = RESPAWN_FIRST_S if trio.current_time() - began > STABLE_S else min(delay_s * 2, RESPAWN_LIMIT_S)
            if trio.current_time() - began < STABLE_S:
                await trio.sleep(delay_s)

    async def _spawn(self, worker_id: str) -> trio.Process:
        command = [sys.executable, "-m", "gateway.worker", str(self._state_dir), worker_id]
        # Not trio.run_process: a worker outlives this process, and is not killed when a nursery is cancelled.
        return await trio.lowlevel.open_process(command, stdin=subprocess.DEVNULL, stdout=subprocess.DEVNULL)

    async def _watch_adopted(self, worker_id: str, pid: int) -> None:
        """An adopted worker is no child of ours, so its end is seen through a pidfd."""
        try:
            descriptor = os.pidfd_open(pid)
        except OSError:
            pass
        else:
            try:
                await trio.lowlevel.wait_readable(descriptor)
            finally:
                os.close(descriptor)
        self._forget(worker_id)
        if not self._draining and len(self._pids) < self._count:
            log.error("worker %s (pid %d), adopted, ended; starting another", worker_id, pid)
            await self._keep_one()

    def _remember(self, worker_id: str, pid: int) -> None:
        self._pids[worker_id] = pid
        self._save()

    def _forget(self, worker_id: str) -> None:
        self._pids.pop(worker_id, None)
        self._save()

    def _save(self) -> None:
        path = self._state_dir / WORKERS_FILE
        temporary = path.with_suffix(".new")
        temporary.write_bytes(msgspec.json.encode(self._pids))
        temporary.replace(path)

    # Links.

    async def _accept(self, server: trio.socket.SocketType) -> None:
        with server:
            while True:
                sock, _ = await server.accept()
                self._nursery.start_soon(self._serve, ControlChannel(sock))

    async def _serve(self, channel: ControlChannel) -> None:
        link: WorkerLink | None = None
        try:
            hello, descriptors = await channel.receive()
            if not isinstance(hello, Hello):
                return
            link = self._welcome(channel, hello, [socket.socket(fileno=descriptor) for descriptor in descriptors])
            async with trio.open_nursery() as nursery:
                nursery.start_soon(link.send_forever)
                while True:
                    message, _ = await channel.receive()
                    self._hear(link, message)
        except* ChannelClosed:
            pass
        finally:
            if link is not None and self.links.get(link.id) is link:
                del self.links[link.id]
                self._signal()
            channel.close()

    def _welcome(self, channel: ControlChannel, hello: Hello, sockets: list[socket.socket]) -> WorkerLink:
        link = WorkerLink(channel, hello)
        for spec, sock in zip(hello.listeners, sockets, strict=True):
            self._listeners.adopt(spec, sock)
        self.links[hello.worker_id] = link
        if hello.worker_id not in self._pids:
            self._remember(hello.worker_id, hello.pid)
            self._nursery.start_soon(self._watch_adopted, hello.worker_id, hello.pid)
        if self._resources:
            link.tell_all(self._resources)
        held = {spec.name for spec in hello.listeners}
        _give(link, [entry for name, entry in self._listeners.sockets.items() if name not in held])
        self._signal()
        return link

    def _hear(self, link: WorkerLink, message: object) -> None:
        if isinstance(message, Report):
            link.report = message
            self._reported(link, message)
        elif isinstance(message, SigningRequest):
            link.tell(Certificate(self._sign(message.csr)))

    def _signal(self) -> None:
        changed, self._changed = self._changed, trio.Event()
        changed.set()

    # Ending.

    async def drain(self, timeout_s: float) -> None:
        """Lets all workers finish what runs, and ends those that do not."""
        self._draining = True
        for link in self.links.values():
            link.tell(Drain(timeout_s))
        with trio.move_on_after(timeout_s + 1.0):
            while self.links:
                await self._changed.wait()
        for pid in self._pids.values():
            try:
                os.kill(pid, 9)
            except ProcessLookupError:
                pass
        (self._state_dir / WORKERS_FILE).unlink(missing_ok=True)


def _give(link: WorkerLink, entries: list[tuple[ListenerSpec, socket.socket]]) -> None:
    for i in range(0, len(entries), DESCRIPTORS_PER_MESSAGE):
        chunk = entries[i : i + DESCRIPTORS_PER_MESSAGE]
        link.tell(Listen([spec for spec, _ in chunk]), [sock for _, sock in chunk])


def _living(path: Path) -> dict[str, int]:
    """The workers of an earlier controller that still run."""
    try:
        pids = msgspec.json.decode(path.read_bytes(), type=dict[str, int])
    except (OSError, msgspec.MsgspecError):
        return {}
    return {worker_id: pid for worker_id, pid in pids.items() if _is_worker(pid, worker_id)}


def _is_worker(pid: int, worker_id: str) -> bool:
    """Whether that process is that worker, and not another that got its number."""
    try:
        command = Path(f"/proc/{pid}/cmdline").read_bytes().split(b"\0")
    except OSError:
        return False
    return b"gateway.worker" in command and worker_id.encode() in command
