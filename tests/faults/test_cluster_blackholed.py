"""The network of the preferred cluster drops every packet: no reset, no unreachable, nothing."""

from __future__ import annotations

import os
import subprocess
from collections.abc import Iterator

import pytest

from tests.fault_rig.clusters import FaultLab, Site, open_fault_lab
from tests.fault_rig.explained import explained
from tests.fault_rig.load import Load, now
from tests.fault_rig.rounds import within

pytestmark = [pytest.mark.processes, pytest.mark.long]

GAP_LIMIT_S = 1.5


class Network:
    """A network namespace with one link to here. Its addresses are of 198.18.0.0/15, kept for tests (RFC 2544)."""

    def __init__(self) -> None:
        number = os.getpid() % 16_000
        self.name = f"isthmus-{number}"
        base = f"198.18.{number // 64}.{number % 64 * 4}"
        prefix, _, last = base.rpartition(".")
        self.ours, self.theirs = f"{prefix}.{int(last) + 1}", f"{prefix}.{int(last) + 2}"
        self._link = f"ist{number}"

    def open(self) -> str:
        """Makes it. Returns why that is not possible here, or nothing."""
        inside = ["-n", self.name]
        for arguments in (
            ["netns", "add", self.name],
            ["link", "add", self._link, "type", "veth", "peer", "name", "eth0", "netns", self.name],
            ["addr", "add", f"{self.ours}/30", "dev", self._link],
            ["link", "set", self._link, "up"],
            [*inside, "addr", "add", f"{self.theirs}/30", "dev", "eth0"],
            [*inside, "link", "set", "eth0", "up"],
            [*inside, "link", "set", "lo", "up"],
        ):
            try:
                done = subprocess.run(["ip", *arguments], capture_output=True, text=True, check=False, timeout=10)
            except FileNotFoundError:
                return "there is no ip command"
            if done.returncode != 0:
                return f"ip {' '.join(arguments)}: {done.stderr.strip()}"
        return ""

    def drop(self) -> None:
        """Whatever comes out of it, or goes in, is gone: its side has no way back, so packets from here find none."""
        for arguments in (
            ["netns", "exec", self.name, "sh", "-c", "echo 1 > /proc/sys/net/ipv4/conf/all/rp_filter"],
            ["-n", self.name, "route", "add", "blackhole", f"{self.ours}/32"],
        ):
            subprocess.run(["ip", *arguments], check=True, timeout=10)

    def mend(self) -> None:
        """Packets pass again."""
        subprocess.run(["ip", "-n", self.name, "route", "del", "blackhole", f"{self.ours}/32"], check=True, timeout=10)

    def close(self) -> None:
        """The link goes with the namespace."""
        try:
            subprocess.run(["ip", "netns", "del", self.name], capture_output=True, check=False, timeout=10)
        except FileNotFoundError:
            pass


@pytest.fixture(scope="module")
def network() -> Iterator[Network]:
    network = Network()
    try:
        if reason := network.open():
            pytest.skip(f"no network namespace can be made here: {reason}")
        yield network
    finally:
        network.close()


@pytest.fixture(scope="module")
def lab(tmp_path_factory: pytest.TempPathFactory, network: Network) -> Iterator[FaultLab]:
    services = {"payments": 1, "ledger": 1}
    sites = [
        Site("east", failover=("west", "eu")),
        Site("west", services, address=network.theirs, prefix=("ip", "netns", "exec", network.name)),
        Site("eu", services),
    ]
    with open_fault_lab(tmp_path_factory.mktemp("lab"), *sites, etcd_address=network.ours) as lab:
        yield lab


def test_a_blackholed_cluster_costs_no_request(lab: FaultLab, network: Network) -> None:
    """Nobody says anything, so only silence can tell."""
    with Load(lab.plan(tcp="ledger")) as load:

        def drop() -> float:
            load.wait_served_by("west")
            at = now()
            network.drop()
            load.wait_served_by("eu")
            load.wait_more()
            load.wait_more(10, "tcp")
            explained(lab, lambda e: e.summary.startswith("eu gets 100 %: no tunnel to west is ready"))
            network.mend()
            load.wait_served_by("west")
            gets = load.report("cluster blackholed", since=at)
            assert gets.failed == 0
            return gets.gap_s

        within(GAP_LIMIT_S, drop)
