"""Worker processes as the system sees them: started, found again, waited for, ended."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
from pathlib import Path

import msgspec
import trio

from gateway.process.log import log_level

# For the C library (mallopt(3)): a worker moves buffers of 256 KiB, which shall not be mapped and unmapped each time.
# Seen on bulk TCP: a tenth to a fifth less CPU.
_MALLOC = {"MALLOC_MMAP_THRESHOLD_": "8388608", "MALLOC_TRIM_THRESHOLD_": "16777216"}
# How long a killed process may take to be gone.
KILLED_S = 1.0


async def start_worker(state_dir: Path, worker_id: str) -> trio.Process:
    """Raises OSError."""
    # -P: a folder called `gateway` where the user stands is not ours.
    command = [sys.executable, "-P", "-m", "gateway.worker", str(state_dir), worker_id, log_level()]
    # Not trio.run_process: a worker outlives this process, and is not killed when a nursery is cancelled.
    return await trio.lowlevel.open_process(
        command, stdin=subprocess.DEVNULL, stdout=subprocess.DEVNULL, env=_MALLOC | os.environ
    )


async def wait_for_end(pid: int) -> None:
    try:
        descriptor = os.pidfd_open(pid)
    except OSError:
        return
    try:
        await trio.lowlevel.wait_readable(descriptor)
    finally:
        os.close(descriptor)


async def kill(pid: int) -> None:
    try:
        os.kill(pid, signal.SIGKILL)
    except ProcessLookupError:
        return
    with trio.move_on_after(KILLED_S):
        await wait_for_end(pid)


def living_workers(path: Path) -> dict[str, int]:
    """The workers of an earlier controller that still run."""
    try:
        pids = msgspec.json.decode(path.read_bytes(), type=dict[str, int])
    except (OSError, msgspec.MsgspecError):
        return {}
    return {worker_id: pid for worker_id, pid in pids.items() if _is_worker(pid, worker_id)}


def _is_worker(pid: int, worker_id: str) -> bool:
    """Whether that process is that worker, and not another that got its number."""
    try:
        command = Path(f"/proc/{pid}/cmdline").read_bytes().split(b"\0")
    except OSError:
        return False
    return b"gateway.worker" in command and worker_id.encode() in command
