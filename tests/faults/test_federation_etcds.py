"""One etcd for all clusters, one for each, or a mix: the same federation, and an etcd that dies takes nothing along
that is read elsewhere."""

from __future__ import annotations

from collections.abc import AsyncIterator, Iterator
from contextlib import AsyncExitStack, ExitStack, asynccontextmanager
from pathlib import Path as FilePath

import pytest
import trio

from discovery.model import ServiceName
from federation import paths
from federation.federation import Peer
from federation.freshness import Freshness, Lease, Reason
from federation.report import PeerStatus
from tests.etcd_server import EtcdServer, run_etcd
from tests.federation_members import (
    LAYOUT,
    FederationMember,
    as_peers,
    local_service,
    make_authority,
    read_in,
    run_member,
    until,
)

CLUSTERS = ("east", "west", "eu")
SHAPES = {
    "shared": {"east": 0, "west": 0, "eu": 0},
    "separate": {"east": 0, "west": 1, "eu": 2},
    "mixed": {"east": 0, "west": 1, "eu": 0},
}
"""Which etcd each cluster writes to."""


@pytest.fixture
def etcds(tmp_path: FilePath) -> Iterator[list[EtcdServer]]:
    with ExitStack() as stack:
        yield [stack.enter_context(run_etcd(tmp_path / f"etcd-{number}")) for number in range(3)]


@asynccontextmanager
async def federation(
    directory: FilePath, etcds: list[EtcdServer], shape: dict[str, int]
) -> AsyncIterator[dict[str, FederationMember]]:
    """All three, each exporting shop/pay and shop/<its name>. A peer in the same etcd needs no `etcd` of its own."""
    pins = as_peers({name: make_authority(directory, name) for name in CLUSTERS})
    async with AsyncExitStack() as stack:
        members = {}
        for name in CLUSTERS:
            peers: dict[str, Peer] = {
                peer: pin if shape[peer] == shape[name] else read_in(pin, etcds[shape[peer]].endpoint)
                for peer, pin in pins.items()
            }
            services = (local_service("pay"), local_service(name))
            url = etcds[shape[name]].endpoint
            members[name] = await stack.enter_async_context(run_member(directory, name, peers, url, services=services))
        yield members


def peer_of(member: FederationMember, cluster: str) -> PeerStatus:
    return next(peer for peer in member.federation.status().peers if peer.cluster == cluster)


@pytest.mark.parametrize("shape", SHAPES)
async def test_every_shape_is_the_same_federation(tmp_path: FilePath, etcds: list[EtcdServer], shape: str) -> None:
    """Catalogs, acknowledgements and leases come together wherever they lie, and each cluster writes to its own etcd
    only."""
    async with federation(tmp_path, etcds, SHAPES[shape]) as members:
        for member in members.values():
            await until(lambda m=member: m.sees("pay", *CLUSTERS) and all(m.sees(c, c) for c in CLUSTERS))  # type: ignore[misc]
        for name, member in members.items():
            for peer in set(CLUSTERS) - {name}:
                await until(lambda m=member, p=peer: peer_of(m, p).acknowledged == 1)  # type: ignore[misc]
                await until(lambda m=member, p=peer: peer_of(m, p).freshness is Freshness.FRESH)  # type: ignore[misc]
            others = {SHAPES[shape][peer] for peer in CLUSTERS} - {SHAPES[shape][name]}
            status = member.federation.status()
            assert len(status.peer_etcds) == len(others)
            assert all(etcd.synced and list(etcd.endpoints.values()) == [""] for etcd in status.peer_etcds)
            assert status.strangers == status.stray_keys == ()
        for number, etcd in enumerate(etcds):
            keys = etcd.ctl("get", "--prefix", "--keys-only", LAYOUT.clusters.decode()).split()
            writers = {key.removeprefix(LAYOUT.clusters.decode()).partition("/")[0] for key in keys}
            assert writers == {name for name in CLUSTERS if SHAPES[shape][name] == number}
        members["west"].federation.remove_local(ServiceName("shop", "pay"))
        await until(lambda: members["east"].sees("pay", "east", "eu") and members["eu"].sees("pay", "east", "eu"))


async def test_a_lost_etcd_takes_only_those_along_that_are_read_there(
    tmp_path: FilePath, etcds: list[EtcdServer]
) -> None:
    """West's etcd dies: west is suspect for the others and is named with its etcd, eu stays fresh, changes go on. West
    itself goes on hearing the others; when its etcd is back, what it changed meanwhile arrives."""
    async with federation(tmp_path, etcds, SHAPES["mixed"]) as members:
        east, west = members["east"], members["west"]
        for member in members.values():
            await until(lambda m=member: m.sees("pay", *CLUSTERS))  # type: ignore[misc]
        await until(lambda: peer_of(east, "west").lease is peer_of(east, "eu").lease is Lease.LIVE)
        await trio.to_thread.run_sync(etcds[1].kill)
        await until(lambda: not peer_of(east, "west").etcd_synced)
        lost = peer_of(east, "west")
        assert (lost.freshness, lost.reason, lost.lease) == (Freshness.SUSPECT, Reason.ETCD_AWAY, Lease.UNKNOWN)
        assert lost.etcd == (etcds[1].endpoint,)
        status = east.federation.status()
        assert [(etcd.clusters, etcd.synced) for etcd in status.peer_etcds] == [(("west",), False)]
        assert status.peer_etcds[0].endpoints[etcds[1].endpoint]
        assert (status.etcd.synced, peer_of(east, "eu").freshness) == (True, Freshness.FRESH)
        await until(lambda: not west.federation.status().etcd.synced)
        assert peer_of(west, "east").freshness is Freshness.FRESH

        members["eu"].federation.upsert_local(local_service("new"))
        await until(lambda: east.sees("new", "eu") and west.sees("new", "eu"))
        west.federation.upsert_local(local_service("late"))
        assert east.sees("pay", *CLUSTERS)
        await trio.to_thread.run_sync(etcds[1].restart)
        await until(lambda: east.sees("late", "west") and members["eu"].sees("late", "west"), 30)
        await until(lambda: peer_of(east, "west").freshness is Freshness.FRESH)


