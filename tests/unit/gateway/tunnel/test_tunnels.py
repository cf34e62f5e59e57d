"""Tunnels to peers' gateways, over real mutual TLS between two ends in one process."""

from __future__ import annotations

import socket
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

import pytest
import trio
import trio.testing

from gateway.codec.choose import mesh_codec
from gateway.codec.events import Header, RequestHead, ResponseHead
from gateway.snapshot import GatewayAddress, PeerResource
from gateway.transport.client_connection import ResponseHandler
from gateway.transport.reactor import Reactor
from gateway.transport.server_connection import RequestHandler, ServerConnection
from gateway.tunnel import gateway_tunnels as tunnels_module
from gateway.tunnel import opening as opening_module
from gateway.tunnel.identity import Identity
from gateway.tunnel.tunnels import TUNNELS_PER_GATEWAY, Tunnels
from tests.gateway_ends import (
    MeshPort,
    answer_ok,
    make_authority,
    make_identity,
    peer_of,
    running_reactor,
    seeded,
    wait_until,
    wall_clock,
)
from tests.ports import refusing_address
from trust.authority import Authority

GET = RequestHead(b"GET", b"http", b"payments", b"/", [])


@pytest.fixture(scope="module")
def authorities(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Authority]:
    directory = tmp_path_factory.mktemp("authorities")
    return {cluster: make_authority(directory, cluster) for cluster in ("east", "west", "north")}


@pytest.fixture(autouse=True)
def quick(monkeypatch: pytest.MonkeyPatch) -> None:
    """Waiting times that only have to be there are short here."""
    monkeypatch.setattr(tunnels_module, "RECONNECT_FIRST_S", 0.005)
    monkeypatch.setattr(tunnels_module, "RECONNECT_LIMIT_S", 0.02)


class East:
    """A worker's tunnels, and what it was told of them."""

    def __init__(self, identity: Identity, reactor: Reactor, nursery: trio.Nursery) -> None:
        self.identity = identity
        self.reactor = reactor
        self.changes = 0
        self.tunnels = Tunnels(
            identity,
            reactor,
            nursery,
            make_codec=lambda: mesh_codec("auto", client=True),
            wall_clock=wall_clock,
            changed=self._changed,
            rng=seeded(),
        )

    def _changed(self) -> None:
        self.changes += 1

    def set_peer(self, peer: PeerResource) -> None:
        self.identity.set_peer(peer)
        self.tunnels.set_peer(peer)

    def remove_peer(self, cluster: str) -> None:
        self.identity.remove_peer(cluster)
        self.tunnels.remove_peer(cluster)

    def ready(self) -> int:
        return sum(report.ready for report in self.tunnels.report())

    def error(self) -> str:
        return "; ".join(report.error for report in self.tunnels.report())


class Ends:
    def __init__(self, authorities: dict[str, Authority], reactor: Reactor, nursery: trio.Nursery) -> None:
        self.authorities = authorities
        self.reactor = reactor
        self.nursery = nursery
        self.east = East(make_identity(authorities["east"]), reactor, nursery)
        self.west = make_identity(authorities["west"], peer_of(authorities["east"]))


@asynccontextmanager
async def both_ends(authorities: dict[str, Authority]) -> AsyncIterator[Ends]:
    async with running_reactor() as (reactor, nursery):
        ends = Ends(authorities, reactor, nursery)
        yield ends
        for cluster in authorities:
            ends.east.remove_peer(cluster)


class Answer(ResponseHandler):
    """The far end of one request of a test."""

    def __init__(self) -> None:
        self.status = 0
        self.lost: bool | None = None
        self.stalls = 0

    def on_informational(self, head: ResponseHead) -> None: ...

    def on_response(self, head: ResponseHead, end_stream: bool) -> None:
        self.status = head.status

    def on_response_data(self, data: bytes, end_stream: bool) -> None: ...

    def on_stall(self, *, mute: bool) -> None:
        self.stalls += 1

    def on_response_trailers(self, headers: list[Header]) -> None: ...

    def on_response_reset(self, code: int, *, unprocessed: bool, lost: bool) -> None:
        self.lost = lost


