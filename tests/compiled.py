"""What `make compiled` has built, for tests and benchmarks: the packages, their request path as machine code.

`python -m tests.compiled pytest ...` runs a module where it and all that it starts import the packages from there, and
everything else from the checkout.
"""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
from pathlib import Path

ROOT = Path(__file__).parent.parent
BUILT = ROOT / "build" / "compiled"
PACKAGES = ("gateway", "federation", "trust", "discovery")


def objection() -> str:
    """Why what was built can't stand for the checkout; "" if it can."""
    if not BUILT.is_dir():
        return "nothing is compiled: run `make compiled` (it needs a C compiler)"
    if _sources(ROOT) != _sources(BUILT):
        return "the sources have changed since they were compiled: run `make compiled`"
    return ""


def environment() -> dict[str, str]:
    """This process's, for one that shall import from what was built."""
    # Without PYTHONSAFEPATH `-m` puts the working directory, which is the checkout, in front.
    return {**os.environ, "PYTHONPATH": f"{BUILT}{os.pathsep}{ROOT}", "PYTHONSAFEPATH": "1"}


def build() -> str:
    """Builds it unless it is there. Returns why it is not there then; "" if it is."""
    if objection() and shutil.which("cc") is None:
        return "there is no C compiler (cc)"
    if objection():
        print("the request path is compiled first, which takes some minutes and is kept", file=sys.stderr)
        done = subprocess.run(["make", "compiled"], cwd=ROOT, stdout=sys.stderr, check=False)
        if done.returncode:
            return "make compiled has failed"
    return objection()


def run(module: str, *arguments: str) -> int:
    """Replaces this process. Returns only when it may not: 1, with the reason on standard error."""
    reason = objection()
    if not reason:
        os.chdir(ROOT)
        os.execve(sys.executable, [sys.executable, "-m", module, *arguments], environment())
    print(reason, file=sys.stderr)
    return 1


def _sources(directory: Path) -> dict[Path, bytes]:
    return {
        path.relative_to(directory): path.read_bytes()
        for package in PACKAGES
        for path in (directory / package).rglob("*.py")
    }


if __name__ == "__main__":
    sys.exit(run(*sys.argv[1:]))
