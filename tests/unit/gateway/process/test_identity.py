"""Process ids are given again: what we remember must be about one process only."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys

import pytest

from gateway.process.identity import ProcessIdentity, identify_process, started_by_ps


def test_a_running_process_is_recognised() -> None:
    """What was written down while it ran is still true while it runs."""
    identity = identify_process(os.getpid())
    assert identity is not None
    assert identity.alive


def test_another_process_with_the_same_id_is_not_taken_for_it() -> None:
    """After a reboot, or when ids have wrapped, the id belongs to someone whom we must not signal."""
    identity = identify_process(os.getpid())
    assert identity is not None
    assert not ProcessIdentity(identity.pid, identity.started + "0").alive


def test_a_zombie_is_dead() -> None:
    """In a container whose first process does not reap, a dead etcd stays in the table for ever."""
    with subprocess.Popen([sys.executable, "-c", "input()"], stdin=subprocess.PIPE) as child:
        identity = identify_process(child.pid)
        assert identity is not None
        child.kill()
        os.waitid(os.P_PID, child.pid, os.WEXITED | os.WNOWAIT)
        assert not identity.alive
    assert identify_process(child.pid) is None


@pytest.mark.skipif(shutil.which("ps") is None, reason="no ps here")
def test_without_proc_ps_tells_the_same() -> None:
    """macOS has no /proc."""
    assert started_by_ps(os.getpid()) == started_by_ps(os.getpid()) != ""
    with subprocess.Popen([sys.executable, "-c", ""]) as child:
        child.wait()
    assert started_by_ps(child.pid) == ""