def ask(ends: Ends, cluster: str = "west", *, answer: Answer | None = None) -> Answer:
    answer = answer or Answer()
    conn = ends.east.tunnels.pick(cluster)
    assert conn is not None
    conn.open(GET, True, answer)
    ends.reactor.flush()
    return answer


class Silence(RequestHandler):
    """A request that is never answered."""

    def on_request_data(self, data: bytes, end_stream: bool) -> None: ...
    def on_request_trailers(self, headers: list[Header]) -> None: ...
    def on_request_reset(self) -> None: ...


def never_answer(conn: ServerConnection, stream_id: int, head: RequestHead, end_stream: bool) -> RequestHandler:
    handler = conn.handlers[stream_id] = Silence()
    return handler


async def test_a_tunnel_carries_requests_and_says_who_is_there(authorities: dict[str, Authority]) -> None:
    """Several are kept; each is shown with what it proved."""
    async with both_ends(authorities) as ends:
        port = MeshPort(ends.west, ends.reactor, ends.nursery)
        assert ends.east.tunnels.pick("west") is None
        ends.east.set_peer(peer_of(authorities["west"], port.address))
        await wait_until(lambda: ends.east.ready() == TUNNELS_PER_GATEWAY)
        answer = ask(ends)
        await wait_until(lambda: answer.status)
        report = ends.east.tunnels.report()[0]
        assert report.peer_id == "spiffe://west.test/ns/isthmus-system/sa/isthmus-gateway"
        assert (report.address, report.error) == (port.address, "")
        assert report.rtt_ms > 0
        port.close()


async def test_the_less_loaded_tunnel_is_picked(authorities: dict[str, Authority]) -> None:
    """Or one of them would carry all."""
    async with both_ends(authorities) as ends:
        port = MeshPort(ends.west, ends.reactor, ends.nursery, never_answer)
        ends.east.set_peer(peer_of(authorities["west"], port.address))
        await wait_until(lambda: ends.east.ready() == TUNNELS_PER_GATEWAY)
        for _ in range(2 * TUNNELS_PER_GATEWAY):
            ask(ends)
        await wait_until(lambda: sum(conn.codec.open_streams for conn in port.connections) == 2 * TUNNELS_PER_GATEWAY)
        assert [conn.codec.open_streams for conn in port.connections] == [2] * TUNNELS_PER_GATEWAY
        port.close()


async def test_peers_14_streams_that_lie_idle_keep_no_requests_away(authorities: dict[str, Authority]) -> None:
    """TCP streams and WebSockets that have settled count among their like only, not where a request is placed."""
    async with both_ends(authorities) as ends:
        port = MeshPort(ends.west, ends.reactor, ends.nursery, never_answer)
        ends.east.set_peer(peer_of(authorities["west"], port.address))
        await wait_until(lambda: ends.east.ready() == TUNNELS_PER_GATEWAY)
        tunnels = ends.east.tunnels
        crowded = tunnels.pick("west")
        assert crowded is not None
        for _ in range(6):
            crowded.open(GET, True, Answer())
        empty = tunnels.pick("west")
        assert empty is not None
        assert empty is not crowded, "six requests that are not answered"
        crowded.settled = len(crowded.handlers)
        empty.open(GET, True, Answer())
        assert tunnels.pick("west") is crowded, "six streams that lie there, and a request here"
        assert tunnels.pick("west", stream=True) is empty, "six streams there, and one here"
        port.close()


async def test_another_clusters_certificate_is_refused(authorities: dict[str, Authority]) -> None:
    """North is a peer as well, so its chain is good; but it is not west, and the status says who it is."""
    async with both_ends(authorities) as ends:
        north = make_identity(authorities["north"], peer_of(authorities["east"]))
        port = MeshPort(north, ends.reactor, ends.nursery)
        ends.east.set_peer(peer_of(authorities["north"]))
        west = peer_of(authorities["west"], port.address)
        ends.east.set_peer(
            PeerResource("west", "west.test", (*west.roots, authorities["north"].root_der), west.gateways)
        )
        await wait_until(lambda: "not a gateway of west" in ends.east.error())
        assert "spiffe://north.test/" in ends.east.error()
        assert ends.east.ready() == 0
        port.close()


