"""What the command's exit status says to a script."""

from __future__ import annotations

OK = 0
NEGATIVE = 1
"""It worked, and the answer is no: not ready, no such name. Or `run` could not start."""
USAGE = 2
"""The command line or the configuration is wrong. argparse uses it as well."""
UNREACHABLE = 3
"""The gateway can't be asked."""
INTERRUPTED = 130
"""Ctrl-C, as a shell counts it: 128 and the signal's number."""


class Failure(Exception):
    """Ends the command with a message of one line (or one line for each problem) and an exit status."""

    def __init__(self, status: int, message: str) -> None:
        super().__init__(message)
        self.status = status
