"""The demo as a program: it ends clean however it is ended, works without curl, dig and openssl, and its checks can
fail."""

from __future__ import annotations

import io
import os
import random
import signal
import socket
import subprocess
import sys
import threading
from collections.abc import Iterator
from pathlib import Path

import pytest

from gateway.demo import http_client
from gateway.demo.group import Group, living_members
from gateway.demo.lab import Lab
from gateway.demo.leash import Program
from gateway.demo.load import Load
from gateway.demo.mesh_client import gateway_svid, save_svid, why_refused
from gateway.demo.story import cross, resolve
from gateway.demo.tcp_client import echo
from gateway.demo.teller import CheckFailed, Teller
from gateway.demo.trust_steps import prove_identity
from gateway.demo.waiting import NotInTime, wait_until
from tests.ports import refusing_address

pytestmark = pytest.mark.processes


def processes_of(directory: str) -> list[int]:
    """Processes whose command line names a directory."""
    found = []
    for entry in Path("/proc").iterdir():
        try:
            if entry.name.isdigit() and directory.encode() in (entry / "cmdline").read_bytes():
                found.append(int(entry.name))
        except OSError:
            continue
    return found


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM, signal.SIGHUP])
def test_a_signal_ends_everything(number: signal.Signals) -> None:
    """In the middle of its start: no process and no file is left, and the exit status says that it did not pass."""
    demo = subprocess.Popen(
        [sys.executable, "-c", "import signal, sys; signal.signal(signal.SIGINT, signal.default_int_handler); "
         "from gateway.cli import main; sys.exit(main(['demo']))"],
        stdout=subprocess.PIPE,
        text=True,
    )  # fmt: skip
    assert demo.stdout is not None
    directory = next(line.split()[1].rstrip(",") for line in demo.stdout if line.startswith("   lab:"))
    wait_until(lambda: len(processes_of(directory)) >= 6, "the lab's processes run")
    demo.send_signal(number)
    said = demo.communicate(timeout=60)[0]
    assert demo.returncode == 130
    assert "nothing is left running" in said
    assert processes_of(directory) == []
    assert not Path(directory).exists()


@pytest.fixture
def no_tools(monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    """A machine that has nothing but Python."""
    monkeypatch.setenv("PATH", "/nonexistent")
    http_client.curl_speaks.cache_clear()
    yield
    http_client.curl_speaks.cache_clear()


@pytest.mark.usefixtures("no_tools")
@pytest.mark.parametrize("step", [resolve, cross, prove_identity], ids=lambda step: step.__name__)
def test_the_story_needs_nothing_but_python(step: object, lab: Lab) -> None:
    """The same checks by our own clients."""
    assert callable(step)
    out = io.StringIO()
    try:
        step(lab, Teller(out))
    except CheckFailed:
        pytest.fail(out.getvalue())


@pytest.mark.parametrize("path", ["", "/nonexistent"], ids=["openssl", "python"])
def test_a_right_certificate_is_not_reported_as_refused(
    lab: Lab, tmp_path: Path, path: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Whoever only ever sees refusals has proved nothing."""
    if path:
        monkeypatch.setenv("PATH", path)
    svid = gateway_svid(lab["east"].authority)
    save_svid(svid, tmp_path / "svid.pem")
    west = lab["west"]
    assert why_refused(west.addresses.mesh, svid, tmp_path / "svid.pem", west.authority.root_der) == ""
    assert (tmp_path / "svid.pem").stat().st_mode & 0o777 == 0o600


def test_the_load_counts_failures() -> None:
    """Nobody listens there: every request fails, and is told."""
    with Load(refusing_address(), "nobody.test") as load:
        wait_until(lambda: load.account().sent >= 5, "the load runs")
        account = load.stop()
    assert len(account.failures) == account.sent
    assert account.by_cluster == {}


def test_a_changed_byte_is_seen() -> None:
    """An echo that changes one byte of many."""

    def serve() -> None:
        sock, _ = listener.accept()
        with sock:
            changed = False
            while data := sock.recv(65_536):
                sock.sendall(data if changed else bytes([data[0] ^ 1]) + data[1:])
                changed = True

    with socket.create_server(("127.0.0.1", 0)) as listener:
        threading.Thread(target=serve, daemon=True).start()
        result = echo(listener.getsockname()[:2], 300_000, random.Random(1))
    assert result.received_bytes == result.sent_bytes
    assert not result.unchanged


def test_what_does_not_happen_is_told() -> None:
    """With what was waited for, and what was seen last."""
    with pytest.raises(NotInTime, match=r"not within 0\.1 s: the moon falls \(the last that was seen: None\)"):
        wait_until(lambda: None, "the moon falls", timeout_s=0.1)


def test_a_group_ends_with_whoever_holds_it(tmp_path: Path) -> None:
    """The leash: when its holder is gone without a word, the whole group is."""
    group = Group(tmp_path, [Program("sleep", [sys.executable, "-c", "import time; time.sleep(600)"], restart=True)])
    group.start()
    try:
        first = wait_until(lambda: group.pid("sleep"), "it runs")
        os.kill(first, signal.SIGKILL)
        wait_until(lambda: group.pid("sleep") not in (0, first), "it is started again")
        leash = group._leash
        assert leash is not None
        assert leash.stdin is not None
        leash.stdin.close()
        wait_until(lambda: not living_members(group.id), "all have ended")
    finally:
        group.kill()