async def test_an_unknown_root_is_refused(authorities: dict[str, Authority]) -> None:
    """Nothing that west pinned vouches for it."""
    async with both_ends(authorities) as ends:
        port = MeshPort(make_identity(authorities["north"], peer_of(authorities["east"])), ends.reactor, ends.nursery)
        ends.east.set_peer(peer_of(authorities["west"], port.address))
        await wait_until(lambda: "CERTIFICATE_VERIFY_FAILED" in ends.east.error())
        assert ends.east.ready() == 0
        port.close()


async def test_a_peer_that_does_not_know_us(authorities: dict[str, Authority]) -> None:
    """In TLS 1.3 our handshake ends before the peer has looked at our certificate: the tunnel is never called ready,
    the peer's alert is what the status shows, and tries become rarer."""
    async with both_ends(authorities) as ends:
        port = MeshPort(make_identity(authorities["west"]), ends.reactor, ends.nursery)
        ends.east.set_peer(peer_of(authorities["west"], port.address))
        await wait_until(lambda: "the peer refuses us" in ends.east.error())
        assert "ALERT" in ends.east.error()
        assert ends.east.tunnels.pick("west") is None
        port.close()


async def test_a_removed_peer_has_no_tunnel_from_then_on(authorities: dict[str, Authority]) -> None:
    """At once: a request that comes in the same instant does not go there, and one that is there is told."""
    async with both_ends(authorities) as ends:
        port = MeshPort(ends.west, ends.reactor, ends.nursery, never_answer)
        ends.east.set_peer(peer_of(authorities["west"], port.address))
        await wait_until(lambda: ends.east.ready() == TUNNELS_PER_GATEWAY)
        answer = ask(ends)
        ends.east.remove_peer("west")
        assert ends.east.tunnels.pick("west") is None
        assert answer.lost
        await wait_until(lambda: not port.connections)
        assert ends.east.tunnels.report() == []
        port.close()


async def test_a_peer_that_comes_and_goes_in_one_message(authorities: dict[str, Authority]) -> None:
    """Its tasks have not begun by then, and must not begin."""
    async with both_ends(authorities) as ends:
        port = MeshPort(ends.west, ends.reactor, ends.nursery)
        ends.east.set_peer(peer_of(authorities["west"], port.address))
        ends.east.remove_peer("west")
        await trio.testing.wait_all_tasks_blocked()
        assert port.shaken_hands == 0
        port.close()


async def test_a_root_that_is_withdrawn_closes_what_it_vouched_for(authorities: dict[str, Authority]) -> None:
    """Also while requests are under way; and the tunnels come back when it is believed again."""
    async with both_ends(authorities) as ends:
        port = MeshPort(ends.west, ends.reactor, ends.nursery)
        west = peer_of(authorities["west"], port.address)
        ends.east.set_peer(west)
        await wait_until(lambda: ends.east.ready() == TUNNELS_PER_GATEWAY)
        ends.east.set_peer(PeerResource("west", "west.test", (authorities["north"].root_der,), west.gateways))
        assert ends.east.tunnels.pick("west") is None
        await wait_until(lambda: not port.connections)
        ends.east.set_peer(west)
        await wait_until(lambda: ends.east.ready() == TUNNELS_PER_GATEWAY)
        port.close()


