"""The worker processes: started, adopted, told, replaced, drained."""

from __future__ import annotations

import logging
import os
import signal
from collections.abc import Callable
from pathlib import Path

import msgspec
import trio

from gateway.control import Certificate, Drain, Explained, Report
from gateway.controller.watchdog import TICK_S, Watchdog
from gateway.controller.worker_link import WorkerLink
from gateway.controller.worker_links import WorkerLinks
from gateway.controller.worker_process import kill, living_workers, start_worker, wait_for_end
from gateway.process.identity import reap
from gateway.process.state_dir import WORKERS_FILE
from gateway.transport.listeners import Listeners
from gateway.version import VERSION

log = logging.getLogger("isthmus.fleet")

# Workers of an earlier controller try to reach a new one every 100 ms.
ADOPTION_TIMEOUT_S = 2.0
RESPAWN_FIRST_S = 0.1
RESPAWN_LIMIT_S = 5.0
# A worker that lived this long did not die of its start.
STABLE_S = 5.0
# A worker that is not wanted any more may finish its requests for so long.
REPLACED_DRAIN_S = 30.0


class Fleet:
    """All workers of this gateway.

    Args:
        sign: answers a signing request (DER); raises TrustError.
        reported: called after each report of a worker.
        explained: called with each answer of a worker to `Explain`.
        ended: called with the id of a worker that is gone and will not report again.
    """

    def __init__(
        self,
        state_dir: Path,
        count: int,
        listeners: Listeners,
        *,
        sign: Callable[[bytes], Certificate],
        reported: Callable[[WorkerLink, Report], None],
        explained: Callable[[WorkerLink, Explained], None],
        ended: Callable[[str], None],
    ) -> None:
        self.links = WorkerLinks(self, listeners, sign=sign, reported=reported, explained=explained)
        self._state_dir = state_dir
        self._count = count
        self._ended = ended
        self._pids: dict[str, int] = {}
        self._leaving: set[str] = set()
        self._outdated: set[str] = set()
        """Workers of an earlier controller that are to be replaced."""
        self._places = 0
        """Workers that are kept: those that run or are being started, without the leaving."""
        self._too_many = 0
        """Places to be given up by whoever is between two workers."""
        self._watchdog = Watchdog()
        self.frozen: dict[str, str] = {}
        """Workers that stood still and were replaced, for status: what was seen, by worker."""
        self._next = 0
        self._started = False
        self._draining = False
        self._nursery: trio.Nursery

    # Life.

    async def adopt(self, nursery: trio.Nursery) -> None:
        """Opens the control socket and waits for workers that an earlier controller left; their sockets are in
        `listeners` then. Comes before any socket is opened, since theirs may hold the same addresses: a worker that
        does not come forward is killed for that reason."""
        self._nursery = nursery
        self.links.serve(self._state_dir, nursery)
        orphans = living_workers(self._state_dir / WORKERS_FILE)
        if not orphans:
            return
        with trio.move_on_after(ADOPTION_TIMEOUT_S):
            while not orphans.keys() <= self.links.keys():
                await self.links.change()
        adopted = orphans.keys() & self.links.keys()
        for worker_id in orphans.keys() - adopted:
            log.error("worker %s (pid %d) does not answer; it is killed", worker_id, orphans[worker_id])
            await kill(orphans[worker_id])
            reap(orphans[worker_id])
        log.info("adopted %d of %d workers that an earlier controller left", len(adopted), len(orphans))

    def start(self, *, replace_all: bool = False) -> None:
        """Starts as many workers as are missing, and replaces those of another version (or all that are there), one
        after the other."""
        self._started = True
        self.links.takes_sockets = False
        self._places = len(self.links)
        self._outdated = {i for i, link in self.links.items() if replace_all or link.version != VERSION}
        self._nursery.start_soon(self._watch)
        self._nursery.start_soon(self._replace_outdated)
        self.resize(self._count)

    def resize(self, count: int) -> None:
        """Starts workers, or lets some go: they finish what runs, while the others take what is new."""
        self._count = count
        while self._places < count:
            self._places += 1
            self._nursery.start_soon(self._keep_one)
        while self._places > count:
            self._places -= 1
            # The outdated first: they would be replaced anyway. Then the youngest.
            leaving = min(reversed(self._staying()), key=lambda link: link.id not in self._outdated, default=None)
            if leaving is not None:
                self._dismiss(leaving)
            else:
                self._too_many += 1

    def _staying(self) -> list[WorkerLink]:
        return [link for link in self.links.values() if link.id not in self._leaving]

    def _dismiss(self, link: WorkerLink) -> None:
        self._leaving.add(link.id)
        link.tell(Drain(REPLACED_DRAIN_S))

    async def _replace_outdated(self) -> None:
        """A new worker serves before an old one is let go: somebody is always there to take what comes."""
        for worker_id in sorted(self._outdated):
            link = self.links.get(worker_id)
            if link is None or worker_id in self._leaving:
                continue
            log.info("worker %s of version %s is replaced by one of %s", worker_id, link.version, VERSION)
            # Whatever becomes of it from here on, another is on its way.
            self._leaving.add(worker_id)
            before = self._serving()
            self._nursery.start_soon(self._keep_one)
            while self._serving() <= before and worker_id in self.links and not self._draining:
                await self.links.change()
            if worker_id in self.links:
                self._dismiss(link)

    def _serving(self) -> int:
        """How many workers can serve that are not to be replaced."""
        return sum(
            link.id not in self._outdated and link.report is not None and link.report.ready
            for link in self.links.values()
        )

    async def _keep_one(self) -> None:
        """One worker after another, as they die."""
        delay_s = RESPAWN_FIRST_S
        while True:
            began = trio.current_time()
            worker_id = self._new_id()
            why = await self._run_one(worker_id)
            if self._draining or worker_id in self._leaving:
                self._leaving.discard(worker_id)
                return
            if self._too_many:
                self._too_many -= 1
                return
            lived_s = trio.current_time() - began
            delay_s = RESPAWN_FIRST_S if lived_s > STABLE_S else min(delay_s * 2, RESPAWN_LIMIT_S)
            log.error("%s; starting another in %.1f s", why, delay_s)
            await trio.sleep(delay_s)

    async def _watch(self) -> None:
        """Ends workers that stand still; another comes in their place as for any that ended."""
        while True:
            await trio.sleep(TICK_S)
            for worker_id in self._watchdog.tick(trio.current_time()):
                pid = self._pids.get(worker_id)
                if pid is not None:
                    log.error("worker %s (pid %d) stands still: it says nothing; it is killed", worker_id, pid)
                    self.frozen[worker_id] = f"{worker_id} (pid {pid}) said nothing any more, and was killed"
                    await kill(pid)

    async def _run_one(self, worker_id: str) -> str:
        """A worker's whole life. Returns how it ended."""
        try:
            process = await start_worker(self._state_dir, worker_id)
        except OSError as error:
            return f"a worker could not be started: {error}"
        self._remember(worker_id, process.pid)
        status = await process.wait()
        self._forget(worker_id)
        return f"worker {worker_id} (pid {process.pid}) ended with status {status}"

    def _new_id(self) -> str:
        while True:
            worker_id = f"w{os.getpid()}-{self._next}"
            self._next += 1
            # An adopted worker's controller may have had our process id.
            if worker_id not in self._pids and worker_id not in self.links:
                return worker_id

    async def _watch_adopted(self, worker_id: str, pid: int) -> None:
        """An adopted worker is no child of ours, or one of the program that ran in this process before, so its end is
        seen through a pidfd."""
        await wait_for_end(pid)
        reap(pid)
        self._forget(worker_id)
        if worker_id in self._leaving:
            self._leaving.discard(worker_id)
        elif not self._draining:
            log.error("worker %s (pid %d), adopted, ended; starting another", worker_id, pid)
            await self._keep_one()

    def _remember(self, worker_id: str, pid: int) -> None:
        self._pids[worker_id] = pid
        self._watchdog.started(worker_id, trio.current_time())
        self._save()

    def _forget(self, worker_id: str) -> None:
        self._pids.pop(worker_id, None)
        self._watchdog.forget(worker_id)
        self._save()
        self._signal_end(worker_id)

    def _signal_end(self, worker_id: str) -> None:
        """A worker has ended when neither its process nor its link is there: what it said last is read by then."""
        if worker_id not in self._pids and worker_id not in self.links:
            self._ended(worker_id)

    def _save(self) -> None:
        path = self._state_dir / WORKERS_FILE
        temporary = path.with_suffix(".new")
        try:
            temporary.write_bytes(msgspec.json.encode(self._pids))
            temporary.replace(path)
        except OSError as error:
            # Serving goes on with a full disk; only a controller that starts now would not know its workers.
            log.error("cannot note the workers in %s: %s", path, error)

    # Links (Keeper).

    def arrived(self, link: WorkerLink) -> None:
        if link.id not in self._pids:
            self._remember(link.id, link.pid)
            self._nursery.start_soon(self._watch_adopted, link.id, link.pid)
            if self._started:
                # It stayed away when the others were adopted, and has been replaced.
                self._dismiss(link)

    def heard(self, worker_id: str) -> None:
        self._watchdog.heard(worker_id, trio.current_time())

    def left(self, worker_id: str) -> None:
        self._signal_end(worker_id)

    # Ending.

    async def drain(self, timeout_s: float) -> None:
        """Lets all workers finish what runs, and ends those that do not."""
        self._draining = True
        for link in self.links.values():
            link.tell(Drain(timeout_s))
        with trio.move_on_after(timeout_s + 1.0):
            while self.links:
                await self.links.change()
        for pid in self._pids.values():
            try:
                os.kill(pid, signal.SIGKILL)
            except ProcessLookupError:
                pass
        (self._state_dir / WORKERS_FILE).unlink(missing_ok=True)