async def test_a_peer_is_believed_only_from_its_own_etcd(tmp_path: FilePath, etcds: list[EtcdServer]) -> None:
    """West's genuine, signed records are copied into the etcd of east and eu: nobody takes them there, so that whoever
    holds that etcd can't keep withdrawn services alive. Nor does rubbish under west's name count as west's."""
    async with federation(tmp_path, etcds, SHAPES["mixed"]) as members:
        east, west = members["east"], members["west"]
        await until(lambda: east.sees("west", "west"))
        key = LAYOUT.key("west", paths.export(ServiceName("shop", "west")))
        genuine = await west.etcd.get(key)
        assert genuine is not None
        west.federation.remove_local(ServiceName("shop", "west"))
        await until(lambda: east.sees("west"))
        await east.etcd.put(key, genuine.value)
        await east.etcd.put(LAYOUT.key("west", paths.BUNDLE), b"rubbish")
        await east.etcd.put(LAYOUT.clusters + b"west/odd", b"rubbish")
        await east.etcd.put(LAYOUT.key("mars", paths.BUNDLE), b"a stranger")
        await until(lambda: east.federation.status().strangers == ("mars",))
        status = east.federation.status()
        assert east.sees("west")
        assert (peer_of(east, "west").refusals, peer_of(east, "west").bundle_sequence) == ((), 1)
        assert status.stray_keys == ()
        # In west's etcd, rubbish under west's name is west's, and that of others is nobody's.
        await west.etcd.put(LAYOUT.key("eu", paths.BUNDLE), b"rubbish")
        await west.etcd.put(LAYOUT.key("east", paths.BUNDLE), b"rubbish")
        await west.etcd.put(key, b"rubbish")
        # West deletes it soon, so that it is counted and then no longer there.
        await until(lambda: peer_of(east, "west").refusal_counts == {"not-a-record": 1})
        assert peer_of(east, "eu").refusal_counts == {}


async def test_a_peer_may_move_to_another_etcd(tmp_path: FilePath, etcds: list[EtcdServer]) -> None:
    """East hears of the move by its configuration. What west said stays in use throughout, also while its new etcd is
    not there; the old etcd counts no longer."""
    pins = as_peers({name: make_authority(tmp_path, name) for name in ("east", "west")})
    services = (local_service("pay"),)
    name = ServiceName("shop", "pay")
    await trio.to_thread.run_sync(etcds[1].kill)
    async with run_member(tmp_path, "east", pins, etcds[0].endpoint) as east:
        async with run_member(tmp_path, "west", pins, etcds[0].endpoint, services=services):
            await until(lambda: east.sees("pay", "west") and peer_of(east, "west").lease is Lease.LIVE)
            vip = east.federation.vip(name)
            east.move_peer("west", etcds[1].endpoint)
            await until(lambda: peer_of(east, "west").reason is Reason.ETCD_AWAY)
            assert east.sees("pay", "west")
        east.listener.services.clear()
        await trio.to_thread.run_sync(etcds[1].start)
        new = (*services, local_service("new"))
        async with run_member(tmp_path, "west", pins, etcds[1].endpoint, services=new):
            await until(lambda: east.sees("new", "west") and peer_of(east, "west").freshness is Freshness.FRESH)
            assert east.sees("pay", "west")
            assert (east.federation.vip(name), name in east.listener.services) == (vip, False)
            east.move_peer("west", None)
            await until(lambda: east.federation.status().peer_etcds == ())
            await until(lambda: not east.sees("new", "west"))


async def test_a_file_that_cannot_be_used_is_named_and_not_fatal(tmp_path: FilePath, etcds: list[EtcdServer]) -> None:
    """Another owner's CA file that is none: that peer is not read, and says why; everything else goes on."""
    pins = as_peers({name: make_authority(tmp_path, name) for name in ("east", "west", "eu")})
    (tmp_path / "ca.crt").write_text("no certificate")
    broken = read_in(pins["west"], "https://127.0.0.1:1", ca_file=str(tmp_path / "ca.crt"))
    peers = {**pins, "west": broken}
    url = etcds[0].endpoint
    async with (
        run_member(tmp_path, "east", peers, url) as east,
        run_member(tmp_path, "eu", pins, url, services=(local_service("pay"),)),
    ):
        await until(lambda: east.sees("pay", "eu"))
        (etcd,) = east.federation.status().peer_etcds
        assert (etcd.clusters, etcd.synced) == (("west",), False)
        assert "ca.crt" in etcd.problem
