"""The configuration that a command is about, and the cluster's CA beside it."""

from __future__ import annotations

import time
from datetime import UTC, datetime
from pathlib import Path

import trio

from gateway.cli.exit_codes import NEGATIVE, USAGE, Failure
from gateway.config import Config, ConfigError, load_config
from gateway.process.state_dir import StateDirError, prepare
from gateway.trust_keeping.sources import open_authority, open_workload
from trust.errors import TrustError
from trust.source import TrustSource

_AGENT_WAIT_S = 10.0


def load_or_fail(path: Path) -> Config:
    """Raises Failure with every error of the file."""
    try:
        return load_config(path)
    except ConfigError as error:
        raise Failure(USAGE, str(error)) from None


def authority_or_fail(config: Config) -> TrustSource:
    """The cluster's CA, made if there is none yet, in the state directory, made as well. Raises Failure."""
    try:
        prepare(config.state_dir)
        return load_authority(config)
    except (StateDirError, TrustError) as error:
        raise Failure(NEGATIVE, str(error)) from None


def load_authority(config: Config) -> TrustSource:
    """The cluster's CA, made if there is none yet, or what its Workload API says. Raises TrustError."""
    if config.trust.workload_api is not None:
        return trio.run(open_workload, config, lambda: datetime.fromtimestamp(wall_clock(), UTC), _AGENT_WAIT_S)
    return open_authority(config, datetime.fromtimestamp(wall_clock(), UTC))


def wall_clock() -> float:
    """Unix seconds."""
    return time.time()  # noqa: TID251 - invitations, requests and certificates are dated by the wall clock
