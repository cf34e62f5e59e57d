"""docs/operations.md is true: its commands, taken from its page, make a TLS cluster of three with authentication on, in
which each member of a federation may write its own records and read all, and nothing else."""

from __future__ import annotations

import os
import re
import subprocess
import time
from collections.abc import Iterator
from pathlib import Path

import msgspec
import pytest
import trio
import trustme

from federation import paths
from federation.errors import RefusalCode
from federation.etcd import EtcdConfig, EtcdError, open_etcd
from federation.etcd.kv import Compare, Op
from federation.freshness import Freshness
from tests.etcd_server import EtcdServer, find_program, run_etcd_cluster
from tests.federation_members import LAYOUT, as_peers, forge, local_service, make_authority, run_member, until

_PAGE = (Path(__file__).parents[3] / "docs" / "operations.md").read_text()
_PASSWORD = "correct-horse"


def commands(section: str) -> str:
    """All of a section's shell commands, as one script."""
    _, found, rest = _PAGE.partition(f"\n## {section}\n")
    assert found, f"no section {section}"
    return "\n".join(re.findall(r"^```sh\n(.*?)^```", rest.partition("\n## ")[0], re.MULTILINE | re.DOTALL))


class Operator:
    """An etcd of three on TLS, and the administrator's shell: `root.crt` and what the page's commands expect."""

    def __init__(self, directory: Path) -> None:
        self.directory = directory
        self.servers: list[EtcdServer] = []
        ca = trustme.CA()
        ca.cert_pem.write_to_path(str(directory / "etcd-ca.crt"))
        for name, leaf in (
            ("server", ca.issue_cert("127.0.0.1", "localhost")),
            ("root", ca.issue_cert("root.test", common_name="root")),
            ("east", ca.issue_cert("east.test", common_name="east")),
            ("west", ca.issue_cert("west.test", common_name="west")),
            ("nobody", ca.issue_cert("nobody.test")),
        ):
            leaf.private_key_pem.write_to_path(str(directory / f"{name}.key"))
            for pem in leaf.cert_chain_pems:
                pem.write_to_path(str(directory / f"{name}.crt"), append=True)
        (directory / "eu.password").write_text(f"{_PASSWORD}\n")

    def files(self, name: str) -> tuple[Path, Path, Path]:
        return self.directory / f"{name}.crt", self.directory / f"{name}.key", self.directory / "etcd-ca.crt"

    def access(self, name: str) -> EtcdConfig:
        """How that cluster reaches etcd: by its certificate, but eu by its password and anybody's certificate."""
        certificate, key, ca = self.files("nobody" if name == "eu" else name)
        return EtcdConfig(
            endpoints=tuple(server.endpoint for server in self.servers),
            ca_file=str(ca),
            cert_file=str(certificate),
            key_file=str(key),
            username="eu" if name == "eu" else "",
            password=_PASSWORD if name == "eu" else "",
        )

    def run(self, script: str, user: str = "root") -> str:
        """Runs shell commands as the page says. Raises AssertionError with what was said if one of them fails."""
        certificate, key, ca = self.files(user)
        environment = {
            "PATH": f"{Path(find_program('etcdctl')).parent}:{os.environ['PATH']}",
            "ETCDCTL_ENDPOINTS": ",".join(server.endpoint for server in self.servers),
            "ETCDCTL_CACERT": str(ca),
            "ETCDCTL_CERT": str(certificate),
            "ETCDCTL_KEY": str(key),
        }
        done = subprocess.run(
            ["bash", "-euo", "pipefail", "-c", script],
            cwd=self.directory,
            env=environment,
            capture_output=True,
            text=True,
            check=False,
            timeout=60,
        )
        assert done.returncode == 0, done.stderr
        return done.stdout


@pytest.fixture(scope="module")
def operator(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Operator]:
    operator = Operator(tmp_path_factory.mktemp("operator"))
    arguments = ("--bcrypt-cost=4",)
    with run_etcd_cluster(
        operator.directory / "etcd", 3, client_tls=operator.files("server"), arguments=arguments
    ) as servers:
        operator.servers = servers
        operator.run(commands("Users and roles"))
        yield operator


async def test_a_federation_lives_on_the_documented_permissions(operator: Operator, tmp_path: Path) -> None:
    """By certificate and by password: bundles, gateways on leases, exports, acknowledgements and virtual IPs."""
    peers = as_peers({name: make_authority(tmp_path, name) for name in ("east", "west", "eu")})
    async with (
        run_member(tmp_path, "east", peers, operator.access("east"), services=(local_service("cart"),)) as east,
        run_member(tmp_path, "west", peers, operator.access("west"), services=(local_service("pay"),)) as west,
        run_member(tmp_path, "eu", peers, operator.access("eu"), services=(local_service("pay"),)) as eu,
    ):
        for member in (east, west, eu):
            await until(lambda m=member: m.sees("pay", "west", "eu") and m.sees("cart", "east"))  # type: ignore[misc]
        for member in (east, west, eu):
            await until(
                lambda m=member: all(  # type: ignore[misc]
                    (peer.acknowledged, peer.freshness) == (1, Freshness.FRESH) for peer in m.federation.status().peers
                )
            )
            status = member.federation.status()
            assert (status.etcd.publish_problem, status.etcd.leased) == ("", True)
            assert [peer.refusals for peer in status.peers] == [(), ()]
        await trio.to_thread.run_sync(operator.servers[0].kill)
        west.federation.upsert_local(local_service("new"))
        await until(lambda: east.sees("new", "west") and eu.sees("new", "west"), 30)
        await trio.to_thread.run_sync(operator.servers[0].restart)


