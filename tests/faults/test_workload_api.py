"""A SPIFFE agent on a real Unix socket: renewals, another root, refusals, and an agent that is gone and comes back."""

from __future__ import annotations

import random
from collections.abc import AsyncIterator, Iterator
from contextlib import asynccontextmanager
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest
import trio

from federation.federation import Peer
from federation.workload import workload_pb2 as pb
from federation.workload.client import WorkloadFailed, follow_svids
from gateway.trust_keeping.workload_follower import WorkloadFollower, first_identity
from tests.etcd_server import EtcdServer, run_etcd
from tests.federation_members import as_peers, local_service, make_authority, run_member, until
from tests.workload_agent import Agent, both
from trust.authority import Authority
from trust.errors import TrustError
from trust.keys import PrivateKey
from trust.workload_authority import WorkloadAuthority

EAST = "east.acme.test"


def now() -> datetime:
    return datetime.now(UTC)


class Scene:
    """An agent, and a follower of it."""

    def __init__(self, tmp_path: Path) -> None:
        self.spire = Authority.load_or_create(tmp_path / "spire", EAST, now())
        self.agent = Agent(tmp_path / "agent.sock", both(self.spire))
        self.changes = 0
        self.authority: WorkloadAuthority
        self.follower: WorkloadFollower
        self.nursery: trio.Nursery

    def changed(self) -> None:
        self.changes += 1

    async def start_agent(self, answer: pb.X509SVIDResponse) -> None:
        self.agent = Agent(self.agent.path, answer)
        await self.nursery.start(self.agent.serve)


@asynccontextmanager
async def following(tmp_path: Path) -> AsyncIterator[Scene]:
    scene = Scene(tmp_path)
    async with trio.open_nursery() as scene.nursery:
        await scene.nursery.start(scene.agent.serve)
        identity = await first_identity(scene.agent.path, EAST, now, 10)
        scene.authority = WorkloadAuthority(EAST, identity, PrivateKey.generate())
        scene.follower = WorkloadFollower(scene.agent.path, scene.authority, scene.changed, now, random.Random(1))
        scene.nursery.start_soon(scene.follower.run)
        await until(lambda: scene.agent.calls == 2)
        yield scene
        scene.nursery.cancel_scope.cancel()


async def test_a_renewed_svid_is_taken(tmp_path: Path) -> None:
    """SPIRE renews at half-life, over the stream that is open."""
    async with following(tmp_path) as scene:
        answer = both(scene.spire)
        scene.agent.give(answer)
        await until(lambda: scene.authority.identity.gateway.chain == (answer.svids[0].x509_svid,))
        assert scene.follower.problem == ""
        assert scene.agent.calls == 2, "one stream carries all of it"
        changes = scene.changes
        scene.agent.give(answer)
        await trio.testing.wait_all_tasks_blocked(0.05)
        assert scene.changes == changes, "the same again is no news"


async def test_another_root_comes_with_the_bundle(tmp_path: Path) -> None:
    """SPIRE's next root is in the bundle before it signs."""
    async with following(tmp_path) as scene:
        following_root = Authority.load_or_create(tmp_path / "next", EAST, now())
        roots = (scene.spire.root_der, following_root.root_der)
        scene.agent.give(both(scene.spire, roots=roots))
        await until(lambda: scene.authority.bundle(1).authorities == roots)
        assert scene.authority.root_der == scene.spire.root_der
        scene.agent.give(both(following_root, roots=roots))
        await until(lambda: scene.authority.root_der == following_root.root_der)


async def test_permission_denied_is_named_and_the_svid_stays(tmp_path: Path) -> None:
    """Somebody removed the registration entry: what was issued is valid until it expires."""
    async with following(tmp_path) as scene:
        before = scene.authority.identity.gateway.chain
        scene.agent.deny("no identity issued")
        await until(lambda: "registration entry" in scene.follower.problem)
        assert "no identity issued" in scene.follower.problem
        assert scene.authority.identity.gateway.chain == before
        scene.agent.denial = ""
        scene.agent.give(both(scene.spire))
        await until(lambda: scene.follower.problem == "")


async def test_an_agent_that_goes_and_comes_back(tmp_path: Path) -> None:
    """Agents are restarted: the identity stays, and the next one is taken from the new agent."""
    async with following(tmp_path) as scene:
        before = scene.authority.identity.gateway.chain
        scene.agent.stop()
        await until(lambda: scene.follower.problem != "")
        assert scene.authority.identity.gateway.chain == before
        answer = both(scene.spire)
        await scene.start_agent(answer)
        await until(lambda: scene.authority.identity.gateway.chain == (answer.svids[0].x509_svid,))
        assert scene.follower.problem == ""


async def test_an_answer_for_somebody_else_is_refused(tmp_path: Path) -> None:
    """A wrong entry must not change who we are."""
    async with following(tmp_path) as scene:
        before = scene.authority.identity.gateway.chain
        stranger = Authority.load_or_create(tmp_path / "stranger", "mallory.test", now())
        scene.agent.give(both(stranger))
        await until(lambda: "mallory.test" in scene.follower.problem)
        assert scene.authority.identity.gateway.chain == before


