"""`isthmus run`: this cluster's gateway."""

from __future__ import annotations

import argparse
import sys
from pathlib import Path

import trio

from federation.etcd.errors import EtcdError
from gateway.cli.exit_codes import INTERRUPTED, NEGATIVE, OK, USAGE, Failure
from gateway.config import validate_config
from gateway.controller.private_etcd import PrivateEtcdError
from gateway.process.log import log_to_stderr
from gateway.process.state_dir import StateDirError
from gateway.run import run_gateway
from gateway.transport.listeners import ListenError
from trust.errors import TrustError

_FORESEEN = (StateDirError, TrustError, ListenError, PrivateEtcdError, EtcdError)


def execute(arguments: argparse.Namespace) -> int:
    path = Path(arguments.config)
    validation = validate_config(path)
    for problem in validation.problems:
        print(problem, file=sys.stderr)
    if validation.config is None:
        raise Failure(USAGE, f"{path} has {_count(len(validation.errors), 'error')}; nothing was started")
    log_to_stderr(arguments.log_level)
    try:
        trio.run(run_gateway, validation.config, path)
    except (*_FORESEEN, KeyboardInterrupt, BaseExceptionGroup) as error:
        return _end(error)
    return OK


def _end(error: BaseException) -> int:
    """What a gateway's early end means for the command. Raises Failure, or what was not foreseen."""
    leaves = _leaves(error)
    if any(isinstance(leaf, KeyboardInterrupt) for leaf in leaves):
        return INTERRUPTED
    if not all(isinstance(leaf, _FORESEEN) for leaf in leaves):
        raise error
    raise Failure(NEGATIVE, "\n".join(str(leaf) for leaf in leaves))


def _leaves(error: BaseException) -> list[BaseException]:
    """The exceptions themselves: nurseries put them into groups."""
    if not isinstance(error, BaseExceptionGroup):
        return [error]
    return [leaf for member in error.exceptions for leaf in _leaves(member)]


def _count(number: int, what: str) -> str:
    return f"1 {what}" if number == 1 else f"{number} {what}s"
