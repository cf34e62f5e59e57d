"""The `isthmus` command. Each subcommand has a module of its own, imported when it is used: the command starts fast."""

from __future__ import annotations

import argparse
import os
import sys
from collections.abc import Sequence
from importlib import import_module

from gateway.cli.exit_codes import INTERRUPTED, Failure
from gateway.cli.parser import make_parser


def main(argv: Sequence[str] | None = None) -> int:
    """Runs one command and returns its exit status (see `exit_codes`)."""
    arguments = make_parser().parse_args(argv)
    try:
        return _run(arguments)
    except Failure as failure:
        sys.stdout.flush()
        print(f"isthmus {arguments.command}: {failure}", file=sys.stderr)
        return failure.status
    except KeyboardInterrupt:
        return INTERRUPTED
    except BrokenPipeError:
        # Whoever read the output has read enough (`isthmus services | head`); Python would complain at exit.
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        return 0


def _run(arguments: argparse.Namespace) -> int:
    command = import_module(f"gateway.cli.{arguments.command}")
    status: int = command.execute(arguments)
    sys.stdout.flush()
    return status
