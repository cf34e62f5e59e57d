"""The state directory: whose it is, that one controller has it, and the control socket in it."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest
import trio

from gateway.control import ControlChannel, Drain
from gateway.process.state_dir import (
    CONTROL_SOCKET,
    StateDirError,
    connect_control,
    controller_pid,
    listen_control,
    locked,
    prepare,
)


def mode(path: Path) -> int:
    return path.stat().st_mode & 0o777


def test_it_is_made_for_its_owner_alone(tmp_path: Path) -> None:
    """It holds the CA's key."""
    state_dir = tmp_path / "a" / "state"
    prepare(state_dir)
    assert mode(state_dir) == 0o700


def test_one_that_others_can_read_is_closed_to_them(tmp_path: Path) -> None:
    """Somebody made it by hand, or unpacked a backup."""
    tmp_path.chmod(0o755)
    prepare(tmp_path)
    assert mode(tmp_path) == 0o700


def test_a_file_in_its_place(tmp_path: Path) -> None:
    """The message names the path."""
    path = tmp_path / "state"
    path.write_text("")
    with pytest.raises(StateDirError, match=str(path)):
        prepare(path)


def test_one_controller_at_a_time(tmp_path: Path) -> None:
    """Two would sign with one CA and fight for one control socket. The lock ends with its process."""
    with locked(tmp_path):
        held = subprocess.run(
            [
                sys.executable,
                "-c",
                "import sys; from pathlib import Path; from gateway.process.state_dir import locked\n"
                "with locked(Path(sys.argv[1])): pass",
                str(tmp_path),
            ],
            capture_output=True,
            text=True,
            check=False,
        )
        assert "another isthmus runs with state_dir" in held.stderr
        assert controller_pid(tmp_path) == os.getpid()
    with locked(tmp_path):
        pass
    assert controller_pid(tmp_path) is None
    assert controller_pid(tmp_path / "nowhere") is None


def test_a_lock_that_cannot_be_made(tmp_path: Path) -> None:
    """Said as what keeps a gateway from starting, not as a traceback."""
    (tmp_path / "controller.lock").mkdir()
    with pytest.raises(StateDirError, match=r"controller\.lock"), locked(tmp_path):
        pass


@pytest.mark.parametrize("depth", [0, 4])
async def test_the_control_socket(tmp_path: Path, depth: int) -> None:
    """Also where its path is longer than a Unix socket's address may be (108 bytes), and where one was left behind."""
    state_dir = tmp_path.joinpath(*["d" * 60] * depth)
    prepare(state_dir)
    (state_dir / CONTROL_SOCKET).write_text("left behind")
    before = os.listdir("/proc/self/fd")
    with listen_control(state_dir) as server:
        worker = await connect_control(state_dir)
        accepted, _ = await server.accept()
        controller = ControlChannel(accepted)
        await worker.send(Drain(1.0))
        assert await controller.receive() == (Drain(1.0), [])
        controller.close()
        worker.close()
    assert os.listdir("/proc/self/fd") == before


async def test_no_controller(tmp_path: Path) -> None:
    """A worker tries again; it leaves nothing open meanwhile."""
    before = os.listdir("/proc/self/fd")
    with pytest.raises(FileNotFoundError):
        await connect_control(tmp_path)
    listen_control(tmp_path).close()
    with pytest.raises(ConnectionRefusedError):
        await connect_control(tmp_path)
    assert os.listdir("/proc/self/fd") == before
    await trio.lowlevel.checkpoint()
