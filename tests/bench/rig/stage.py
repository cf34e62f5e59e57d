"""Everything that one benchmark runs: endpoints, our gateways, and those of every peer that is installed."""

from __future__ import annotations

import shutil
import tempfile
from collections.abc import Callable, Iterator, Sequence
from contextlib import AbstractContextManager, ExitStack, contextmanager
from pathlib import Path

import msgspec

from gateway.controller.loopback_ports import free_ports_for
from gateway.demo.waiting import NotInTime
from tests.bench.rig import envoy, haproxy
from tests.bench.rig.contender import BenchError, Contender
from tests.bench.rig.endpoints import Endpoints, open_endpoints
from tests.bench.rig.isthmus import open_isthmus

_SHOWN_LINES = 5


class Peer(msgspec.Struct, frozen=True):
    """Somebody else's gateway. `open` takes its program, a directory to make, free ports, and the endpoints."""

    find: Callable[[], str | None]
    how_to_get: str
    open: Callable[[str, Path, Iterator[int], Endpoints], AbstractContextManager[Contender]]


PEERS = {
    envoy.NAME: Peer(envoy.find_envoy, envoy.HOW_TO_GET, envoy.open_envoy),
    haproxy.NAME: Peer(haproxy.find_haproxy, haproxy.HOW_TO_GET, haproxy.open_haproxy),
}


class Stage(msgspec.Struct, frozen=True):
    """What runs."""

    endpoints: Endpoints
    contenders: list[Contender]
    """Ours first."""


@contextmanager
def open_stage(peers: Sequence[str]) -> Iterator[Stage]:
    """Starts all of it in a temporary directory, and at the end, however it comes, leaves nothing behind.

    Peers that are not installed are named on standard output and left out.
    """
    with scratch_directory() as directory, ExitStack() as stack:
        ports = free_ports_for(directory)
        endpoints = stack.enter_context(open_endpoints(directory / "endpoints", ports))
        contenders = [stack.enter_context(open_isthmus(directory / "isthmus", ports, endpoints))]
        for name, program in installed(peers).items():
            contenders.append(stack.enter_context(PEERS[name].open(program, directory / name, ports, endpoints)))
        yield Stage(endpoints, contenders)


def installed(peers: Sequence[str]) -> dict[str, str]:
    """The programs of those peers that are there. The others are named on standard output."""
    found = {}
    for name in peers:
        program = PEERS[name].find()
        if program is None:
            print(f"{name} is not installed and is left out ({PEERS[name].how_to_get})")
        else:
            found[name] = program
    return found


@contextmanager
def scratch_directory() -> Iterator[Path]:
    """A directory that is gone afterwards. What goes wrong meanwhile gets the ends of the logs in it as a note."""
    directory = Path(tempfile.mkdtemp(prefix="isthmus-bench-"))
    try:
        yield directory
    except (BenchError, NotInTime) as error:
        error.add_note(_last_words(directory))
        raise
    finally:
        shutil.rmtree(directory, ignore_errors=True)


def _last_words(directory: Path) -> str:
    parts = []
    for path in sorted(directory.rglob("*.log")):
        lines = path.read_text(errors="replace").splitlines()[-_SHOWN_LINES:]
        if lines:
            parts.append("\n".join([f"--- {path.relative_to(directory)}", *lines]))
    return "\n".join(parts)