async def test_an_svid_that_begins_ahead_of_our_clock_is_taken_when_it_has_begun(tmp_path: Path) -> None:
    """The server that issues runs elsewhere, and the agent says a thing once: the SVID before it would run out."""
    async with following(tmp_path) as scene:
        before = scene.authority.identity.gateway.chain
        # An SVID of an hour begins six minutes before it is issued.
        answer = both(scene.spire, ahead=timedelta(minutes=6, seconds=1.5))
        scene.agent.give(answer)
        await until(lambda: "is valid from" in scene.follower.problem)
        assert scene.authority.identity.gateway.chain == before
        await until(lambda: scene.authority.identity.gateway.chain == (answer.svids[0].x509_svid,))
        assert scene.follower.problem == ""


async def test_a_first_identity_that_begins_ahead_of_our_clock_is_waited_for(tmp_path: Path) -> None:
    """A cluster's first start is the same case. One that does not begin in time is refused by its name."""
    spire = Authority.load_or_create(tmp_path / "spire", EAST, now())
    path = tmp_path / "agent.sock"
    async with trio.open_nursery() as nursery:
        agent = Agent(path, both(spire, ahead=timedelta(minutes=6, seconds=1.5)))
        await nursery.start(agent.serve)
        assert (await first_identity(path, EAST, now, 20)).root_der == spire.root_der
        agent.give(both(spire, ahead=timedelta(hours=1)))
        with pytest.raises(TrustError) as refused:
            await first_identity(path, EAST, now, 1)
        assert refused.value.code == "not-yet-valid"
        nursery.cancel_scope.cancel()


async def test_a_first_identity_waits_for_the_agent(tmp_path: Path) -> None:
    """Both may be started together; without one in time the reason is said."""
    spire = Authority.load_or_create(tmp_path / "spire", EAST, now())
    path = tmp_path / "agent.sock"
    with pytest.raises(TrustError, match=r"agent\.sock: no agent can be reached") as refused:
        await first_identity(path, EAST, now, 0.3)
    assert refused.value.code == "no-identity"
    async with trio.open_nursery() as nursery:

        async def later() -> None:
            await trio.sleep(0.2)
            await nursery.start(Agent(path, both(spire)).serve)

        nursery.start_soon(later)
        assert (await first_identity(path, EAST, now, 20)).root_der == spire.root_der
        nursery.cancel_scope.cancel()


async def test_what_is_no_agent_is_told_apart(tmp_path: Path) -> None:
    """Another server's socket, one that hangs up, and one that speaks HTTP/1."""

    async def serve(stream: trio.SocketStream) -> None:
        await stream.send_all(b"HTTP/1.1 400 Bad Request\r\n\r\n")
        await stream.aclose()

    sock = trio.socket.socket(trio.socket.AF_UNIX)
    await sock.bind(str(tmp_path / "other.sock"))
    sock.listen()
    async with trio.open_nursery() as nursery:
        nursery.start_soon(trio.serve_listeners, serve, [trio.SocketListener(sock)])
        with pytest.raises(WorkloadFailed, match="HTTP/1"):
            await follow_svids(tmp_path / "other.sock", lambda svids: None)
        nursery.cancel_scope.cancel()


@pytest.fixture
def etcd(tmp_path: Path) -> Iterator[EtcdServer]:
    with run_etcd(tmp_path / "etcd") as server:
        yield server


async def test_records_are_believed_and_stay_so_over_renewals(tmp_path: Path, etcd: EtcdServer) -> None:
    """West pinned SPIRE's root and nothing else. East's records are signed by a key that only the bundle names; the
    bundle is certified anew with each SVID, also by a root that came later; a restart goes on above its sequence."""
    async with following(tmp_path) as scene:
        west_pin = as_peers({"west": make_authority(tmp_path, "west")})
        east_pin = {"east": Peer(EAST, scene.authority.fingerprint)}
        services = (local_service("pay"),)
        async with run_member(tmp_path, "west", east_pin, etcd.endpoint) as west:
            async with run_member(
                tmp_path, "east", west_pin, etcd.endpoint, services=services, authority=scene.authority
            ) as east:
                await until(lambda: west.sees("pay", "east"))
                following_root = Authority.load_or_create(tmp_path / "next", EAST, now())
                roots = (scene.spire.root_der, following_root.root_der)
                scene.agent.give(both(scene.spire, roots=roots))
                await until(lambda: scene.authority.bundle(1).authorities == roots)
                east.federation.trust_changed()
                await until(lambda: west.federation.peers()["east"].roots == roots)
                scene.agent.give(both(following_root, roots=roots))
                await until(lambda: scene.authority.root_der == following_root.root_der)
                writes = east.federation.status().etcd.writes
                east.federation.trust_changed()
                await until(lambda: east.federation.status().etcd.writes > writes)
                sequence = east.federation.own_bundle().sequence
            async with run_member(
                tmp_path, "east", west_pin, etcd.endpoint, services=services, authority=scene.authority
            ) as east:
                await until(lambda: east.federation.status().etcd.leased)
                assert east.federation.own_bundle().sequence == sequence
                await until(lambda: west.sees("pay", "east"))
            assert west.federation.status().peers[0].refusal_counts == {}
