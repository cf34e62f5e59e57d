"""`isthmus demo`: three clusters on this machine."""

from __future__ import annotations

import argparse

from gateway.demo.command import main


def execute(arguments: argparse.Namespace) -> int:
    return main(keep=arguments.keep)
