"""Joining by token, with whole gateways and the command line as people use them."""

from __future__ import annotations

import signal
import subprocess
import sys
from pathlib import Path

import msgspec
import pytest
import trio

from federation.etcd.client import open_etcd
from federation.etcd.config import EtcdConfig
from federation.join_token import encode_token, parse_token
from federation.status.values import StatusDocument
from gateway.config import load_config
from gateway.demo.waiting import wait_until
from tests.etcd_server import EtcdServer
from tests.gateway_process import GatewayProcess, gateways

pytestmark = [pytest.mark.processes, pytest.mark.long]


def status(cluster: GatewayProcess) -> StatusDocument:
    done = cluster.run("status", "-o", "json")
    if done.returncode != 0:
        raise OSError(done.stderr)
    return msgspec.json.decode(done.stdout, type=StatusDocument)


def invite(cluster: GatewayProcess, *options: str) -> str:
    done = cluster.run("invite", *options)
    assert done.returncode == 0, done.stderr
    assert done.stdout.count("\n") == 1
    return done.stdout


def leftovers(etcd: EtcdServer) -> list[bytes]:
    """The keys of requests and answers."""
    return [key for key in keys(etcd) if b"/requests/" in key or b"/answers/" in key]


def keys(etcd: EtcdServer) -> list[bytes]:
    """All keys of all clusters."""

    async def read() -> list[bytes]:
        async with open_etcd(EtcdConfig(endpoints=(etcd.endpoint,))) as client:
            await client.wait_connected()
            return [kv.key for kv in (await client.read_prefix(b"/isthmus/")).kvs]

    return trio.run(read)


def wait_peers(*clusters: GatewayProcess) -> None:
    """Until each sees every other one ready."""
    for cluster in clusters:
        wait_until(
            lambda cluster=cluster: (
                {peer.cluster for peer in status(cluster).peers if peer.ready}  # type: ignore[misc]
                == {other.name for other in clusters} - {cluster.name}
            ),
            f"{cluster.name} and its peers are ready",
        )


def refused(done: subprocess.CompletedProcess[str], cluster: GatewayProcess, *names: str) -> None:
    """The command failed, said why in one line, and left cluster.yaml without a peer."""
    assert done.returncode in (1, 2), done.stdout
    assert done.stderr.count("\n") == 1
    for name in names:
        assert name in done.stderr
    assert load_config(cluster.config_path).peers == {}


def test_join_and_accept(tmp_path: Path, etcd_server: EtcdServer) -> None:
    """West joins from nothing but its name and the token; east's operator compares the root and accepts. In the end
    both files say what people would have written, and nothing of it all is left in etcd."""
    with gateways(tmp_path, "east", "west") as (east, west):
        east.init(etcd_server.endpoint)
        west.init()
        east.start()
        token = invite(east, "west")
        done = west.run("join", "-", stdin=token)
        assert done.returncode == 0, done.stderr
        assert "isthmus accept west" in done.stdout
        (pending,) = wait_until(lambda: status(east).pending, "east sees west waiting")
        assert pending.root in done.stdout
        shown = east.run("status").stdout
        assert f"west (west.acme.internal), root {pending.root}: isthmus accept west" in shown
        assert status(east).peers == ()
        west.start()
        refused(east.run("accept", "west", "--root", "sha256:" + "ab" * 32), east, f"west with root {pending.root}")
        assert east.run("accept", "west").returncode == 0
        wait_peers(east, west)
        assert status(east).pending == ()
        for cluster, other in ((east, west), (west, east)):
            (name, peer), *more = load_config(cluster.config_path).peers.items()
            assert (name, peer.trust_domain, more) == (other.name, f"{other.name}.acme.internal", [])
            assert cluster.run("validate").returncode == 0
        wait_until(lambda: not leftovers(etcd_server), "requests and answers are gone")
        for cluster in (east, west):
            for path in cluster.directory.rglob("*"):
                if path.is_file():
                    assert token.split(".")[1] not in path.read_text(errors="replace"), path


