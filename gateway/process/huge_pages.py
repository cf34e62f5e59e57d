"""The memory that a process has by now, put together into huge pages (Linux 6.1's MADV_COLLAPSE).

When a process is killed its kernel frees its memory, page by page, before it closes its sockets, and only then do its
peers know that it is gone. Huge pages are 512 times fewer: what is here after the imports is freed in less than half
the time. Nothing changes where the kernel is older, or its administrator wants no huge pages.
"""

from __future__ import annotations

import ctypes
import re
from collections.abc import Iterator
from pathlib import Path
from typing import Final

_WANTED = Path("/sys/kernel/mm/transparent_hugepage/enabled")
_MAPS = Path("/proc/self/maps")
_MADV_COLLAPSE: Final = 25
"""As in Linux's asm-generic/mman-common.h."""
HUGE_PAGE_BYTES: Final = 2 * 1024 * 1024
_PRIVATE_MEMORY: Final = re.compile(r"([0-9a-f]+)-([0-9a-f]+) rw-p [0-9a-f]+ 00:00 0 +(\[heap\])?", re.ASCII)


def use_huge_pages() -> int:
    """Moves what there is now. Returns how many huge pages there are for it: 0 where they are not to be had.

    It takes about a millisecond for each, in which the process stands still.
    """
    if not _are_wanted():
        return 0
    advise = ctypes.CDLL(None).madvise
    count = 0
    for address in collapsible(_MAPS.read_text()):
        # Refused for a page of which nothing was touched yet, or for which there is no memory in one piece.
        count += advise(ctypes.c_void_p(address), ctypes.c_size_t(HUGE_PAGE_BYTES), _MADV_COLLAPSE) == 0
    return count


def _are_wanted() -> bool:
    try:
        return "[never]" not in _WANTED.read_text()
    except OSError:
        return False


def collapsible(maps: str) -> Iterator[int]:
    """The addresses at which a huge page fits into private memory that is of no file (proc(5), `maps`).

    >>> list(collapsible("3ff000-800000 rw-p 00000000 00:00 0                          [heap]"))
    [4194304, 6291456]
    """
    for line in maps.splitlines():
        found = _PRIVATE_MEMORY.fullmatch(line)
        if found is not None:
            first = -(-int(found[1], 16) // HUGE_PAGE_BYTES) * HUGE_PAGE_BYTES
            yield from range(first, int(found[2], 16) - HUGE_PAGE_BYTES + 1, HUGE_PAGE_BYTES)
