"""The limit of open files."""

from __future__ import annotations

import resource
import subprocess
import sys

_PROGRAM = """
import resource, subprocess, sys
from gateway.process.descriptors import raise_descriptor_limit

hard = resource.getrlimit(resource.RLIMIT_NOFILE)[1]
resource.setrlimit(resource.RLIMIT_NOFILE, (64, hard))
raise_descriptor_limit()
raise_descriptor_limit()
print(resource.getrlimit(resource.RLIMIT_NOFILE) == (hard, hard))
child = "import resource; print(resource.getrlimit(resource.RLIMIT_NOFILE)[0])"
print(int(subprocess.check_output([sys.executable, "-c", child])) == hard)
"""


def test_it_is_lifted_for_us_and_for_those_we_start() -> None:
    """A shell's soft limit of 1024 would end with the thousandth virtual IP."""
    before = resource.getrlimit(resource.RLIMIT_NOFILE)
    done = subprocess.run([sys.executable, "-c", _PROGRAM], capture_output=True, text=True, check=False)
    assert done.stdout == "True\nTrue\n", done.stderr
    assert resource.getrlimit(resource.RLIMIT_NOFILE) == before
