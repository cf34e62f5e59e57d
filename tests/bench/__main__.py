"""Lists and runs the benchmarks: every module here that has `main(argv)` is one.

They measure what a user installs, which is the wheel with its request path compiled; `--interpreted` takes the sources.
"""

from __future__ import annotations

import ast
import importlib
import sys
from pathlib import Path

from gateway.version import compiled as is_compiled
from tests import compiled

HERE = Path(__file__).parent
INTERPRETED = "--interpreted"


def benchmarks() -> dict[str, str]:
    """Every benchmark's name and its docstring's first line. Nothing is imported: some need what is not installed."""
    found = {}
    for path in sorted(HERE.glob("[!_]*.py")):
        documentation = ast.get_docstring(ast.parse(path.read_text(encoding="utf-8"))) or ""
        found[path.stem] = documentation.partition("\n")[0]
    return found


def main(argv: list[str]) -> int:
    known = benchmarks()
    if not argv:
        width = max(map(len, known), default=0)
        for name, summary in known.items():
            print(f"{name:<{width}}  {summary}")
        print("\nRun one with: python -m tests.bench NAME [--json] [--interpreted]")
        return 0
    if argv[0] not in known:
        print(f"no benchmark {argv[0]!r}; there are: {', '.join(known)}", file=sys.stderr)
        return 2
    if INTERPRETED in argv:
        argv = [argument for argument in argv if argument != INTERPRETED]
    elif not is_compiled():
        reason = compiled.build()
        if not reason:
            return compiled.run("tests.bench", *argv)
        print(f"the request path is interpreted: {reason}", file=sys.stderr)
    return int(importlib.import_module(f"tests.bench.{argv[0]}").main(argv[1:]) or 0)


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