async def test_a_change_that_does_not_concern_a_tunnel_leaves_it_alone(authorities: dict[str, Authority]) -> None:
    """Another root beside the old one, another gateway beside this one."""
    async with both_ends(authorities) as ends:
        port = MeshPort(ends.west, ends.reactor, ends.nursery)
        west = peer_of(authorities["west"], port.address)
        ends.east.set_peer(west)
        await wait_until(lambda: ends.east.ready() == TUNNELS_PER_GATEWAY)
        before = [*port.connections]
        another = MeshPort(ends.west, ends.reactor, ends.nursery)
        more = (*west.gateways, GatewayAddress("g2", (another.address,)))
        ends.east.set_peer(PeerResource("west", "west.test", (*west.roots, authorities["north"].root_der), more))
        await wait_until(lambda: ends.east.ready() == 2 * TUNNELS_PER_GATEWAY)
        assert port.connections == before
        port.close()
        another.close()


async def test_an_address_that_changes_moves_the_tunnels(authorities: dict[str, Authority]) -> None:
    """The old ones are closed, since nobody vouches for that address any more."""
    async with both_ends(authorities) as ends:
        old, new = (MeshPort(ends.west, ends.reactor, ends.nursery) for _ in range(2))
        ends.east.set_peer(peer_of(authorities["west"], old.address))
        await wait_until(lambda: len(old.connections) == TUNNELS_PER_GATEWAY)
        ends.east.set_peer(peer_of(authorities["west"], new.address))
        await wait_until(lambda: len(new.connections) == TUNNELS_PER_GATEWAY and not old.connections)
        await wait_until(lambda: ends.east.ready() == TUNNELS_PER_GATEWAY)
        old.close()
        new.close()


@pytest.mark.parametrize("bad", ["nobody listens", "x" * 64 + ".test:1", "no port", "[::1]:99999"])
async def test_the_second_address_is_tried(authorities: dict[str, Authority], bad: str) -> None:
    """They are alternatives. The first may be anything that a peer cared to publish: nothing of it is raised here."""
    async with both_ends(authorities) as ends:
        port = MeshPort(ends.west, ends.reactor, ends.nursery)
        first = refusing_address() if bad == "nobody listens" else bad
        ends.east.set_peer(peer_of(authorities["west"], first, port.address))
        await wait_until(lambda: ends.east.ready() == TUNNELS_PER_GATEWAY)
        assert ends.east.tunnels.report()[0].address == port.address
        port.close()


async def test_no_address_answers(authorities: dict[str, Authority]) -> None:
    """The status names each, and why."""
    async with both_ends(authorities) as ends:
        first, second = refusing_address(), refusing_address()
        ends.east.set_peer(peer_of(authorities["west"], first, second))
        await wait_until(lambda: ends.east.error())
        assert first in ends.east.error()
        assert second in ends.east.error()
        assert "refused" in ends.east.error()


async def test_a_lost_tunnel_is_opened_again(authorities: dict[str, Authority]) -> None:
    """Requests on it are told that it was lost, which decides whether they may be repeated."""
    async with both_ends(authorities) as ends:
        port = MeshPort(ends.west, ends.reactor, ends.nursery, never_answer)
        ends.east.set_peer(peer_of(authorities["west"], port.address))
        await wait_until(lambda: ends.east.ready() == TUNNELS_PER_GATEWAY)
        answer = ask(ends)
        await wait_until(lambda: sum(conn.codec.open_streams for conn in port.connections))
        lost = [*port.connections]
        for conn in lost:
            conn.abort()
        ends.reactor.flush()
        await wait_until(lambda: answer.lost)
        await wait_until(lambda: len(port.connections) == TUNNELS_PER_GATEWAY)
        await wait_until(lambda: ends.east.ready() == TUNNELS_PER_GATEWAY)
        assert not set(lost) & set(port.connections)
        port.close()


async def test_a_tunnel_that_has_just_ended_is_no_way(authorities: dict[str, Authority]) -> None:
    """Many tunnels may end in one turn, and requests may come in it. One that was sent to a cluster whose tunnels are
    gone would wait for it to come back, even where another cluster is well."""
    async with both_ends(authorities) as ends:
        port = MeshPort(ends.west, ends.reactor, ends.nursery, answer_ok)
        ends.east.set_peer(peer_of(authorities["west"], port.address))
        await wait_until(lambda: ends.east.ready() == TUNNELS_PER_GATEWAY)
        changes = ends.east.changes
        while (conn := ends.east.tunnels.pick("west")) is not None:
            conn.abort()
        assert not ends.east.tunnels.is_ready("west")
        assert ends.east.changes == changes + TUNNELS_PER_GATEWAY
        assert ends.east.tunnels.is_returning("west")
        ends.reactor.flush()
        port.close()


