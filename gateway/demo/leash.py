"""`python -m gateway.demo.leash SPEC`: runs a few programs in one session, on a leash that ends them all.

The leash is the leader of the session and of its process group, and a child of whoever made it: as long as that one
does not wait for it, the group's number is nobody else's, so a signal to the group reaches only what belongs here.
When standard input ends (the one who held the leash is gone, however it went), the whole group is killed. A byte there
asks for an end in order: SIGTERM to each program, the last one first. A program that is to be restarted is, as a
service manager would, unless it keeps ending at once.
"""

from __future__ import annotations

import os
import select
import signal
import subprocess
import sys
from pathlib import Path

import msgspec

from gateway.demo.waiting import seconds

_POLL_S = 0.05
_STEADY_S = 1.0
_FALSE_STARTS_LIMIT = 3


class Program(msgspec.Struct, frozen=True):
    """One program. Its output goes to `<directory>/<name>.log`, and its process id to `<name>.pid`."""

    name: str
    command: list[str]
    restart: bool = False


class Spec(msgspec.Struct, frozen=True):
    """The argument, as JSON."""

    directory: str
    programs: list[Program]


class _Running:
    def __init__(self, directory: Path, program: Program) -> None:
        self._directory = directory
        self._program = program
        self._false_starts = 0
        self._start()

    def _start(self) -> None:
        name = self._program.name
        with (self._directory / f"{name}.log").open("ab") as log:
            self._process = subprocess.Popen(
                self._program.command, stdin=subprocess.DEVNULL, stdout=log, stderr=log, cwd=self._directory
            )
        self._began = seconds()
        pid_file = self._directory / f"{name}.pid"
        draft = pid_file.with_suffix(".pid.new")
        draft.write_text(f"{self._process.pid}\n")
        draft.replace(pid_file)

    def look_after(self) -> bool:
        """Starts it again if it ended and should not have. False when it has ended for good."""
        if self._process.poll() is None:
            return True
        self._false_starts = 0 if seconds() - self._began > _STEADY_S else self._false_starts + 1
        if not self._program.restart or self._false_starts >= _FALSE_STARTS_LIMIT:
            return False
        self._start()
        return True

    def end(self) -> None:
        self._process.terminate()
        self._process.wait()


def _hold(running: list[_Running]) -> None:
    """Until the leash is let go, or pulled."""
    while True:
        readable, _, _ = select.select([sys.stdin], [], [], _POLL_S)
        if readable:
            asked = os.read(sys.stdin.fileno(), 1)
            for program in reversed(running) if asked else ():
                program.end()
            return
        running = [program for program in running if program.look_after()]


def main() -> None:
    spec = msgspec.json.decode(sys.argv[1], type=Spec)
    try:
        _hold([_Running(Path(spec.directory), program) for program in spec.programs])
    finally:
        os.killpg(0, signal.SIGKILL)


if __name__ == "__main__":
    main()
