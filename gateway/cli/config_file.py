"""The configuration that a command is about, and the cluster's CA beside it."""

from __future__ import annotations

import time
from datetime import UTC, datetime
from pathlib import Path

from gateway.cli.exit_codes import NEGATIVE, USAGE, Failure
from gateway.config import Config, ConfigError, load_config
from gateway.state_dir import StateDirError, prepare
from gateway.trust_sources import SigningSource, open_authority
from trust.errors import TrustError


def load_or_fail(path: Path) -> Config:
    """Raises Failure with every error of the file."""
    try:
        return load_config(path)
    except ConfigError as error:
        raise Failure(USAGE, str(error)) from None


def authority_or_fail(config: Config) -> SigningSource:
    """The cluster's CA, made if there is none yet, in the state directory, made as well. Raises Failure."""
    try:
        prepare(config.state_dir)
        return load_authority(config)
    except (StateDirError, TrustError) as error:
        raise Failure(NEGATIVE, str(error)) from None


def load_authority(config: Config) -> SigningSource:
    """The cluster's CA, made if there is none yet. Raises TrustError."""
    return open_authority(config, datetime.fromtimestamp(wall_clock(), UTC))


def wall_clock() -> float:
    """Unix seconds."""
    return time.time()  # noqa: TID251 - invitations, requests and certificates are dated by the wall clock
