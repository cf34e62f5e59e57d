"""Many workers' tunnels to one gateway, in a process of their own; and someone at its door while it is away."""

from __future__ import annotations

import socket
import subprocess
import sys
import threading

import msgspec

from gateway.demo.waiting import seconds, wait_until
from gateway.tunnel.tunnels import TUNNELS_PER_GATEWAY
from tests.fault_rig.clusters import Cluster
from tests.fault_rig.crowd_process import CrowdPlan, CrowdSample

_END_S = 15.0
_POLL_S = 0.05


class Crowd:
    """`with Crowd(workers, of, to, address)`: workers of one cluster that keep tunnels to an address of another."""

    def __init__(self, workers: int, of: Cluster, to: Cluster, address: str) -> None:
        self.wanted = workers * TUNNELS_PER_GATEWAY
        self.samples: list[CrowdSample] = []
        self._plan = CrowdPlan(
            workers,
            str(of.gateways[0].state_dir / "trust"),
            of.site.trust_domain,
            to.name,
            to.site.trust_domain,
            to.authority.root_der,
            address,
        )
        self._process: subprocess.Popen[bytes] | None = None
        self._reader = threading.Thread(target=self._read, daemon=True)

    def __enter__(self) -> Crowd:
        line = [sys.executable, "-m", "tests.fault_rig.crowd_process", msgspec.json.encode(self._plan).decode()]
        self._process = subprocess.Popen(line, stdin=subprocess.PIPE, stdout=subprocess.PIPE)
        self._reader.start()
        return self

    def __exit__(self, *unused: object) -> None:
        assert self._process is not None
        assert self._process.stdin is not None
        assert self._process.stdout is not None
        self._process.stdin.close()
        try:
            self._process.wait(_END_S)
        finally:
            self._process.kill()
            self._process.wait()
            self._reader.join(_END_S)
            self._process.stdout.close()

    def _read(self) -> None:
        assert self._process is not None
        assert self._process.stdout is not None
        decode = msgspec.json.Decoder(CrowdSample).decode
        for line in self._process.stdout:
            self.samples.append(decode(line))

    @property
    def ready(self) -> int:
        return self.samples[-1].ready if self.samples else 0

    def wait_ready(self) -> None:
        """Until all tunnels answer. Raises NotInTime."""
        wait_until(lambda: self.ready == self.wanted, "the whole crowd has its tunnels", timeout_s=60.0)

    def wait_lost(self) -> None:
        """Until none answers. Raises NotInTime."""
        wait_until(lambda: not self.ready, "the whole crowd has lost its tunnels", timeout_s=30.0)


class Doorbell:
    """`with Doorbell(address)`: notes when somebody knocks at an address whose gateway is away, and shuts the door."""

    def __init__(self, address: str) -> None:
        host, _, port = address.rpartition(":")
        self._address = host, int(port)
        self.knocks: list[float] = []
        self._ending = False
        self._thread = threading.Thread(target=self._run, daemon=True)

    def __enter__(self) -> Doorbell:
        # A process that was killed holds its sockets until the kernel has freed its memory.
        self._listener = wait_until(lambda: socket.create_server(self._address, backlog=1024), "the door is free")
        self._listener.settimeout(_POLL_S)
        self._thread.start()
        return self

    def __exit__(self, *unused: object) -> None:
        self._ending = True
        self._thread.join()
        self._listener.close()

    def _run(self) -> None:
        while not self._ending:
            try:
                self._listener.accept()[0].close()
            except TimeoutError:
                continue
            self.knocks.append(seconds())
