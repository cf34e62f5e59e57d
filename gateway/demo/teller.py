"""Tells the story on a terminal: what is tried, the command that does it by hand, what was seen, and each check."""

from __future__ import annotations

import sys
from typing import TextIO


class CheckFailed(Exception):
    """A check did not hold. The message says which, and what was seen."""


class Teller:
    """Prints, and counts the checks that held."""

    def __init__(self, out: TextIO | None = None) -> None:
        self._out = out if out is not None else sys.stdout
        self.checks = 0
        self.finished = False
        self._steps = 0
        self._tick = "✓" if _can_print(self._out, "✓") else "ok:"
        self._cross = "✗" if _can_print(self._out, "✗") else "FAILED:"

    def say(self, text: str = "") -> None:
        print(text, file=self._out, flush=True)

    def step(self, title: str) -> None:
        self._steps += 1
        self.say(f"\n{self._steps}. {title}")

    def note(self, text: str) -> None:
        """What happens, or why."""
        self.say(f"   {text}")

    def command(self, text: str) -> None:
        """How a person would do it."""
        self.say(f"   $ {text}")

    def saw(self, text: str) -> None:
        for line in text.rstrip().splitlines():
            self.say(f"     {line}")

    def finish(self) -> None:
        self.finished = True
        self.say(f"\ndemo passed: {self.checks} checks")

    def check(self, what: str, held: object, seen: object = "") -> None:
        """Raises CheckFailed unless `held`. `seen` is shown either way."""
        text = f"{what}: {seen}" if str(seen) else what
        if not held:
            self.say(f"   {self._cross} {text}")
            raise CheckFailed(text)
        self.checks += 1
        self.say(f"   {self._tick} {text}")


def _can_print(out: TextIO, text: str) -> bool:
    try:
        text.encode(out.encoding or "ascii")
    except UnicodeEncodeError:
        return False
    return True
