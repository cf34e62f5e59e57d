"""The state directory: who may be in it, what it is called, and the control socket in it."""

from __future__ import annotations

import fcntl
import os
import socket
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import trio

from gateway.control import ControlChannel

CONTROL_SOCKET = "control.sock"
LISTENERS_FILE = "listeners.json"
WORKERS_FILE = "workers.json"
LOCK_FILE = "controller.lock"


class StateDirError(Exception):
    """The state directory can't be used; the message says why and what to do."""


def prepare(state_dir: Path) -> None:
    """Makes the directory, for its owner only (0700). Raises StateDirError."""
    try:
        state_dir.mkdir(mode=0o700, parents=True, exist_ok=True)
        status = state_dir.stat()
    except OSError as error:
        raise StateDirError(f"state_dir {state_dir} cannot be made: {error.strerror}") from error
    if status.st_uid != os.geteuid():
        raise StateDirError(f"state_dir {state_dir} belongs to user {status.st_uid}; run as that user or name another")
    if status.st_mode & 0o077:
        state_dir.chmod(0o700)


@contextmanager
def locked(state_dir: Path) -> Iterator[None]:
    """Holds the directory for one controller, whose process id is in the file then. Raises StateDirError if another one
    runs."""
    path = state_dir / LOCK_FILE
    try:
        lock = path.open("a")
    except OSError as error:
        raise StateDirError(f"{path} cannot be opened: {error.strerror}") from error
    with lock:
        try:
            fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            raise StateDirError(f"another isthmus runs with state_dir {state_dir}; each needs one of its own") from None
        lock.truncate(0)
        print(os.getpid(), file=lock, flush=True)
        yield


def controller_pid(state_dir: Path) -> int | None:
    """The process that holds the directory. None: nobody does, or one that does not say who it is."""
    try:
        with (state_dir / LOCK_FILE).open() as lock:
            try:
                fcntl.flock(lock, fcntl.LOCK_SH | fcntl.LOCK_NB)
            except BlockingIOError:
                return int(lock.read())
    except (OSError, ValueError):
        pass
    return None


@contextmanager
def _short_path(state_dir: Path, name: str) -> Iterator[str]:
    """A path to `name` that fits into a Unix socket's address (108 bytes), however deep the directory lies."""
    directory = os.open(state_dir, os.O_RDONLY | os.O_DIRECTORY)
    try:
        yield f"/proc/self/fd/{directory}/{name}"
    finally:
        os.close(directory)


def listen_control(state_dir: Path) -> trio.socket.SocketType:
    """The controller's end. Only the owner of the directory gets to it."""
    (state_dir / CONTROL_SOCKET).unlink(missing_ok=True)
    # Binding a trio socket is asynchronous for the sake of host names; a Unix path has none.
    sock = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
    try:
        with _short_path(state_dir, CONTROL_SOCKET) as path:
            sock.bind(path)
        sock.listen(64)
    except BaseException:
        sock.close()
        raise
    return trio.socket.from_stdlib_socket(sock)


async def connect_control(state_dir: Path) -> ControlChannel:
    """A worker's end. Raises OSError while there is no controller."""
    sock = trio.socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
    try:
        with _short_path(state_dir, CONTROL_SOCKET) as path:
            await sock.connect(path)
    except BaseException:
        sock.close()
        raise
    return ControlChannel(sock)
