"""A worker in this process, with a controller that says what a test wants."""

from __future__ import annotations

import os
import socket
from pathlib import Path

import dns.message
import pytest

from discovery.model import Port, Protocol
from gateway.codec.choose import mesh_codec
from gateway.codec.events import RequestHead, Response
from gateway.control import (
    Certificate,
    Explain,
    Explained,
    Unlisten,
)
from gateway.failover.events import Cause, EventKind
from gateway.snapshot import (
    PeerResource,
    RemoteShare,
    ServiceResource,
)
from gateway.transport.dial import dial
from gateway.tunnel.identity import Identity
from tests.gateway_ends import (
    Backend,
    read,
    wait_until,
    wall_clock,
)
from tests.worker_rig import (
    GET,
    HOST,
    LOCAL,
    NAME,
    OK,
    mesh,
    service,
    worker_at,
)
from trust.authority import Authority


async def test_a_worker_introduces_itself_and_gets_ready(tmp_path: Path, authorities: dict[str, Authority]) -> None:
    """It is ready when it has an SVID and a snapshot, and not before."""
    async with worker_at(tmp_path, authorities["east"], certify=False) as scene:
        await wait_until(lambda: scene.boss.hellos)
        assert (scene.boss.hellos[0].worker_id, scene.boss.hellos[0].pid) == ("w1-0", os.getpid())
        assert not (await scene.boss.last_report()).ready
        chain = authorities["east"].issue_gateway(Identity().signing_request(), now=wall_clock(), lifetime_s=600.0)
        await scene.boss.channel.send(Certificate(chain))
        await scene.boss.channel.send(Certificate([b"rubbish"]))
        await scene.settled()
        assert not scene.boss.reports[-1].ready, "a certificate for another key is of no use, and no harm"


async def test_a_request_from_a_workload(tmp_path: Path, authorities: dict[str, Authority]) -> None:
    """From a socket that the controller gave to an endpoint that it named; it is counted."""
    async with worker_at(tmp_path, authorities["east"]) as scene:
        backend = Backend()
        await scene.boss.say(service(backend.address))
        address = await scene.boss.listen("http", "http")
        with await dial(address) as client:
            client.send(GET)
            await read(await backend.accept())
            backend.accepted[0].send(OK)
            assert (await read(client)).startswith(b"HTTP/1.1 200 OK\r\n")
        labels = "local|shop/payments|local|200|"
        report = await scene.boss.last_report(lambda report: report.counters["isthmus_requests"].get(labels))
        assert report.counters["isthmus_accepted_connections"] == {"http": 1}
        backend.close()


async def test_a_virtual_ip_of_a_service_that_is_gone(tmp_path: Path, authorities: dict[str, Authority]) -> None:
    """Its listener outlives it by a moment: the connection is closed, and counted as refused."""
    async with worker_at(tmp_path, authorities["east"]) as scene:
        address = await scene.boss.listen("vip/a", "vip", service="service/shop/gone", port="http")
        with await dial(address) as client:
            assert await read(client) == b""
        report = await scene.boss.last_report(lambda report: report.refusals)
        assert "service/shop/gone has no port http any more" in report.refusals["vip: no-route"]


async def test_changes_of_the_snapshot_are_counted(tmp_path: Path, authorities: dict[str, Authority]) -> None:
    """By what changed. What is said once more is none, and neither is what goes that nobody knew."""
    async with worker_at(tmp_path, authorities["east"]) as scene:
        for port in (1, 1, 2):
            await scene.boss.say(service(f"127.0.0.1:{port}"))
        await scene.boss.say(removals=("service/shop/payments", "service/shop/nobody"))
        counted = {"local": 1.0, "service": 3.0}
        await scene.boss.last_report(lambda report: report.counters["isthmus_snapshot_changes"] == counted)


