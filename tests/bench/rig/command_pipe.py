"""A process of a benchmark that does what lines on its standard input say, and answers in lines on its standard output.

Both ends of that, and what runs in between is the process's own.
"""

from __future__ import annotations

import select
import subprocess
import sys
from collections.abc import AsyncIterator, Sequence
from pathlib import Path

import trio

from gateway.demo.waiting import NotInTime, seconds

_EXIT_S = 20.0


class CommandPipe:
    """The parent's end. Its log goes to `<directory>/<name>.log`."""

    def __init__(self, directory: Path, name: str, arguments: Sequence[str]) -> None:
        self.name = name
        self._log = directory / f"{name}.log"
        with self._log.open("ab") as log:
            self._process = subprocess.Popen(
                [sys.executable, "-m", *arguments], stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=log, bufsize=0
            )
        self._tail = b""

    @property
    def pid(self) -> int:
        return self._process.pid

    def tell(self, *words: object) -> None:
        assert self._process.stdin is not None
        self._process.stdin.write(" ".join(map(str, words)).encode() + b"\n")

    def ask(self, *words: object, timeout_s: float = 60.0) -> list[str]:
        """The words of the answer. Raises NotInTime."""
        self.tell(*words)
        return self.hear(timeout_s)

    def hear(self, timeout_s: float = 60.0) -> list[str]:
        """The next line that it says. Raises NotInTime."""
        assert self._process.stdout is not None
        give_up_at = seconds() + timeout_s
        while b"\n" not in self._tail:
            ready, _, _ = select.select([self._process.stdout], [], [], max(0.0, give_up_at - seconds()))
            data = self._process.stdout.read(65_536) if ready else b""
            if not data:
                raise NotInTime(f"{self.name} said nothing within {timeout_s:g} s, or ended; see its log")
            self._tail += data
        line, _, self._tail = self._tail.partition(b"\n")
        return line.decode().split()

    def close(self) -> None:
        """Ends its input, which ends it; kills it if that does not help."""
        assert self._process.stdin is not None
        self._process.stdin.close()
        try:
            self._process.wait(_EXIT_S)
        except subprocess.TimeoutExpired:
            self._process.kill()
            self._process.wait()


async def commands() -> AsyncIterator[list[str]]:
    """The process's end: the words of each line, until the parent is gone."""
    while line := await trio.to_thread.run_sync(sys.stdin.readline, abandon_on_cancel=True):
        yield line.split()


def answer(*words: object) -> None:
    print(*words, flush=True)
