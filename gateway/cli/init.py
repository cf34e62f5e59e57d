"""`isthmus init`: a first cluster.yaml, its state directory, and the trust root in it."""

from __future__ import annotations

import argparse
from pathlib import Path

from gateway.cli.config_file import load_authority
from gateway.cli.exit_codes import NEGATIVE, OK, USAGE, Failure
from gateway.config import Config, parse_config
from gateway.config.template import Beginning, first_config
from gateway.process.state_dir import StateDirError, prepare
from trust.errors import TrustError
from trust.source import TrustSource

_FILE = "cluster.yaml"


def execute(arguments: argparse.Namespace) -> int:
    path = Path(arguments.directory) / _FILE
    text = first_config(_beginning(arguments))
    config = _read(text, path)
    if path.exists():
        raise Failure(USAGE, f"{path} is there already, and is left as it is; name another directory with -d")
    try:
        prepare(config.state_dir)
        authority = load_authority(config)
        with path.open("x") as file:
            file.write(text)
    except FileExistsError:
        raise Failure(USAGE, f"{path} is there already, and is left as it is") from None
    except OSError as error:
        raise Failure(NEGATIVE, f"{path} can't be written: {error.strerror}") from None
    except (StateDirError, TrustError) as error:
        raise Failure(NEGATIVE, str(error)) from None
    print(_said(path, config, authority), end="")
    return OK


def _beginning(arguments: argparse.Namespace) -> Beginning:
    name, federation = arguments.name, arguments.federation
    return Beginning(
        cluster=name,
        federation=federation,
        trust_domain=arguments.trust_domain or f"{name}.{federation}.internal",
        region=arguments.region,
        etcd=tuple(arguments.etcd),
        mesh=arguments.mesh,
        advertise=arguments.advertise,
    )


def _read(text: str, path: Path) -> Config:
    """The configuration that `text` will be. Raises Failure in terms of the command line, since there is no file."""
    validation = parse_config(text, path)
    if validation.config is None:
        lines = [
            f"{problem.path}: {problem.message}" + (f"; expected {problem.expected}" if problem.expected else "")
            for problem in validation.errors
        ]
        raise Failure(USAGE, "\n".join(lines))
    return validation.config


def _said(path: Path, config: Config, authority: TrustSource) -> str:
    cluster = config.cluster
    other = "west" if cluster.name != "west" else "east"
    mesh = config.gateway.mesh
    if mesh is None:
        advice = f"  name gateway.mesh in {path}     # or no peer can call what runs here\n"
    else:
        advice = "  (gateway.mesh is on loopback: only clusters of this machine reach it)\n" if mesh.is_loopback else ""
    return f"""\
{path} is written: cluster {cluster.name} of federation {config.federation}
trust domain {cluster.trust_domain}, its CA is in {config.state_dir / "trust"}
root {authority.fingerprint}

next:
{advice}  isthmus run -c {path}           # the gateway
  isthmus invite {other} -c {path}   # a token with which {other} joins; there: isthmus join
"""