async def test_who_loses_the_last_tunnel_knows_that_the_cluster_may_be_back(authorities: dict[str, Authority]) -> None:
    """What was under way may wait for it, instead of being refused; and waits for no longer than it is expected."""

    class Waits(Answer):
        def on_response_reset(self, code: int, *, unprocessed: bool, lost: bool) -> None:
            expected.append(ends.east.tunnels.is_returning("west"))
            ready.append(ends.east.tunnels.is_ready("west"))
            if expected[-1]:
                ends.east.tunnels.wait("west", lambda: woken.append(ends.east.tunnels.is_returning("west")))

    expected: list[bool] = []
    ready: list[bool] = []
    woken: list[bool] = []
    async with both_ends(authorities) as ends:
        port = MeshPort(ends.west, ends.reactor, ends.nursery, never_answer)
        ends.east.set_peer(peer_of(authorities["west"], port.address))
        await wait_until(lambda: ends.east.ready() == TUNNELS_PER_GATEWAY)
        for _ in range(TUNNELS_PER_GATEWAY):
            ask(ends, answer=Waits())
        await wait_until(lambda: sum(conn.codec.open_streams for conn in port.connections) == TUNNELS_PER_GATEWAY)
        port.close()
        await wait_until(lambda: len(expected) == TUNNELS_PER_GATEWAY)
        assert expected[-1], "the last of them, at least, was told that it may wait"
        assert ready == [not waits for waits in expected], "who may wait has no tunnel left"
        await wait_until(lambda: woken == [False] * sum(expected))


async def test_who_is_held_back_waits_for_no_other_cluster(authorities: dict[str, Authority]) -> None:
    """Each gateway that came and went is looked at again when its own time is over, also if another one's, which is
    longer, begins later."""
    async with both_ends(authorities) as ends:
        north = make_identity(authorities["north"], peer_of(authorities["east"]))
        ports = [MeshPort(identity, ends.reactor, ends.nursery) for identity in (ends.west, north)]
        for cluster, port in zip(("west", "north"), ports, strict=True):
            ends.east.set_peer(peer_of(authorities[cluster], port.address))
        await wait_until(lambda: ends.east.ready() == 2 * TUNNELS_PER_GATEWAY)
        tunnels = ends.east.tunnels
        for cluster, hold_s in (("west", 0.05), ("north", 3600.0)):
            tunnels._gateways[cluster, "g1"].flapping.held_until = trio.current_time() + hold_s
            tunnels._regroup(cluster)
            assert not tunnels.is_ready(cluster)
        await wait_until(lambda: tunnels.is_ready("west"))
        assert not tunnels.is_ready("north")
        for port in ports:
            port.close()


async def test_what_is_opened_as_its_gateway_goes_does_not_stay(authorities: dict[str, Authority]) -> None:
    """The last step of the handshake was done in the turn in which the catalog let go of the gateway: nobody would ever
    have ended that tunnel."""
    async with both_ends(authorities) as ends:
        port, turns = MeshPort(ends.west, ends.reactor, ends.nursery), ends.reactor.turns
        await turns.acquire()
        ends.east.set_peer(peer_of(authorities["west"], port.address))
        await wait_until(lambda: turns.statistics().tasks_waiting == TUNNELS_PER_GATEWAY)
        turns.release()
        await turns.acquire()
        # Both have said hello, and wait for their turn to take the answer in.
        await wait_until(lambda: turns.statistics().tasks_waiting == TUNNELS_PER_GATEWAY)
        turns.release()
        ends.east.set_peer(peer_of(authorities["west"]))
        await wait_until(lambda: port.shaken_hands + len(port.refusals) == TUNNELS_PER_GATEWAY)
        assert port.shaken_hands == 1
        await wait_until(lambda: not port.connections)
        port.close()


