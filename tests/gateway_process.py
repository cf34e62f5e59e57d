"""A gateway as a process of its own, made by the command line as a user makes one."""

from __future__ import annotations

import contextlib
import io
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from gateway.cli import main
from gateway.demo.waiting import wait_until
from gateway.status.addresses import read_addresses


class GatewayProcess:
    """Cluster `name` in a directory of its own: `init` writes it, `start` runs it."""

    def __init__(self, directory: Path, name: str) -> None:
        self.name = name
        self.directory = directory / name
        self.config_path = self.directory / "cluster.yaml"
        self.state_dir = self.directory / "state" / name
        self._process: subprocess.Popen[str] | None = None

    def init(self, etcd: str = "", *, federation: str = "acme") -> None:
        """With any free port everywhere, and one worker."""
        options = ["--federation", federation, "--mesh", "127.0.0.1:0", *(["--etcd", etcd] if etcd else [])]
        done = self.run("init", self.name, *options, "-d", str(self.directory), config=False)
        assert done.returncode == 0, done.stderr
        text = self.config_path.read_text()
        for port in ("15080", "15053", "15000"):
            text = text.replace(f"127.0.0.1:{port}", "127.0.0.1:0")
        self.config_path.write_text(text.replace("gateway:\n", "gateway:\n  workers: 1\n", 1))

    def run(self, *arguments: str, config: bool = True, stdin: str = "") -> subprocess.CompletedProcess[str]:
        """One command of the CLI, in this process: a start of Python costs more than the command."""
        self.directory.mkdir(exist_ok=True)
        line = [*arguments, *(["-c", str(self.config_path)] if config else [])]
        out, err, before = io.StringIO(), io.StringIO(), sys.stdin
        sys.stdin = io.StringIO(stdin)
        try:
            with contextlib.redirect_stdout(out), contextlib.redirect_stderr(err):
                status = main(line)
        finally:
            sys.stdin = before
        return subprocess.CompletedProcess(line, status, out.getvalue(), err.getvalue())

    def start(self) -> None:
        """Runs it, and waits until it says where it listens."""
        log = (self.directory / "gateway.log").open("a")
        line = [sys.executable, "-m", "gateway", "run", "-c", str(self.config_path)]
        self._process = subprocess.Popen(line, stderr=log, stdout=log, text=True)
        log.close()
        wait_until(lambda: read_addresses(self.state_dir), f"{self.name} listens", timeout_s=60)

    def stop(self) -> None:
        """SIGTERM, and waits for it to end."""
        if self._process is not None:
            self._process.terminate()
            self._process.wait(30)
            self._process = None
            (self.state_dir / "listeners.json").unlink(missing_ok=True)

    def kill_controller(self) -> None:
        """SIGKILL to the controller alone: its workers serve on, and `start` adopts them."""
        assert self._process is not None, "it runs"
        self._process.kill()
        self._process.wait(30)
        self._process = None
        (self.state_dir / "listeners.json").unlink(missing_ok=True)

    @property
    def log(self) -> str:
        return (self.directory / "gateway.log").read_text()


@contextmanager
def gateways(directory: Path, *names: str) -> Iterator[list[GatewayProcess]]:
    """Stops those that run when the block ends, and shows what they said if it failed."""
    clusters = [GatewayProcess(directory, name) for name in names]
    try:
        yield clusters
    except BaseException:
        for cluster in clusters:
            print(f"--- {cluster.name}\n{cluster.log if (cluster.directory / 'gateway.log').exists() else ''}")
        raise
    finally:
        for cluster in clusters:
            cluster.stop()
