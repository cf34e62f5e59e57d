"""A newer controller in place of this one: SIGUSR2, which `isthmus upgrade` sends.

The process stays, and its program is replaced (execve(2)): whoever looks after it (systemd, a container) sees nothing
end. Workers serve on meanwhile, with the listening sockets; the new controller takes them over as after a crash, and
replaces them one after another. What would not start is refused before anything is given up.
"""

from __future__ import annotations

import contextlib
import os
import signal
import subprocess
import sys
from collections.abc import MutableMapping
from pathlib import Path

import trio

_CHECK_TIMEOUT_S = 60.0
_REPLACE_WORKERS = "ISTHMUS_REPLACE_WORKERS"
_SHOWN_CHARACTERS = 600
_STDERR = 2
# Loads what runs in both kinds of processes, then reads the configuration as the new version does.
_CHECK = """\
import sys, gateway.run, gateway.worker.worker
from gateway.cli import main
sys.exit(main(["validate", "-c", sys.argv[1]]))
"""


class UpgradeError(Exception):
    """The program that is installed now would not start; the message says why."""


async def check_installed(config_path: Path) -> None:
    """Whether what is installed now can be loaded and takes the configuration. Raises UpgradeError."""
    # -P: a folder called `gateway` where the user stands is not ours.
    command = [sys.executable, "-P", "-c", _CHECK, str(config_path)]
    try:
        with trio.fail_after(_CHECK_TIMEOUT_S):
            done = await trio.run_process(
                command, stdin=subprocess.DEVNULL, capture_stdout=True, capture_stderr=True, check=False
            )
    except OSError as error:
        raise UpgradeError(f"{sys.executable} cannot be started: {error.strerror or error}") from error
    except trio.TooSlowError:
        raise UpgradeError(f"what is installed did not start within {_CHECK_TIMEOUT_S:g} s") from None
    if done.returncode != 0:
        said = (done.stdout + done.stderr).decode(errors="replace").strip()
        raise UpgradeError(f"what is installed would not start: {said[-_SHOWN_CHARACTERS:] or done.returncode}")


def replace_program() -> None:
    """Does not return: the same command begins anew, by what is installed now. Raises UpgradeError."""
    # Until the new program has its handlers, these would end it; a change of the configuration it reads anyway.
    _close_at_exec()
    before = {number: signal.signal(number, signal.SIG_IGN) for number in (signal.SIGHUP, signal.SIGUSR2)}
    try:
        os.execve(sys.executable, [sys.executable, *sys.orig_argv[1:]], {**os.environ, _REPLACE_WORKERS: "1"})
    except OSError as error:
        for number, handler in before.items():
            signal.signal(number, handler)
        raise UpgradeError(f"{sys.executable} cannot be started: {error.strerror or error}") from error


def _close_at_exec() -> None:
    """The new program inherits nothing that is open: it could not listen where an old socket still does. The status
    API's server makes its own inheritable."""
    for descriptor in os.listdir("/proc/self/fd"):
        if int(descriptor) > _STDERR:
            with contextlib.suppress(OSError):
                # The directory's own is closed by now.
                os.set_inheritable(int(descriptor), False)


def take_order(environment: MutableMapping[str, str]) -> bool:
    """Whether this program was begun by an upgrade, and shall replace all workers. Workers are not to inherit it."""
    return environment.pop(_REPLACE_WORKERS, "") == "1"
