"""h2load, the load generator of nghttp2: started, and what it says understood. HTTP/2, or HTTP/1.1 with `--h1`."""

from __future__ import annotations

import re
import shutil
import subprocess
import tempfile
from collections.abc import Sequence
from pathlib import Path

import msgspec

from tests.bench.rig.contender import BenchError, MissingProgram

_MARGIN_S = 20.0
"""More than the load itself takes: connecting, and ending."""


class Load(msgspec.Struct, frozen=True):
    """What is asked of a listener, and how."""

    connections: int
    streams: int
    """Concurrent requests on each connection; 1 with HTTP/1.1."""
    http1: bool = False
    path: str = "/"
    headers: tuple[str, ...] = ()
    body: bytes = b""

    @property
    def concurrent(self) -> int:
        return self.connections * self.streams


class Seen(msgspec.Struct, frozen=True):
    """What a run of h2load counted."""

    requests: int
    requests_per_s: float
    durations_us: list[int]
    """Of each request until the end of its answer, if they were asked for."""


def require_h2load() -> str:
    """Raises MissingProgram."""
    found = shutil.which("h2load")
    if found is None:
        raise MissingProgram("h2load makes the load of this benchmark and is not installed: apt install nghttp2-client")
    return found


def run_h2load(
    load: Load, address: tuple[str, int], authority: str, seconds: float, *, log_durations: bool = False
) -> Seen:
    """Raises BenchError if it did not end in time, or if any request was not answered with 200 to 299."""
    with tempfile.TemporaryDirectory(prefix="isthmus-h2load-") as directory:
        command = _command(load, address, authority, seconds, Path(directory), log_durations=log_durations)
        try:
            done = subprocess.run(command, capture_output=True, text=True, check=False, timeout=seconds + _MARGIN_S)
        except subprocess.TimeoutExpired:
            raise BenchError(f"h2load did not end within {seconds + _MARGIN_S:g} s: {' '.join(command)}") from None
        if done.returncode != 0:
            raise BenchError(f"h2load ended with status {done.returncode}: {done.stderr.strip()}")
        durations = parse_log((Path(directory) / "log").read_text()) if log_durations else []
    return parse_output(done.stdout, durations)


def _command(
    load: Load, address: tuple[str, int], authority: str, seconds: float, directory: Path, *, log_durations: bool
) -> list[str]:
    host, port = address
    command = [require_h2load(), f"-D{round(seconds * 1000)}ms", "-t1", f"-c{load.connections}", f"-m{load.streams}"]
    command.append(f"--connect-to={host}:{port}")
    command += [f"-H{header}" for header in load.headers]
    if load.http1:
        command.append("--h1")
    if load.body:
        (directory / "body").write_bytes(load.body)
        command.append(f"-d{directory / 'body'}")
    if log_durations:
        command.append(f"--log-file={directory / 'log'}")
    return [*command, f"http://{authority}{load.path}"]


def parse_output(output: str, durations_us: Sequence[int] = ()) -> Seen:
    """Reads h2load's summary. Raises BenchError for one that is not understood, or that counts failures."""
    finished = re.search(r"^finished in .*?, ([\d.]+) req/s", output, re.MULTILINE)
    requests = re.search(
        r"^requests: .* (\d+) done, (\d+) succeeded, (\d+) failed, (\d+) errored, (\d+) timeout", output, re.MULTILINE
    )
    if finished is None or requests is None:
        raise BenchError(f"h2load said nothing that is understood here:\n{output}")
    _, succeeded, failed, errored, timed_out = map(int, requests.groups())
    if not succeeded or failed or errored or timed_out:
        raise BenchError(f"not every request was answered well: {requests[0]}\n{output}")
    return Seen(succeeded, float(finished[1]), list(durations_us))


def parse_log(text: str) -> list[int]:
    """The durations in microseconds from a `--log-file`: start, status and duration in tab-separated columns."""
    return [int(line.split("\t")[2]) for line in text.splitlines()]
