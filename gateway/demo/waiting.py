"""Waiting for something to become true, with a deadline: the only place of the demo that reads a clock."""

from __future__ import annotations

import time
from collections.abc import Callable
from typing import TypeVar

_T = TypeVar("_T")
POLL_S = 0.05


class NotInTime(Exception):
    """What was waited for did not happen; the message says what, and what was seen last."""


def seconds() -> float:
    """A clock for durations."""
    return time.monotonic()  # noqa: TID251 - the demo watches real processes


def pause(duration_s: float) -> None:
    """For a load that has a pace, and for showing that something does not happen."""
    time.sleep(duration_s)


def wait_until(probe: Callable[[], _T | None], what: str, *, timeout_s: float = 60.0, poll_s: float = POLL_S) -> _T:
    """Calls `probe` until it gives something true, and returns that.

    A connection that fails (OSError) counts as nothing yet. Raises NotInTime.
    """
    give_up_at = seconds() + timeout_s
    while True:
        last: object
        try:
            seen = probe()
            if seen:
                return seen
            last = seen
        except OSError as error:
            last = error
        if seconds() > give_up_at:
            raise NotInTime(f"not within {timeout_s:g} s: {what} (the last that was seen: {last!r})")
        time.sleep(poll_s)
