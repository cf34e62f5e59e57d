"""A first cluster needs nothing else: without `etcd` in its file it runs one of its own, and says where."""

from __future__ import annotations

import re
import sys
from collections.abc import Iterator
from datetime import UTC, datetime
from pathlib import Path

import msgspec
import pytest

from federation.status.values import StatusDocument
from gateway.demo.group import Group
from gateway.demo.leash import Program
from gateway.demo.waiting import wait_until
from gateway.process.identity import ProcessIdentity
from gateway.process.state_dir import prepare
from gateway.status.addresses import read_addresses
from tests.lab_clients import Http1
from trust.authority import Authority

pytestmark = pytest.mark.processes


class SmallCluster:
    """A gateway without services."""

    def __init__(self, directory: Path, name: str) -> None:
        self.name = name
        self.directory = directory / name
        self.directory.mkdir()
        self.state_dir = self.directory / "state"
        prepare(self.state_dir)
        authority = Authority.load_or_create(self.state_dir / "trust", f"{name}.test", datetime.now(UTC))
        self.root = authority.fingerprint
        config = str(self.directory / "cluster.yaml")
        gateway = Program("gateway", [sys.executable, "-m", "gateway", "run", "-c", config])
        self.group = Group(self.directory, [gateway])

    def write_config(self, peer: SmallCluster, vip_range: str, etcd: str) -> None:
        (self.directory / "cluster.yaml").write_text(f"""\
federation: small
cluster: {{name: {self.name}, trust_domain: {self.name}.test}}
state_dir: ./state
{etcd}
peers: {{{peer.name}: {{trust_domain: {peer.name}.test, root: "{peer.root}"}}}}
gateway: {{workers: 1, mesh: "127.0.0.1:0", http: "127.0.0.1:0", vip_range: {vip_range}}}
dns: {{listen: "127.0.0.1:0"}}
status: {{listen: "127.0.0.1:0"}}
""")

    def log(self) -> str:
        return (self.directory / "gateway.log").read_text() if (self.directory / "gateway.log").exists() else ""

    def status(self) -> StatusDocument:
        addresses = read_addresses(self.state_dir)
        if addresses is None:
            raise OSError("it does not listen yet")
        with Http1(addresses.status) as client:
            return msgspec.json.decode(client.ask("GET", "localhost", "/v1/status").body, type=StatusDocument)


@pytest.fixture
def pair(tmp_path: Path) -> Iterator[tuple[SmallCluster, SmallCluster]]:
    first, second = SmallCluster(tmp_path, "first"), SmallCluster(tmp_path, "second")
    try:
        yield first, second
    finally:
        second.group.stop()
        first.group.stop()


def test_a_second_cluster_joins_through_the_first_ones_etcd(pair: tuple[SmallCluster, SmallCluster]) -> None:
    """The endpoint that the first one's log prints is all that the second one needs; it ends with its gateway."""
    first, second = pair
    first.write_config(second, "127.98.0.0/16", "")
    first.group.start()
    said = wait_until(
        lambda: re.search(r"a private one runs at (http://127\.0\.0\.1:\d+)", first.log()), "the first says where"
    )
    second.write_config(first, "127.99.0.0/16", f"etcd: {{endpoints: [{said.group(1)}]}}")
    second.group.start()
    for cluster in pair:
        wait_until(lambda c=cluster: all(p.ready for p in c.status().peers), f"{cluster.name} sees its peer")  # type: ignore[misc]
    assert first.status().etcd.private
    assert not second.status().etcd.private
    etcd = msgspec.json.decode((first.state_dir / "etcd.pid").read_bytes(), type=ProcessIdentity)
    assert etcd.alive
    second.group.stop()
    first.group.stop()
    assert not etcd.alive
