"""Whether a process that an earlier run left behind is still the same one.

A process id alone is not enough: the system gives it to another process later. The time when the process started,
together with the boot it started in, makes it unique.
"""

from __future__ import annotations

import contextlib
import os
import subprocess
from pathlib import Path

import msgspec

_PROC = Path("/proc")
_BOOT_ID = _PROC / "sys/kernel/random/boot_id"
_STATE_FIELD = 0
_START_FIELD = 19
"""Positions in /proc/<pid>/stat after the command's name (proc(5): fields 3 and 22)."""


class ProcessIdentity(msgspec.Struct, frozen=True):
    """A process. `started` is opaque: two processes with one id differ in it."""

    pid: int
    started: str

    @property
    def alive(self) -> bool:
        """Whether this very process runs. A zombie does not."""
        return identify_process(self.pid) == self


def identify_process(pid: int) -> ProcessIdentity | None:
    """The process that has `pid` now, None if none runs."""
    started = _started_by_proc(pid) if _BOOT_ID.exists() else started_by_ps(pid)
    return ProcessIdentity(pid, started) if started else None


def _started_by_proc(pid: int) -> str:
    try:
        stat = (_PROC / str(pid) / "stat").read_text(errors="replace")
    except OSError:
        return ""
    # The command's name is in parentheses and may hold any character, so the last ")" ends it.
    fields = stat.rpartition(")")[2].split()
    if fields[_STATE_FIELD] in "ZX":
        return ""
    return f"{_BOOT_ID.read_text().strip()}/{fields[_START_FIELD]}"


def started_by_ps(pid: int) -> str:
    """The start time as `ps` prints it, where there is no /proc; empty for a zombie or no process."""
    command = ["ps", "-o", "stat=,lstart=", "-p", str(pid)]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    state, _, started = done.stdout.strip().partition(" ")
    return "" if state.startswith("Z") else started.strip()


def reap(pid: int) -> None:
    """Takes the status of a process that has ended, where it is a child of this one: of the program that ran in it
    before an upgrade."""
    with contextlib.suppress(ChildProcessError):
        os.waitpid(pid, os.WNOHANG)
