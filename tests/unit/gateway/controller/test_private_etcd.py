"""The private etcd, with the real program: started, killed, taken over, moved, stopped."""

from __future__ import annotations

import logging
import os
import shutil
import signal
import socket
import subprocess
import sys
from collections.abc import AsyncIterator, Iterator
from contextlib import asynccontextmanager
from pathlib import Path

import pytest
import trio

from gateway.controller.private_etcd import PrivateEtcd, PrivateEtcdError, find_etcd, private_etcd
from tests.etcd_server import find_program

_CONTROLLER = """
import sys, trio
from pathlib import Path
from gateway.controller.private_etcd import private_etcd

async def main():
    async with private_etcd(Path(sys.argv[1])) as etcd:
        print(etcd.endpoint, etcd.pid, flush=True)
        await trio.sleep_forever()

trio.run(main)
"""


@pytest.fixture
def state_dir(tmp_path: Path) -> Iterator[Path]:
    """A gateway's state directory. Goes away with the test: etcd allocates more than 60 MB."""
    find_program("etcd")
    yield tmp_path / "state"
    shutil.rmtree(tmp_path / "state", ignore_errors=True)


@asynccontextmanager
async def _running(state_dir: Path) -> AsyncIterator[PrivateEtcd]:
    with trio.fail_after(40):
        async with private_etcd(state_dir) as etcd:
            yield etcd


async def _ctl(etcd: PrivateEtcd, *arguments: str) -> str:
    command = [find_program("etcdctl"), f"--endpoints={etcd.endpoint}", *arguments]
    done = await trio.run_process(command, capture_stdout=True, capture_stderr=True)
    return done.stdout.decode()


async def _until_it_answers_again(etcd: PrivateEtcd, killed_pid: int) -> None:
    while etcd.pid == killed_pid:
        await trio.sleep(0.02)
    host, port = etcd.endpoint.removeprefix("http://").split(":")
    while True:
        try:
            await (await trio.open_tcp_stream(host, int(port))).aclose()
        except OSError:
            await trio.sleep(0.02)
        else:
            return


def _left_by_a_killed_controller(state_dir: Path) -> tuple[str, int]:
    """Kills a controller whose private etcd runs. Returns the etcd's endpoint and process id."""
    script = [sys.executable, "-c", _CONTROLLER, str(state_dir)]
    with subprocess.Popen(script, stdout=subprocess.PIPE, text=True) as controller:
        assert controller.stdout is not None
        endpoint, pid = controller.stdout.readline().split()
        controller.kill()
    return endpoint, int(pid)


def _is_running(pid: int) -> bool:
    try:
        os.kill(pid, 0)
    except ProcessLookupError:
        return False
    return "Z" not in Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0]