def test_join_and_be_accepted_at_once(tmp_path: Path, etcd_server: EtcdServer) -> None:
    """`--accept auto`: one command on each side, and requests cross a moment later. The token on the command line works
    as well; a second use is refused by name, and the first survives a restart of the inviter."""
    with gateways(tmp_path, "east", "west", "north") as (east, west, north):
        east.init(etcd_server.endpoint)
        east.start()
        west.init(etcd_server.endpoint)
        west.start()
        north.init()
        token = invite(east, "--accept", "auto")
        done = west.run("join", token.strip())
        assert done.returncode == 0, done.stderr
        assert "east has accepted this cluster" in done.stdout
        wait_peers(east, west)
        refused(north.run("join", "-", stdin=token), north, "used-up", "could be used once")
        east.stop()
        east.start()
        refused(north.run("join", "-", stdin=token), north, "used-up")
        assert set(load_config(east.config_path).peers) == {"west"}


def test_join_before_the_inviter_runs(tmp_path: Path, etcd_server: EtcdServer) -> None:
    """A token can be redeemed as soon as it is printed: the joiner says that it waits for the inviter, and does."""
    with gateways(tmp_path, "east", "west") as (east, west):
        east.init(etcd_server.endpoint)
        west.init(etcd_server.endpoint)
        line = [sys.executable, "-m", "gateway", "join", "-", "-c", str(west.config_path)]
        with subprocess.Popen(line, stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=subprocess.PIPE) as process:
            assert process.stdin is not None
            assert process.stderr is not None
            process.stdin.write(invite(east, "west", "--accept", "auto").encode())
            process.stdin.close()
            assert b"east is not in etcd: waiting" in process.stderr.readline()
            east.start()
            assert process.wait(30) == 0
        assert set(load_config(west.config_path).peers) == {"east"}


def test_refusals(tmp_path: Path, etcd_server: EtcdServer) -> None:
    """Each by its name, with what to do; the joiner's file stays as it was."""
    with gateways(tmp_path, "east", "west") as (east, west):
        east.init(etcd_server.endpoint)
        west.init(etcd_server.endpoint)
        east.start()
        token = invite(east, "west")
        refused(west.run("join", "-", stdin=token[:-5]), west, "truncated", "copy the whole line")
        refused(west.run("join", "-", stdin=token.replace("isthmus1.W", "isthmus1.X")), west, "damaged")
        refused(west.run("join", "-", stdin="hello"), west, "not-a-token")
        refused(west.run("join", "-", stdin=invite(east, "north")), west, "other-cluster", "north alone")
        brief = invite(east, "west", "--expires", "1ms")
        refused(west.run("join", "-", stdin=brief), west, "expired", "ask for a new one")
        # A secret that is not the invitation's.
        wrong = encode_token(msgspec.structs.replace(parse_token(token), secret=bytes(32)))
        refused(west.run("join", "-", stdin=wrong), west, "wrong-secret")
        # Another root than east's: somebody else's token, or a token that was made up.
        foreign = encode_token(msgspec.structs.replace(parse_token(token), root="sha256:" + "ab" * 32))
        refused(west.run("join", "-", stdin=foreign), west, "foreign-inviter")
        elsewhere = GatewayProcess(tmp_path, "elsewhere")
        elsewhere.init(etcd_server.endpoint, federation="other")
        refused(elsewhere.run("join", "-", stdin=invite(east)), elsewhere, "foreign", "federation acme")
        assert status(east).pending == ()
        assert load_config(east.config_path).peers == {}


