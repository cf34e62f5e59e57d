"""`isthmus upgrade`: the running gateway changes over to the version that is installed now."""

from __future__ import annotations

import argparse
import os
import signal
import time
from pathlib import Path

from federation.status.values import StatusDocument
from gateway.cli.config_file import load_or_fail
from gateway.cli.exit_codes import NEGATIVE, OK, UNREACHABLE, Failure
from gateway.cli.gateway_api import find_gateway
from gateway.process.state_dir import controller_pid

_TIMEOUT_S = 300.0
_POLL_S = 0.2


def execute(arguments: argparse.Namespace) -> int:
    arguments.url = None
    config = load_or_fail(Path(arguments.config))
    before = _status(arguments)
    pid = controller_pid(config.state_dir)
    if pid is None:
        raise Failure(
            NEGATIVE,
            f"{config.state_dir} does not say which process its gateway is: end it with SIGKILL, start it again",
        )
    try:
        os.kill(pid, signal.SIGUSR2)
    except (ProcessLookupError, PermissionError) as error:
        raise Failure(
            NEGATIVE, f"process {pid} can't be told: {error.strerror}; run this as the gateway's user"
        ) from None
    after = _changed_over(arguments, before)
    print(f"{after.cluster} runs {after.version}, was {before.version}; workers replaced: {len(before.workers)}")
    return OK


def _changed_over(arguments: argparse.Namespace, before: StatusDocument) -> StatusDocument:
    """The status when all is done. Raises Failure if it was refused, or takes too long."""
    old = {worker.pid for worker in before.workers}
    seen = "it does not answer"
    give_up_at = time.monotonic() + _TIMEOUT_S  # noqa: TID251 - a command waits for another process
    while time.monotonic() < give_up_at:  # noqa: TID251
        time.sleep(_POLL_S)
        try:
            status = _status(arguments)
        except Failure:
            # Between two programs nobody answers.
            continue
        for problem in status.problems:
            if problem.kind == "upgrade" and problem not in before.problems:
                raise Failure(NEGATIVE, f"refused, {before.version} runs on: {problem.message}")
        new = [worker for worker in status.workers if worker.ready and worker.pid not in old]
        seen = f"{len(new)} of {status.workers_wanted} workers are new, {len(status.workers) - len(new)} are left"
        if status.started_at != before.started_at and len(new) == len(status.workers) == status.workers_wanted:
            return status
    raise Failure(UNREACHABLE, f"not done within {_TIMEOUT_S:.0f} s: {seen}; see isthmus status")


def _status(arguments: argparse.Namespace) -> StatusDocument:
    """Asked anew each time: a new controller may listen elsewhere. Raises Failure."""
    api = find_gateway(arguments)
    return api.read(api.get("/v1/status"), StatusDocument)
