"""Many workers' tunnels to one gateway, in a process of their own; and someone at its door while it is away."""

from __future__ import annotations

import socket
import threading

from gateway.demo.waiting import seconds, wait_until
from gateway.tunnel.tunnels import TUNNELS_PER_GATEWAY
from tests.fault_rig.clusters import Cluster
from tests.fault_rig.crowd_process import CrowdPlan, CrowdSample
from tests.fault_rig.sampling import Sampling

_POLL_S = 0.05


class Crowd:
    """`with Crowd(workers, of, to, address)`: workers of one cluster that keep tunnels to an address of another."""

    def __init__(self, workers: int, of: Cluster, to: Cluster, address: str) -> None:
        self.wanted = workers * TUNNELS_PER_GATEWAY
        plan = CrowdPlan(
            workers,
            str(of.gateways[0].state_dir / "trust"),
            of.site.trust_domain,
            to.name,
            to.site.trust_domain,
            to.authority.root_der,
            address,
        )
        self._sampling = Sampling("tests.fault_rig.crowd_process", plan, CrowdSample)

    def __enter__(self) -> Crowd:
        self._sampling.__enter__()
        return self

    def __exit__(self, *raised: object) -> None:
        self._sampling.__exit__(*raised)

    @property
    def samples(self) -> list[CrowdSample]:
        return self._sampling.samples

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