async def test_a_killed_etcd_comes_back_with_its_data_where_it_was(
    state_dir: Path, capfd: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    """Clients know its port and what they wrote: neither may be lost to a kill -9. Ctrl-C in the gateway's terminal
    must not reach it, its output must not reach the terminal, and the user's own ETCD_ settings are not for it."""
    monkeypatch.setenv("ETCD_LISTEN_CLIENT_URLS", "http://127.0.0.1:1")
    async with _running(state_dir) as etcd:
        endpoint, pid = etcd.endpoint, etcd.pid
        assert not etcd.adopted
        assert os.getsid(pid) == pid != os.getsid(0)
        await _ctl(etcd, "put", "/isthmus/x", "kept")
        os.kill(pid, signal.SIGKILL)
        await _until_it_answers_again(etcd, pid)
        assert etcd.endpoint == endpoint
        assert "kept" in await _ctl(etcd, "get", "/isthmus/x")
        again = etcd.pid
    assert not _is_running(again)
    assert not (state_dir / "etcd.pid").exists()
    assert (state_dir / "etcd.log").stat().st_size > 0
    assert capfd.readouterr() == ("", "")


async def test_one_left_by_a_killed_controller_is_taken_over(state_dir: Path) -> None:
    """A gateway that is killed and started again must not lose its etcd, nor start a second one on the same data. What
    was taken over is watched and stopped as if we had started it."""
    endpoint, pid = await trio.to_thread.run_sync(_left_by_a_killed_controller, state_dir)
    assert _is_running(pid)
    async with _running(state_dir) as etcd:
        assert (etcd.adopted, etcd.endpoint, etcd.pid) == (True, endpoint, pid)
        os.kill(etcd.pid, signal.SIGKILL)
        await _until_it_answers_again(etcd, pid)
        assert etcd.endpoint == endpoint
        again = etcd.pid
    assert not _is_running(again)


async def test_taken_ports_are_replaced_and_said(state_dir: Path, caplog: pytest.LogCaptureFixture) -> None:
    """While the gateway was down, another program took the port: it starts all the same, with its data, and names the
    old port and the new endpoint, because other clusters' files must follow."""
    async with _running(state_dir) as etcd:
        before = etcd.endpoint
        await _ctl(etcd, "put", "/isthmus/x", "kept")
    with socket.socket() as other:
        other.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        other.bind(("127.0.0.1", int(before.rpartition(":")[2])))
        other.listen()
        with caplog.at_level(logging.WARNING):
            async with _running(state_dir) as etcd:
                after = etcd.endpoint
                assert "kept" in await _ctl(etcd, "get", "/isthmus/x")
    assert after != before
    assert any(before[len("http://") :] in message and after in message for message in caplog.messages)
    async with _running(state_dir) as etcd:
        assert etcd.endpoint == after


async def test_one_that_does_not_answer_is_replaced(state_dir: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A frozen etcd of an earlier run holds the lock on the data: waiting for it would be waiting for ever."""
    monkeypatch.setattr("gateway.controller.private_etcd._ADOPT_TIMEOUT_S", 0.3)
    monkeypatch.setattr("gateway.controller.private_etcd._STOP_TIMEOUT_S", 0.3)
    endpoint, pid = await trio.to_thread.run_sync(_left_by_a_killed_controller, state_dir)
    os.kill(pid, signal.SIGSTOP)
    async with _running(state_dir) as etcd:
        assert (etcd.adopted, etcd.endpoint) == (False, endpoint)
        assert etcd.pid != pid
    assert not _is_running(pid)


def _program(directory: Path, script: str) -> Path:
    directory.mkdir(exist_ok=True)
    program = directory / "etcd"
    program.write_text(f"#!/bin/sh\n{script}\n")
    program.chmod(0o755)
    return program


async def test_one_that_does_not_start_is_explained(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """The last line of its log, and where the log is, are what a person needs; no process and no pid file stay."""
    _program(tmp_path / "bin", "echo first; echo the data is from a newer version; exit 1")
    monkeypatch.setenv("PATH", str(tmp_path / "bin"))
    with pytest.raises(PrivateEtcdError, match=r"etcd\.log ends with: the data is from a newer version") as caught:
        async with private_etcd(tmp_path / "state"):
            pass
    assert caught.value.code == "not-started"
    assert not (tmp_path / "state" / "etcd.pid").exists()


async def test_a_state_dir_that_cannot_be_made_is_explained(tmp_path: Path) -> None:
    """The message has the path, not a traceback."""
    (tmp_path / "file").touch()
    with pytest.raises(PrivateEtcdError, match="file"):
        async with private_etcd(tmp_path / "file" / "state"):
            pass


def test_etcd_on_path_is_preferred(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """An etcd that a person installed is newer than the one that comes with the demo."""
    on_path, beside = _program(tmp_path / "bin", ""), _program(tmp_path / "venv", "")
    monkeypatch.setattr(sys, "executable", str(tmp_path / "venv" / "python"))
    monkeypatch.setenv("PATH", str(tmp_path / "bin"))
    assert find_etcd() == on_path
    monkeypatch.setenv("PATH", str(tmp_path / "none"))
    assert find_etcd() == beside


def test_without_any_etcd_the_error_says_what_to_do(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Three ways out: install one, name one, or take the demo's."""
    monkeypatch.setattr(sys, "executable", str(tmp_path / "python"))
    monkeypatch.setenv("PATH", str(tmp_path))
    with pytest.raises(PrivateEtcdError) as caught:
        find_etcd()
    assert caught.value.code == "not-found"
    for way in ("install etcd", "etcd.endpoints", "pip install 'isthmus[demo]'"):
        assert way in str(caught.value)
