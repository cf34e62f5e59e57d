"""A group of processes of the demo: all that runs for one cluster, or etcd."""

from __future__ import annotations

import contextlib
import os
import signal
import subprocess
import sys
from collections.abc import Sequence
from pathlib import Path

import msgspec

from gateway.demo.leash import Program, Spec
from gateway.demo.waiting import pause

_POLL_S = 0.02
_GONE_TIMEOUT_POLLS = 500
_SHOWN_LINES = 12


class Group:
    """Programs that start and end together. `directory` gets their logs; it must exist."""

    def __init__(self, directory: Path, programs: Sequence[Program]) -> None:
        self.directory = directory
        self._programs = list(programs)
        self._leash: subprocess.Popen[bytes] | None = None

    @property
    def running(self) -> bool:
        return self._leash is not None

    @property
    def id(self) -> int:
        """The process group's number, which is its leader's."""
        assert self._leash is not None, "the group does not run"
        return self._leash.pid

    def start(self) -> None:
        for program in self._programs:
            (self.directory / f"{program.name}.pid").unlink(missing_ok=True)
        spec = msgspec.json.encode(Spec(str(self.directory), self._programs)).decode()
        with (self.directory / "leash.log").open("ab") as log:
            self._leash = subprocess.Popen(
                [sys.executable, "-m", "gateway.demo.leash", spec],
                cwd=self.directory,
                stdin=subprocess.PIPE,
                stdout=log,
                stderr=log,
                start_new_session=True,
            )

    def pid(self, name: str) -> int:
        """The process that runs one of the programs now; 0 before it has started."""
        try:
            return int((self.directory / f"{name}.pid").read_text())
        except (OSError, ValueError):
            return 0

    def kill(self) -> None:
        """SIGKILL to every process of the group, and waits until they are gone. Nothing happens if it does not run."""
        if self._leash is None:
            return
        # The leader was not waited for, so its number still means this group, whoever of it is left.
        with contextlib.suppress(ProcessLookupError):
            os.killpg(self.id, signal.SIGKILL)
        self._wait_until_alone()
        self._release()

    def stop(self, timeout_s: float = 15.0) -> None:
        """Lets the programs end in order (SIGTERM); kills what is left after `timeout_s`."""
        if self._leash is None:
            return
        assert self._leash.stdin is not None
        with contextlib.suppress(BrokenPipeError):
            self._leash.stdin.write(b"t")
            self._leash.stdin.flush()
        # Looking at the exit status without reaping keeps the group's number ours.
        for _ in range(int(timeout_s / _POLL_S)):
            if os.waitid(os.P_PID, self.id, os.WEXITED | os.WNOHANG | os.WNOWAIT) is not None:
                break
            pause(_POLL_S)
        self.kill()

    def _wait_until_alone(self) -> None:
        """Until nothing but zombies is left. Those whose parent was killed wait for init, which may take its time."""
        for _ in range(_GONE_TIMEOUT_POLLS):
            if not living_members(self.id):
                return
            pause(_POLL_S)

    def _release(self) -> None:
        assert self._leash is not None
        assert self._leash.stdin is not None
        with contextlib.suppress(BrokenPipeError):
            self._leash.stdin.close()
        self._leash.wait()
        self._leash = None

    def last_words(self) -> str:
        """The end of each log, for a person who has to find out what happened."""
        parts = []
        for path in sorted(self.directory.glob("*.log")):
            lines = path.read_text(errors="replace").splitlines()[-_SHOWN_LINES:]
            if lines:
                parts.append("\n".join([f"--- {path}", *lines]))
        return "\n".join(parts)


def living_members(group_id: int) -> list[int]:
    """The processes of a group, zombies left out."""
    members = []
    for entry in Path("/proc").iterdir():
        if not entry.name.isdigit():
            continue
        try:
            # The command's name is in parentheses and may hold any character (proc(5)).
            state, _, group = (entry / "stat").read_text(errors="replace").rpartition(")")[2].split()[:3]
        except (OSError, ValueError):
            continue
        if int(group) == group_id and state not in "ZX":
            members.append(int(entry.name))
    return members