async def test_names_are_answered(tmp_path: Path, authorities: dict[str, Authority]) -> None:
    """On the sockets for DNS, as soon as there is a snapshot."""
    async with worker_at(tmp_path, authorities["east"]) as scene:
        await scene.boss.say(service("127.0.0.1:9", vip="127.80.0.7"))
        address = await scene.boss.listen("dns-udp", "dns-udp")
        host, _, port = address.rpartition(":")
        with socket.socket(type=socket.SOCK_DGRAM) as client:
            client.setblocking(False)
            client.connect((host, int(port)))
            client.send(dns.message.make_query(NAME.fqdn, "A").to_wire())
            assert "127.80.0.7" in dns.message.from_wire(await read(client)).to_text()


@pytest.mark.parametrize("kind", ["dns-udp", "dns-tcp", "http", "mesh"])
async def test_a_listener_that_comes_and_goes_at_once(
    tmp_path: Path, authorities: dict[str, Authority], kind: str
) -> None:
    """Both orders are read together; the task that would serve it has not begun. Nothing of it may stay open."""
    async with worker_at(tmp_path, authorities["east"]) as scene:
        if kind != "mesh":
            await scene.ready()
        before = set(os.listdir("/proc/self/fd"))
        await scene.boss.listen("one", kind)
        await scene.boss.channel.send(Unlisten(["one"]))
        scene.boss._sockets.pop().close()
        await scene.settled()
        assert scene.worker._reception.listeners == {}
        await wait_until(lambda: set(os.listdir("/proc/self/fd")) <= before)


async def test_a_listener_that_moves(tmp_path: Path, authorities: dict[str, Authority]) -> None:
    """The same name with another address replaces it; the same once more is the same."""
    async with worker_at(tmp_path, authorities["east"]) as scene:
        old = await scene.boss.listen("http", "http")
        new = await scene.boss.listen("http", "http")
        await wait_until(lambda: scene.worker._reception.listeners["http"][0].address == new)
        with await dial(new) as client:
            client.send(GET)
            assert (await read(client)).startswith(b"HTTP/1.1 404 ")
        scene.boss._sockets[0].close()
        with pytest.raises(OSError, match="refused"):
            await dial(old)


async def test_serving_goes_on_without_a_controller(tmp_path: Path, authorities: dict[str, Authority]) -> None:
    """Its end is noticed by nobody outside, and the next one is shown the sockets that are served."""
    async with worker_at(tmp_path, authorities["east"]) as scene:
        backend = Backend()
        await scene.boss.say(service(backend.address))
        address = await scene.boss.listen("http", "http")
        await scene.ready()
        scene.boss.leave()
        with await dial(address) as client:
            client.send(GET)
            await read(await backend.accept())
            backend.accepted[0].send(OK)
            assert (await read(client)).startswith(b"HTTP/1.1 200 OK\r\n")
        await scene.boss.welcome()
        await wait_until(lambda: len(scene.boss.hellos) == 2)
        assert [spec.name for spec in scene.boss.brought] == ["http"]
        backend.close()


async def test_an_order_that_cannot_be_done(
    tmp_path: Path,
    authorities: dict[str, Authority],
    monkeypatch: pytest.MonkeyPatch,
    caplog: pytest.LogCaptureFixture,
) -> None:
    """The worker asks for a fresh start, and its connections go on."""
    async with worker_at(tmp_path, authorities["east"]) as scene:
        address = await scene.boss.listen("http", "http")
        await scene.ready()

        def broken(*_: object) -> None:
            raise RuntimeError("a defect")

        with await dial(address) as client:
            client.send(GET)
            assert (await read(client)).startswith(b"HTTP/1.1 404 ")
            with monkeypatch.context() as patch:
                patch.setattr(scene.worker, "_apply", broken)
                await scene.boss.say(LOCAL)
                await scene.boss.welcome()
            await wait_until(lambda: len(scene.boss.hellos) == 2)
            client.send(GET)
            assert (await read(client)).startswith(b"HTTP/1.1 404 ")
        assert "could not be done" in caplog.text


