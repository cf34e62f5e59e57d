"""`isthmus leave`: takes everything that this cluster said out of etcd."""

from __future__ import annotations

import argparse
from collections.abc import Mapping
from pathlib import Path

import trio

from federation.etcd.client import open_etcd
from federation.etcd.errors import EtcdError
from federation.leaving import StillRegistered, withdraw
from federation.paths import Kind, Layout
from federation.publisher import LEASE_TTL_S
from gateway.cli.config_file import authority_or_fail, load_or_fail, wall_clock
from gateway.cli.exit_codes import NEGATIVE, OK, Failure
from gateway.config import Config
from gateway.controller.etcd_access import etcd_config
from gateway.process.state_dir import StateDirError, locked, prepare
from trust.source import TrustSource

_CONNECT_TIMEOUT_S = 10.0


def execute(arguments: argparse.Namespace) -> int:
    path = Path(arguments.config)
    config = load_or_fail(path)
    if config.etcd is None:
        raise Failure(
            NEGATIVE, f"{path} names no etcd: the private one ends with the gateway, and there is nothing to leave"
        )
    try:
        prepare(config.state_dir)
        with locked(config.state_dir):
            withdrawn = trio.run(_withdraw, config, authority_or_fail(config))
    except StateDirError as error:
        raise Failure(NEGATIVE, f"{error}; if that is this cluster's gateway, stop it first") from None
    except (StillRegistered, EtcdError, OSError) as error:
        raise Failure(NEGATIVE, str(error)) from None
    print(_said(config, withdrawn), end="")
    return OK


async def _withdraw(config: Config, trust: TrustSource) -> Mapping[Kind, int]:
    assert config.etcd is not None
    async with open_etcd(etcd_config(config.etcd)) as etcd:
        with trio.move_on_after(_CONNECT_TIMEOUT_S) as waited:
            await etcd.wait_connected()
        if waited.cancelled_caught:
            reasons = "; ".join(f"{state.url}: {state.error}" for state in etcd.endpoints)
            raise EtcdError("unavailable", f"etcd can't be reached: {reasons}")
        layout = Layout(config.etcd.prefix, config.federation)
        name = config.cluster.name
        return await withdraw(etcd, layout, name, trust, lease_s=LEASE_TTL_S + 2, now=wall_clock())


def _said(config: Config, withdrawn: Mapping[Kind, int]) -> str:
    name = config.cluster.name
    if not withdrawn:
        return f"nothing of {name} lies in etcd: it has left federation {config.federation} already\n"
    bundle = "its trust bundle" if withdrawn.get(Kind.BUNDLE) else "no trust bundle"
    exports = withdrawn.get(Kind.EXPORT, 0)
    return (
        f"{name} has left federation {config.federation}: {bundle} and {exports} "
        f"{'export' if exports == 1 else 'exports'} are withdrawn; peers drop its services at once\n"
        f"they name it in their configuration still: peers.{name} is to be removed there\n"
        "isthmus run joins again\n"
    )
