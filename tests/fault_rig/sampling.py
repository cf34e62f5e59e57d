"""A program of ours in a process of its own that says what it sees, a line of JSON each."""

from __future__ import annotations

import subprocess
import sys
import threading
from typing import Generic, TypeVar

import msgspec

SampleT = TypeVar("SampleT")

_END_S = 15.0


class Sampling(Generic[SampleT]):
    """`with Sampling(module, plan, kind) as sampling`: it runs, with its plan as its argument, until the block ends. It
    is told so by the end of its standard input."""

    def __init__(self, module: str, plan: msgspec.Struct, kind: type[SampleT]) -> None:
        self.samples: list[SampleT] = []
        """As they come; nothing is taken from it."""
        self._line = [sys.executable, "-m", module, msgspec.json.encode(plan).decode()]
        self._decode = msgspec.json.Decoder(kind).decode
        self._process: subprocess.Popen[bytes] | None = None
        self._reader = threading.Thread(target=self._read, daemon=True)

    def __enter__(self) -> Sampling[SampleT]:
        self._process = subprocess.Popen(self._line, stdin=subprocess.PIPE, stdout=subprocess.PIPE)
        self._reader.start()
        return self

    def __exit__(self, *unused: object) -> None:
        assert self._process is not None
        assert self._process.stdin is not None
        assert self._process.stdout is not None
        self._process.stdin.close()
        try:
            self._process.wait(_END_S)
        finally:
            self._process.kill()
            self._process.wait()
            self._reader.join(_END_S)
            self._process.stdout.close()

    def _read(self) -> None:
        assert self._process is not None
        assert self._process.stdout is not None
        for line in self._process.stdout:
            self.samples.append(self._decode(line))