async def test_it_explains_where_requests_go(tmp_path: Path, authorities: dict[str, Authority]) -> None:
    """From its own state, by number, and says so when there is nothing to explain."""
    async with worker_at(tmp_path, authorities["east"]) as scene:
        await scene.boss.say(service("127.0.0.1:9"))
        for number, name in [(1, "shop/payments"), (2, "shop/nothing")]:
            await scene.boss.channel.send(Explain(number, name))
        await wait_until(lambda: len(scene.boss.explained) == 2)
        known, unknown = scene.boss.explained
        assert known.explanation is not None
        assert (known.request_id, known.explanation.service, known.explanation.port) == (1, "shop/payments", "http")
        assert [group.why for group in known.explanation.groups] == ["own zone"]
        assert unknown == Explained(2)


async def test_it_reports_each_failover_event_once(tmp_path: Path, authorities: dict[str, Authority]) -> None:
    """With the time at which it happened."""
    async with worker_at(tmp_path, authorities["east"]) as scene:
        remote = RemoteShare("west", ("http",))
        await scene.boss.say(ServiceResource(NAME, "", (Port("http", 80, Protocol.HTTP),), remotes=(remote,)))
        await scene.boss.say(PeerResource("west", "west.test", ()))
        await scene.boss.channel.send(Explain(1, "shop/payments"))
        await wait_until(lambda: any(report.events for report in scene.boss.reports))
        seen = len(scene.boss.reports)
        await wait_until(lambda: len(scene.boss.reports) > seen + 3)
        (event,) = [event for report in scene.boss.reports for event in report.events]
        assert (event.service, event.kind, event.cause) == ("shop/payments", EventKind.EXHAUSTED, Cause.TUNNELS)
        assert abs(event.at - wall_clock().timestamp()) < 60.0


async def test_a_client_too_many(tmp_path: Path, authorities: dict[str, Authority]) -> None:
    """It is told so in its own protocol, and counted. Who is in stays, and when one goes there is room."""
    async with worker_at(tmp_path, authorities["east"]) as scene:
        await scene.settled(connection_limit=1)
        address = await scene.boss.listen("http", "http")
        with await dial(address) as first:
            first.send(GET)
            assert (await read(first)).startswith(b"HTTP/1.1 404 ")
            with await dial(address) as second:
                second.send(GET)
                answer = await read(second)
                assert answer.startswith(b"HTTP/1.1 503 ")
                assert b"isthmus-reason: connection-limit\r\n" in answer
                assert b"connection: close\r\n" in answer
                assert await read(second) == b""
            with await dial(address) as third:
                client = mesh_codec("h2", client=True)
                client.send_request(RequestHead(b"GET", b"http", HOST, b"/", []), True)
                third.send(client.data_to_send())
                events: list[object] = []
                while chunk := await read(third):
                    events += client.receive(chunk)
                assert [event.head.status for event in events if isinstance(event, Response)] == [503]
            first.send(GET)
            assert (await read(first)).startswith(b"HTTP/1.1 404 ")
        await wait_until(lambda: not scene.worker._clientele.served)
        with await dial(address) as fourth:
            fourth.send(GET)
            assert (await read(fourth)).startswith(b"HTTP/1.1 404 ")
        refused, counts = "isthmus_refusals", {"http|connection-limit": 2}
        await scene.boss.last_report(lambda report: report.counters[refused] == counts)


async def test_a_peer_too_many(tmp_path: Path, authorities: dict[str, Authority]) -> None:
    """Its tunnels do not count against workloads' connections, nor these against its."""
    async with worker_at(tmp_path, authorities["east"]) as scene:
        await scene.settled(connection_limit=1)
        async with mesh(scene, authorities) as (address, west):
            http = await scene.boss.listen("http", "http")
            with await dial(address) as other, await dial(http) as client:
                assert await read(other) == b""
                client.send(GET)
                assert (await read(client)).startswith(b"HTTP/1.1 404 ")
            answer = west.ask()
            await wait_until(lambda: answer.status == 404)
            report = await scene.boss.last_report(lambda report: report.refusals)
            assert list(report.refusals) == ["mesh: connection-limit"]
