"""Memory put together into huge pages."""

from __future__ import annotations

import subprocess
import sys

from gateway.process.huge_pages import collapsible

_MAPS = """\
55d798000000-55d7987ff000 rw-p 00000000 00:00 0                          [heap]
7f0000000000-7f0000400000 r-xp 00000000 fe:00 1234                       /usr/lib/libpython3.so
7f0000400000-7f0000800000 rw-p 00000000 fe:00 1234                       /usr/lib/libpython3.so
7f0000900000-7f0000f00000 rw-p 00000000 00:00 0 
7f0001000000-7f0001400000 rw-s 00000000 00:00 0                          /dev/zero (deleted)
7f0002000000-7f0002400000 ---p 00000000 00:00 0 
7ffce6c00000-7ffce7000000 rw-p 00000000 00:00 0                          [stack]
nonsense
"""  # noqa: W291 - as Linux writes it

_PROGRAM = """
from pathlib import Path
from gateway.process.huge_pages import use_huge_pages

kept = [bytes([i % 251]) * 100_000 for i in range(300)]
moved = use_huge_pages()
assert all(piece == bytes([i % 251]) * 100_000 for i, piece in enumerate(kept))
sizes = dict(line.split()[:2] for line in Path("/proc/self/smaps_rollup").read_text().splitlines()[1:])
print(moved >= 0 and int(sizes["AnonHugePages:"]) >= moved * 2048)
"""


def test_only_what_is_ours_alone_is_moved() -> None:
    """Pages of files are shared with other processes, and the stack may grow."""
    addresses = [*collapsible(_MAPS)]
    heap = [0x55D798000000, 0x55D798200000, 0x55D798400000]
    assert addresses == [*heap, 0x7F0000A00000, 0x7F0000C00000]


def test_a_process_goes_on_with_what_it_had() -> None:
    """Where there are huge pages (a kernel of 6.1, and not `never`) it has as many as are claimed."""
    done = subprocess.run([sys.executable, "-c", _PROGRAM], capture_output=True, text=True, check=False)
    assert done.stdout == "True\n", done.stderr
