"""etcd is restored from an older snapshot: revisions go back, and old records lie there again, genuine and signed."""

from __future__ import annotations

import shutil
from pathlib import Path as FilePath

import trio

from discovery.model import ServiceName
from federation.errors import RefusalCode
from federation.freshness import Freshness
from tests.etcd_server import EtcdServer
from tests.federation_members import FederationMember, as_peers, local_service, make_authority, run_member, until

PAY, GONE = ServiceName("shop", "pay"), ServiceName("shop", "gone")


def port_of(member: FederationMember, name: ServiceName) -> int:
    view = member.federation.services().get(name)
    return view.ports[0].port if view is not None else 0


def rolled_back(member: FederationMember) -> set[str]:
    (peer,) = member.federation.status().peers
    return {refusal.path for refusal in peer.refusals if refusal.code is RefusalCode.ROLLED_BACK}


def restore(etcd: EtcdServer, snapshot: FilePath) -> None:
    """As docs/operations.md says: stop, restore into a new data directory, start."""
    etcd.kill()
    shutil.rmtree(etcd.directory / "data")
    etcd.ctl(
        "snapshot",
        "restore",
        str(snapshot),
        f"--data-dir={etcd.directory / 'data'}",
        f"--name={etcd.name}",
        f"--initial-cluster={etcd.name}={etcd.peer_url}",
        f"--initial-advertise-peer-urls={etcd.peer_url}",
    )
    etcd.start()


async def test_owners_say_again_what_the_snapshot_does_not_have(tmp_path: FilePath, etcd_server: EtcdServer) -> None:
    """Changed, changed back, added, withdrawn and newly joined since the snapshot: all is there again as it was meant,
    and nothing that a reader believed goes back with etcd."""
    peers = as_peers({name: make_authority(tmp_path, name) for name in ("east", "west", "eu")})
    url = etcd_server.endpoint
    services = (local_service("pay"), local_service("gone"), local_service("back"))
    snapshot = tmp_path / "snapshot.db"
    async with (
        run_member(tmp_path, "east", peers, url) as east,
        run_member(tmp_path, "west", peers, url, services=services) as west,
    ):
        await until(lambda: all(east.sees(name, "west") for name in ("pay", "gone", "back")))
        await trio.to_thread.run_sync(etcd_server.ctl, "snapshot", "save", str(snapshot))
        west.federation.upsert_local(local_service("pay", port=81))
        west.federation.remove_local(GONE)
        west.federation.upsert_local(local_service("new"))
        west.federation.upsert_local(local_service("back", port=81))
        await until(lambda: port_of(east, ServiceName("shop", "back")) == 81)
        west.federation.upsert_local(local_service("back"))
        await until(lambda: port_of(east, ServiceName("shop", "back")) == 80)
        await until(lambda: east.sees("new", "west") and east.sees("gone"))
        east.listener.services.clear()
        async with run_member(tmp_path, "eu", peers, url, services=(local_service("pay"),)) as eu:
            # East is told of what it sees a moment after it can be seen.
            await until(lambda: east.sees("pay", "west", "eu") and PAY in east.listener.services)
            east.listener.services.clear()
            await trio.to_thread.run_sync(restore, etcd_server, snapshot)
            await until(lambda: all(member.federation.status().etcd.synced for member in (east, west, eu)), 30)
            for member in (east, eu):
                await until(
                    lambda m=member: all(  # type: ignore[misc]
                        peer.freshness is Freshness.FRESH and not peer.away and peer.refusals == ()
                        for peer in m.federation.status().peers
                    ),
                    30,
                )
                assert member.sees("pay", "west", "eu")
                assert member.sees("new", "west")
                assert member.sees("gone")
                assert (port_of(member, PAY), port_of(member, ServiceName("shop", "back"))) == (81, 80)
            # Nothing in the snapshot tells `new` from a service that was withdrawn, until west has written it again.
            assert east.listener.services <= {ServiceName("shop", "new")}


async def test_records_of_the_past_stay_refused_while_their_owner_is_away(
    tmp_path: FilePath, etcd_server: EtcdServer
) -> None:
    """Nobody is there to write again: the last good value stays in use, what was withdrawn stays so, and a person
    is told which record is from the past. When the owner is back, that is over."""
    peers = as_peers({name: make_authority(tmp_path, name) for name in ("east", "west")})
    url = etcd_server.endpoint
    services = (local_service("pay"), local_service("gone"))
    snapshot = tmp_path / "snapshot.db"
    async with run_member(tmp_path, "east", peers, url) as east:
        async with run_member(tmp_path, "west", peers, url, services=services) as west:
            await until(lambda: east.sees("pay", "west") and east.sees("gone", "west"))
            await until(lambda: east.federation.peers()["west"].freshness is Freshness.FRESH)
            await trio.to_thread.run_sync(etcd_server.ctl, "snapshot", "save", str(snapshot))
            west.federation.upsert_local(local_service("pay", port=81))
            west.federation.remove_local(GONE)
            await until(lambda: port_of(east, PAY) == 81 and east.sees("gone"))
        await trio.to_thread.run_sync(restore, etcd_server, snapshot)
        refused = {"exports/shop/pay", "exports/shop/gone"}
        await until(lambda: refused <= rolled_back(east), 30)
        assert (port_of(east, PAY), east.sees("gone")) == (81, True)
        async with run_member(tmp_path, "west", peers, url, services=(local_service("pay", port=81),)):
            await until(lambda: east.federation.status().peers[0].refusals == ())
            assert (port_of(east, PAY), east.sees("gone")) == (81, True)
