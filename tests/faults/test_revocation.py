"""An emergency: a root or a gateway is revoked while its connections are open. Whole gateways over a real etcd."""

from __future__ import annotations

from pathlib import Path

import pytest

from gateway.demo.waiting import seconds, wait_until
from tests.etcd_server import EtcdServer
from tests.gateway_process import GatewayProcess
from tests.rotating import east_and_west, load_on, root_of, status, trust, wait_ready, wait_stage

pytestmark = [pytest.mark.processes, pytest.mark.long]


def refusals(cluster: GatewayProcess) -> str:
    return " ".join(f"{problem.subject} {problem.message}" for problem in status(cluster).problems)


def certificates(cluster: GatewayProcess) -> set[str]:
    """Of the gateways that east's tunnels end at, by serial number."""
    return {serial for peer in status(cluster).peers for serial in peer.data.serials}


def test_a_root_is_revoked(tmp_path: Path, etcd_server: EtcdServer) -> None:
    """Every connection that rests on it, in both directions, is closed; the cluster goes on under another root, its
    records are signed anew, and the peer follows without a word from its operator."""
    with east_and_west(tmp_path, etcd_server) as (east, west):
        old = root_of(west)
        before = certificates(east)
        began = seconds()
        done = west.run("trust", "revoke", "root", old)
        assert done.returncode == 0, done.stderr
        wait_until(lambda: old not in [root.fingerprint for root in trust(east).peers[0].roots], "east has dropped it")
        wait_until(lambda: not before & certificates(east), "no tunnel rests on it")
        print(f"dropped by the peer after {seconds() - began:.2f} s")
        wait_ready(east, west)
        wait_stage(west, "steady")
        assert len(trust(west).record_keys) == 1
        wait_until(lambda: trust(east).peers[0].record_keys == trust(west).record_keys, "so is the record key")
        with load_on(east) as load:
            wait_until(lambda: load.account().by_cluster.get("west", 0) > 10, "west answers")
        assert not [problem for problem in status(east).problems if problem.kind == "record"]


def test_a_gateway_is_revoked(tmp_path: Path, etcd_server: EtcdServer) -> None:
    """This gateway itself: its certificates are refused everywhere, and it goes on with others. One that is not here
    stays out. What is no gateway and no certificate is refused by name."""
    with east_and_west(tmp_path, etcd_server) as (east, west):
        (gateway,) = (gateway.id for peer in status(east).peers for gateway in peer.control.gateways)
        before = certificates(east)
        assert before
        began = seconds()
        done = west.run("trust", "revoke", "gateway", gateway)
        assert done.returncode == 0, done.stderr
        wait_until(lambda: not before & certificates(east), "its tunnels are closed")
        print(f"closed after {seconds() - began:.2f} s")
        wait_ready(east, west)
        (serial, *_) = certificates(east)
        assert west.run("trust", "revoke", "gateway", serial).returncode == 0
        wait_until(lambda: serial not in certificates(east), "a tunnel by serial number")
        assert west.run("trust", "revoke", "gateway", "nobody").returncode == 1
        assert west.run("trust", "revoke", "root", root_of(east)).returncode == 1
        assert west.run("trust", "revoke", "root", "nothing").returncode == 2
        wait_ready(east, west)
