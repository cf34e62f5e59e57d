"""Two gateways in a row, whoever made them: where their clients go, and which processes they are."""

from __future__ import annotations

import enum
import os
import shutil
import sys
from collections.abc import Callable, Iterable, Mapping

import msgspec

from gateway.demo.group import Group
from gateway.process.usage import ProcessUsage, read_usage


class Entrance(enum.StrEnum):
    """What clients bring. Every contender has one of each, and the same endpoint behind it."""

    HTTP1 = "http1"
    HTTP2 = "http2"
    GRPC = "grpc"
    TCP = "tcp"


AUTHORITIES = {
    Entrance.HTTP1: "http.bench.svc.clusterset.local:8080",
    Entrance.HTTP2: "http.bench.svc.clusterset.local:8080",
    Entrance.GRPC: "grpc.bench.svc.clusterset.local:8080",
}
"""What requests name, the same for all: names of different lengths would cost differently."""


class BenchError(Exception):
    """A measurement that did not come about, or would mean nothing; the message says why."""


class MissingProgram(Exception):
    """Something that is not installed; the message says how to get it."""


class Contender(msgspec.Struct, frozen=True):
    """One pair of gateways that runs."""

    name: str
    version: str
    entrances: Mapping[Entrance, tuple[str, int]]
    """Host and port of the first gateway's listeners."""
    find_processes: Callable[[], dict[str, int]]
    """The processes of both gateways by role, all that there are."""

    def cpu_s(self) -> dict[str, float]:
        """CPU seconds of every process since it began, by role."""
        return {role: usage.cpu_s for role, usage in self.usages().items()}

    def usages(self) -> dict[str, ProcessUsage]:
        """By role. Raises BenchError when a process has ended."""
        usages = {}
        for role, pid in self.find_processes().items():
            usage = read_usage(pid)
            if usage is None:
                raise BenchError(f"the process {pid} of {self.name} ({role}) has ended")
            usages[role] = usage
        return usages


def processes_of(group: Group, names: Iterable[str]) -> Callable[[], dict[str, int]]:
    """For programs of a group that are one process each: their names are their roles."""
    roles = tuple(names)
    return lambda: {role: group.pid(role) for role in roles}


def spent(before: Mapping[str, float], after: Mapping[str, float]) -> dict[str, float]:
    """CPU seconds between two readings. Raises BenchError if a process was replaced in between."""
    if before.keys() != after.keys() or any(after[role] < before[role] for role in before):
        raise BenchError("a gateway's process was replaced while it was measured")
    return {role: after[role] - before[role] for role in before}


def find_program(name: str) -> str | None:
    """A program on PATH or beside the Python that runs, where packages put theirs; None if there is none."""
    return shutil.which(name) or shutil.which(name, path=os.path.dirname(sys.executable))
