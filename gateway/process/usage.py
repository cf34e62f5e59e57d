"""How much CPU and memory a process has used, as /proc tells it."""

from __future__ import annotations

import os
from pathlib import Path

import msgspec

_PROC = Path("/proc")
_USER_FIELD, _SYSTEM_FIELD, _RESIDENT_FIELD = 11, 12, 21
"""Positions after the command's name (proc(5): fields 14, 15 and 24)."""


class ProcessUsage(msgspec.Struct, frozen=True):
    cpu_s: float
    """Since it began, user and system together."""
    resident_bytes: int


def read_usage(pid: int) -> ProcessUsage | None:
    """None when there is no such process, or no /proc."""
    try:
        stat = (_PROC / str(pid) / "stat").read_text(errors="replace")
    except OSError:
        return None
    # The command's name is in parentheses and may hold any character, so the last ")" ends it.
    fields = stat.rpartition(")")[2].split()
    ticks = int(fields[_USER_FIELD]) + int(fields[_SYSTEM_FIELD])
    pages = int(fields[_RESIDENT_FIELD])
    return ProcessUsage(ticks / os.sysconf("SC_CLK_TCK"), pages * os.sysconf("SC_PAGE_SIZE"))