async def test_a_tunnel_that_is_going_away_is_replaced_before_it_ends(authorities: dict[str, Authority]) -> None:
    """A worker of the peer drains for as long as its requests take. What is new must have somewhere to go meanwhile,
    and what is under way must finish."""
    async with both_ends(authorities) as ends:
        port = MeshPort(ends.west, ends.reactor, ends.nursery, never_answer)
        ends.east.set_peer(peer_of(authorities["west"], port.address))
        await wait_until(lambda: ends.east.ready() == TUNNELS_PER_GATEWAY)
        answers = [ask(ends) for _ in range(TUNNELS_PER_GATEWAY)]
        await wait_until(lambda: all(conn.codec.open_streams for conn in port.connections))
        leaving = [*port.connections]
        for conn in leaving:
            conn.codec.drain()
            conn.touch()
        ends.reactor.flush()
        for conn in leaving:
            conn.codec.drained()
            conn.touch()
        ends.reactor.flush()
        await wait_until(lambda: len(port.connections) == 2 * TUNNELS_PER_GATEWAY)
        await wait_until(lambda: ends.east.ready() == TUNNELS_PER_GATEWAY)
        assert [answer.lost for answer in answers] == [None] * TUNNELS_PER_GATEWAY
        for conn in leaving:
            for stream_id in [*conn.handlers]:
                answer_ok(conn, stream_id, GET, True)
        ends.reactor.flush()
        await wait_until(lambda: all(answer.status == 200 for answer in answers))
        await wait_until(lambda: not set(leaving) & set(port.connections))
        port.close()


async def test_a_silent_peer_has_another_tunnel_long_before_it_is_given_up(
    authorities: dict[str, Authority], monkeypatch: pytest.MonkeyPatch
) -> None:
    """A frozen process keeps its connections open and answers nothing; nobody but a probe notices."""
    monkeypatch.setattr("gateway.tunnel.probe.DEAD_AFTER_S", 3600.0)
    async with both_ends(authorities) as ends:
        port = MeshPort(ends.west, ends.reactor, ends.nursery)
        ends.east.set_peer(peer_of(authorities["west"], port.address))
        await wait_until(lambda: ends.east.ready() == TUNNELS_PER_GATEWAY)
        frozen = [*port.connections]
        for conn in frozen:
            ends.reactor.unregister(conn.sock.fileno())
        # One may be replaced before the other one is found out.
        await wait_until(lambda: len(set(port.connections) - set(frozen)) == TUNNELS_PER_GATEWAY)
        await wait_until(lambda: ends.east.ready() == TUNNELS_PER_GATEWAY)
        port.close()
        for conn in frozen:
            conn.sock.close()


async def test_a_peer_that_stays_silent_is_not_awaited(authorities: dict[str, Authority]) -> None:
    """At first it may only lag. When it is not waited for any more, its tunnels are still there, and what waits on them
    is told, whichever cluster's silence it waits in."""
    async with both_ends(authorities) as ends:
        west = MeshPort(ends.west, ends.reactor, ends.nursery, never_answer)
        north = MeshPort(
            make_identity(authorities["north"], peer_of(authorities["east"])), ends.reactor, ends.nursery, never_answer
        )
        ends.east.set_peer(peer_of(authorities["west"], west.address))
        ends.east.set_peer(peer_of(authorities["north"], north.address))
        await wait_until(lambda: ends.east.ready() == 2 * TUNNELS_PER_GATEWAY)
        tunnels, answer = ends.east.tunnels, ask(ends)
        frozen = [*west.freeze()]
        await wait_until(lambda: not tunnels.is_ready("west"))
        assert tunnels.is_awaited("west"), "it is silent for a moment only"
        await wait_until(lambda: not tunnels.is_awaited("west"))
        assert tunnels.is_open("west")
        assert tunnels.is_awaited("north")
        told = answer.stalls
        frozen += north.freeze()
        await wait_until(lambda: not tunnels.is_awaited("north"))
        assert answer.stalls > told
        for port in (west, north):
            port.close()
        for conn in frozen:
            conn.sock.close()


