"""The wall clock: records, certificates and status carry its times. Only drivers are given it."""

from __future__ import annotations

import time


def wall_clock() -> float:
    """Unix seconds."""
    return time.time()  # noqa: TID251 - this is where it is read
