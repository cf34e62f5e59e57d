"""The fixture that other tests lean on: its data outlives a kill."""

from __future__ import annotations

from tests.etcd_server import EtcdServer


def test_data_survives_a_kill_and_a_restart(etcd_server: EtcdServer) -> None:
    """Fault tests count on the same data on the same ports after `restart`."""
    endpoint = etcd_server.endpoint
    etcd_server.ctl("put", "/a", "1")
    etcd_server.restart()
    assert etcd_server.endpoint == endpoint
    assert etcd_server.ctl("get", "/a", "--print-value-only").strip() == "1"