async def test_a_handshake_that_stalls(authorities: dict[str, Authority], monkeypatch: pytest.MonkeyPatch) -> None:
    """Something accepts and says nothing: it is given up, and named."""
    monkeypatch.setattr(opening_module, "HANDSHAKE_TIMEOUT_S", 0.05)
    async with both_ends(authorities) as ends:
        with socket.create_server(("127.0.0.1", 0)) as mute:
            address = f"127.0.0.1:{mute.getsockname()[1]}"
            ends.east.set_peer(peer_of(authorities["west"], address))
            await wait_until(lambda: ends.east.error())
            assert f"the TLS handshake with {address} took over" in ends.east.error()
            ends.east.remove_peer("west")


async def test_tries_become_rarer(authorities: dict[str, Authority], monkeypatch: pytest.MonkeyPatch) -> None:
    """A peer that refuses us would otherwise be asked for a handshake without end."""
    monkeypatch.setattr(tunnels_module, "RECONNECT_LIMIT_S", 60.0)
    async with both_ends(authorities) as ends:
        port = MeshPort(make_identity(authorities["west"]), ends.reactor, ends.nursery)
        ends.east.set_peer(peer_of(authorities["west"], port.address))
        await wait_until(lambda: len(port.refusals) >= 2 * TUNNELS_PER_GATEWAY)
        began, so_far = trio.current_time(), len(port.refusals)
        await wait_until(lambda: len(port.refusals) >= so_far + 4 * TUNNELS_PER_GATEWAY)
        # Four more doublings of 5 ms each, at least half of each: without backoff it would be 10 to 20 ms in all.
        assert trio.current_time() - began > 0.1
        port.close()


async def test_news_ends_the_wait(authorities: dict[str, Authority], monkeypatch: pytest.MonkeyPatch) -> None:
    """A peer whose bundle came late is tried at once, not when a long backoff ends."""
    monkeypatch.setattr(tunnels_module, "RECONNECT_FIRST_S", 3600.0)
    monkeypatch.setattr(tunnels_module, "RECONNECT_LIMIT_S", 3600.0)
    async with both_ends(authorities) as ends:
        port = MeshPort(ends.west, ends.reactor, ends.nursery)
        west = peer_of(authorities["west"], port.address)
        ends.east.set_peer(PeerResource("west", "west.test", (), west.gateways))
        await wait_until(lambda: "no trust bundle of west" in ends.east.error())
        ends.east.set_peer(west)
        await wait_until(lambda: ends.east.ready() == TUNNELS_PER_GATEWAY)
        port.close()


async def test_before_there_is_an_svid(authorities: dict[str, Authority]) -> None:
    """A worker learns of its peers before it is certified."""
    async with running_reactor() as (reactor, nursery):
        east = East(Identity(), reactor, nursery)
        east.set_peer(peer_of(authorities["west"], refusing_address()))
        await wait_until(lambda: east.error())
        assert "no SVID yet" in east.error()
        east.remove_peer("west")


async def test_a_defect_in_a_tunnel_is_no_end_of_the_worker(
    authorities: dict[str, Authority], monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    """Certificates are read by code of others, and come from outside."""

    def broken(*_: object) -> None:
        raise RuntimeError("a defect")

    async with both_ends(authorities) as ends:
        port = MeshPort(ends.west, ends.reactor, ends.nursery)
        monkeypatch.setattr(ends.east.identity, "prove", broken)
        ends.east.set_peer(peer_of(authorities["west"], port.address))
        await wait_until(lambda: "a defect of this gateway" in ends.east.error())
        assert ends.reactor.defects
        assert "nobody foresaw" in caplog.text
        port.close()
