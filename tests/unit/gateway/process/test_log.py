"""What a gateway writes to its log, and what it must not."""

from __future__ import annotations

import subprocess
import sys

import pytest

_PROGRAM = """
import logging, sys
from hpack import Encoder
from gateway.process.log import log_level, log_to_stderr
log_to_stderr(sys.argv[1])
Encoder().encode([(b"token", b"etcd-secret")])
logging.getLogger("hpack.hpack").warning("theirs")
for level in (logging.DEBUG, logging.INFO, logging.WARNING):
    logging.getLogger("isthmus.part").log(level, "ours\\nat %d", level)
print(log_level())
"""


@pytest.mark.parametrize(("level", "ours"), [("debug", 3), ("info", 2), ("warning", 1)])
def test_the_level_is_for_what_we_say(level: str, ours: int) -> None:
    """At debug, HPACK's library writes down every header field, and a password user's token of etcd is one."""
    done = subprocess.run([sys.executable, "-c", _PROGRAM, level], capture_output=True, text=True, check=True)
    lines = done.stderr.splitlines()
    assert [("isthmus.part: ours | at" in line) for line in lines].count(True) == ours, done.stderr
    assert len(lines) == ours + 1
    assert "theirs" in done.stderr
    assert "secret" not in done.stderr
    assert done.stdout.strip() == level.upper()