def test_a_refusal_is_shown_at_the_inviter(tmp_path: Path, etcd_server: EtcdServer) -> None:
    """Its operator sees that somebody tries, and how it fails; a joiner that gives up takes its request back."""
    with gateways(tmp_path, "east", "west") as (east, west):
        east.init(etcd_server.endpoint)
        west.init(etcd_server.endpoint)
        east.start()
        token = invite(east, "west")
        (east.state_dir / "invitations").rename(east.directory / "revoked")
        line = [sys.executable, "-m", "gateway", "join", "-", "-c", str(west.config_path)]
        with subprocess.Popen(line, stdin=subprocess.PIPE, stderr=subprocess.DEVNULL, text=True) as process:
            assert process.stdin is not None
            process.stdin.write(token)
            process.stdin.close()
            seen = wait_until(
                lambda: [p.message for p in status(east).problems if p.kind == "request" and p.subject == "west"],
                "east's status names the request",
            )
            assert "unknown-invitation" in seen[0]
            process.send_signal(signal.SIGINT)
            assert process.wait(10) == 130
        wait_until(lambda: not leftovers(etcd_server), "the request is gone")
        assert load_config(west.config_path).peers == {}


def serve(cluster: GatewayProcess, *, to: str) -> None:
    """Gives it a service that is exported; nothing listens behind it."""
    text = cluster.config_path.read_text()
    cluster.config_path.write_text(
        f"{text}\nservices:\n- namespace: shop\n  name: cart\n  ports: [{{name: http, port: 8080, protocol: http}}]\n"
        f"  endpoints: [{{address: 127.0.0.1, port: 9}}]\n  export: {{to: [{to}]}}\n"
    )


def names(cluster: GatewayProcess) -> set[str]:
    """The services that it may use."""
    done = cluster.run("services", "-o", "json")
    return {service["name"] for service in msgspec.json.decode(done.stdout)["services"]}


def test_leave(tmp_path: Path, etcd_server: EtcdServer) -> None:
    """Not while a gateway runs; then everything of the cluster is gone from etcd at once, and from its peers' catalogs.
    It comes back by running again."""
    with gateways(tmp_path, "east", "west") as (east, west):
        east.init(etcd_server.endpoint)
        west.init(etcd_server.endpoint)
        serve(west, to="east")
        east.start()
        assert west.run("join", "-", stdin=invite(east, "west", "--accept", "auto")).returncode == 0
        west.start()
        wait_until(lambda: "cart" in names(east), "east hears of west's service")
        running = west.run("leave")
        assert running.returncode == 1
        assert "stop it first" in running.stderr
        west.stop()
        assert "cart" in names(east)
        left = west.run("leave")
        assert left.returncode == 0, left.stderr
        assert "1 export are withdrawn" in left.stdout
        wait_until(lambda: "cart" not in names(east), "east has forgotten it")
        assert "it has left the federation; remove peers.west" in east.run("status").stdout
        assert [key for key in keys(etcd_server) if b"/clusters/west/" in key] == [
            b"/isthmus/v1/acme/clusters/west/bundle"
        ]
        assert "already" in west.run("leave").stdout
        west.start()
        wait_until(lambda: "cart" in names(east), "west is back")


def test_a_removed_peer_loses_its_tunnels_at_once(tmp_path: Path, etcd_server: EtcdServer) -> None:
    """Both directions: ours to it, and its own to us; it does not get in again, and sees why it is not ready."""
    with gateways(tmp_path, "east", "west") as (east, west):
        east.init(etcd_server.endpoint)
        west.init(etcd_server.endpoint)
        east.start()
        before = east.config_path.read_text()
        assert west.run("join", "-", stdin=invite(east, "west", "--accept", "auto")).returncode == 0
        west.start()
        wait_peers(east, west)
        wait_until(lambda: status(east).peers[0].data.inbound_connections, "east counts west's tunnels")
        east.config_path.write_text(before)
        wait_until(lambda: status(east).peers == (), "east took the file in")
        wait_until(lambda: status(west).peers[0].data.tunnels_ready == 0, "west's tunnels are closed")
        wait_until(lambda: status(west).peers[0].data.inbound_connections == 0, "east's are too")
        workers = status(east).workers
        assert sum(worker.tunnels_ready for worker in workers) == 0
        assert not status(west).peers[0].ready
