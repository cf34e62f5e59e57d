"""What is looked at before a controller gives its place to a newer one; the rest needs processes, and is in
tests/faults/test_rolling_replacement.py."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest
import trio

from gateway.controller.upgrade import UpgradeError, check_installed, replace_program, take_order

_GOOD = "federation: acme\ncluster: {name: east, trust_domain: east.acme.test}\n"


@pytest.fixture
def config_path(tmp_path: Path) -> Path:
    path = tmp_path / "cluster.yaml"
    path.write_text(_GOOD)
    return path


async def test_what_would_start_is_not_refused(config_path: Path) -> None:
    """It is loaded by another process, from where it is installed now."""
    await check_installed(config_path)


async def test_a_configuration_that_the_new_version_refuses(config_path: Path) -> None:
    """What it says of the file is in the error: an operator sees it in the status."""
    await trio.Path(config_path).write_text(_GOOD + "gatway: {}\n")
    with pytest.raises(UpgradeError, match=r"would not start: .*gatway"):
        await check_installed(config_path)


async def test_a_python_that_is_gone(config_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A virtual environment that was removed: nothing is given up for it. Signals are taken again afterwards."""
    monkeypatch.setattr(sys, "executable", str(config_path.parent / "gone"))
    with pytest.raises(UpgradeError, match="gone cannot be started"):
        await check_installed(config_path)
    with pytest.raises(UpgradeError, match="gone cannot be started"):
        replace_program()


_PROGRAM = """
import os, socket, sys
from gateway.controller.upgrade import replace_program, take_order
if take_order(os.environ):
    os.execv(sys.executable, [sys.executable, "-c", "import os; print(sorted(os.listdir('/proc/self/fd')))"])
open_ones = [socket.socket(), open("/dev/null")]
for one in open_ones:
    os.set_inheritable(one.fileno(), True)
replace_program()
"""


def test_nothing_that_is_open_stays_so(tmp_path: Path) -> None:
    """The status API's server makes its listening socket inheritable: the new program could not listen there."""
    program = tmp_path / "program.py"
    program.write_text(_PROGRAM)
    done = subprocess.run([sys.executable, str(program)], capture_output=True, text=True, timeout=60, check=True)
    # Its three standard streams, and the directory that it lists.
    assert done.stdout.strip() == "['0', '1', '2', '3']", done.stderr


def test_the_order_is_taken_once() -> None:
    """A worker that inherited it would hand it to nobody; a controller that is started later must not obey it."""
    environment = {"ISTHMUS_REPLACE_WORKERS": "1", "HOME": "/"}
    assert take_order(environment)
    assert environment == {"HOME": "/"}
    assert not take_order(environment)
