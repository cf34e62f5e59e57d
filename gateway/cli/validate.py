"""`isthmus validate`: everything that is wrong with a configuration."""

from __future__ import annotations

import argparse
import sys
from pathlib import Path

import msgspec

from gateway.cli.exit_codes import OK, USAGE
from gateway.config import Validation, validate_config


def execute(arguments: argparse.Namespace) -> int:
    path = Path(arguments.config)
    validation = validate_config(path)
    if arguments.output == "json":
        report = {"file": str(path), "valid": validation.config is not None, "problems": validation.problems}
        print(msgspec.json.format(msgspec.json.encode(report)).decode())
    else:
        _tell(path, validation)
    return OK if validation.config is not None else USAGE


def _tell(path: Path, validation: Validation) -> None:
    for problem in validation.problems:
        print(problem, file=sys.stderr)
    if validation.config is not None:
        config = validation.config
        print(
            f"{path} is valid: cluster {config.cluster.name} of federation {config.federation}, "
            f"services: {len(config.services)}, peers: {len(config.peers)}"
        )