@pytest.mark.parametrize("cluster", ["east", "eu"])
async def test_etcd_refuses_what_is_foreign(operator: Operator, cluster: str) -> None:
    """Writing under another's name, under a name that only begins like ours, a transaction or a range with a foreign
    key in it, another federation, users and roles."""
    bundle = LAYOUT.key("west", paths.BUNDLE)
    almost = LAYOUT.clusters + cluster.encode() + b"-2/bundle"
    own = LAYOUT.key(cluster, paths.ack("mars"))
    async with open_etcd(operator.access(cluster)) as client:
        await client.put(own, b"x")
        before = await client.get(bundle)
        for refused in (
            lambda: client.put(bundle, b"x"),
            lambda: client.put(almost, b"x"),
            lambda: client.delete(bundle),
            lambda: client.delete_prefix(LAYOUT.clusters),
            lambda: client.txn([Compare.mod_revision(own, "==", -1)], [Op.put(bundle, b"x")], [Op.delete(own)]),
            lambda: client.read_prefix(b"/isthmus/v1/"),
            lambda: client.put(b"/isthmus/v1/other/clusters/" + cluster.encode() + b"/bundle", b"x"),
        ):
            with pytest.raises(EtcdError) as caught:
                await refused()
            assert caught.value.code == "permission_denied"
        assert await client.get(bundle) == before
        assert await client.delete(own) == 1
    if cluster == "east":
        with pytest.raises(AssertionError, match="permission denied"):
            operator.run("etcdctl role grant-permission acme-east --prefix=true readwrite /", user="east")
        (shown,) = re.findall(r"^\$ (.* put .*)\nError: etcdserver: (permission denied)$", _PAGE, re.MULTILINE)
        with pytest.raises(AssertionError, match=shown[1]):
            operator.run(shown[0])


async def test_without_permissions_the_signature_refuses_it(operator: Operator, tmp_path: Path) -> None:
    """Authentication is off, as in an etcd that nobody configured: east overwrites west's export, with rubbish, with a
    record that it signed itself, and with west's own of another place. Each is refused by name, west's stays."""
    authorities = {name: make_authority(tmp_path, name) for name in ("east", "west")}
    peers = as_peers(authorities)
    operator.run("etcdctl auth disable")
    try:
        async with (
            run_member(tmp_path, "eu", {**peers, "eu": peers["east"]}, operator.access("east")) as reader,
            run_member(tmp_path, "west", peers, operator.access("west"), services=(local_service("pay"),)) as west,
        ):
            await until(lambda: reader.sees("pay", "west"))
            genuine = await west.etcd.get(LAYOUT.key("west", paths.export(local_service("pay").name)))
            assert genuine is not None
        path = paths.export(local_service("pay").name)
        key = LAYOUT.key("west", path)
        forged = forge(authorities["east"], "west", path, b"{}", sequence=2**50, issued_at=time.time())
        other = forge(
            authorities["west"], "west", path, b"{}", sequence=2**50, issued_at=time.time(), signed_path="exports/a/b"
        )
        # West is away, so that nobody repairs what is overwritten while it is looked at.
        async with run_member(tmp_path, "eu", {**peers, "eu": peers["east"]}, operator.access("east")) as reader:
            await until(lambda: reader.federation.status().etcd.synced)
            for raw, code in (
                (b"rubbish", RefusalCode.NOT_A_RECORD),
                (forged, RefusalCode.UNKNOWN_KEY),
                (other, RefusalCode.WRONG_PATH),
            ):
                await reader.etcd.put(key, raw)
                await until(lambda c=code: _refused(reader.federation.status().peers, "west", c))  # type: ignore[misc]
                assert reader.sees("pay", "west")
    finally:
        operator.run(commands("Users and roles").splitlines()[-1])


def _refused(peers: object, cluster: str, code: RefusalCode) -> bool:
    return any(
        peer["cluster"] == cluster and peer["refusals"] and peer["refusals"][0]["code"] == code
        for peer in msgspec.to_builtins(peers)
    )


def test_history_is_compacted_and_a_snapshot_saved(operator: Operator) -> None:
    """The other commands of the page run as they stand there."""
    operator.run(commands("Size, history and compaction"))
    operator.run(commands("Backup and restore"))
    assert "hash" in operator.run("etcdctl snapshot status acme.db --write-out=json")
