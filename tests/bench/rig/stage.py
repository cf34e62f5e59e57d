"""Everything that one benchmark runs: endpoints, our gateways, and those of every peer that is installed."""

from __future__ import annotations

import shutil
import tempfile
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path

import msgspec

from gateway.loopback_ports import free_ports_for
from tests.bench.rig import envoy, haproxy
from tests.bench.rig.contender import Contender
from tests.bench.rig.endpoints import Endpoints, open_endpoints
from tests.bench.rig.isthmus import open_isthmus

PEERS = (envoy.NAME, haproxy.NAME)


class Stage(msgspec.Struct, frozen=True):
    """What runs."""

    endpoints: Endpoints
    contenders: list[Contender]
    """Ours first."""


def missing_peers() -> dict[str, str]:
    """Peers that are not installed, each with how to get it."""
    found = {
        envoy.NAME: (envoy.find_envoy(), envoy.HOW_TO_GET),
        haproxy.NAME: (haproxy.find_haproxy(), haproxy.HOW_TO_GET),
    }
    return {name: how for name, (program, how) in found.items() if program is None}


@contextmanager
def open_stage(peers: list[str]) -> Iterator[Stage]:
    """Starts all of it in a temporary directory, and at the end, however it comes, leaves nothing behind."""
    with scratch_directory() as directory, ExitStack() as stack:
        ports = free_ports_for(directory)
        endpoints = stack.enter_context(open_endpoints(directory / "endpoints", ports))
        contenders = [stack.enter_context(open_isthmus(directory / "isthmus", ports, endpoints))]
        if envoy.NAME in peers:
            contenders.append(stack.enter_context(envoy.open_envoy(directory / envoy.NAME, ports, endpoints)))
        if haproxy.NAME in peers:
            contenders.append(stack.enter_context(haproxy.open_haproxy(directory / haproxy.NAME, ports, endpoints)))
        yield Stage(endpoints, contenders)


@contextmanager
def scratch_directory() -> Iterator[Path]:
    """A directory that is gone afterwards."""
    directory = Path(tempfile.mkdtemp(prefix="isthmus-bench-"))
    try:
        yield directory
    finally:
        shutil.rmtree(directory, ignore_errors=True)
