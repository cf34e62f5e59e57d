"""The parts of a worker that carry requests, put together: from a client's socket to an endpoint's, in one process."""

from __future__ import annotations

import re
import socket
from collections import Counter
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

import msgspec
import pytest
import trio

from discovery.model import Endpoint, Locality, Port, Protocol, ServiceName
from gateway.callers import Caller
from gateway.codec.choose import endpoint_codec, listener_codec, mesh_codec
from gateway.codec.events import Header, RequestHead, ResponseHead
from gateway.codec.headers import source_value
from gateway.endpoint.endpoints import EndpointPools
from gateway.endpoint.tls import EndpointContexts
from gateway.failover.events import EventKind
from gateway.failover.explanation import EndpointLoad, LimitsExplanation, LoadExplanation
from gateway.request.grpc_timeout import parse_grpc_timeout
from gateway.route import LOCAL_ORIGIN, Origin
from gateway.routing import RouteTable
from gateway.snapshot import LocalEndpoint, LocalResource, RemoteShare, Resource, ServiceResource, Update
from gateway.telemetry import FAILOVERS, OVERFLOWS, REQUESTS, RETRIES, WorkerCounters
from gateway.traffic import DEFAULT_TRAFFIC, Limits, Retries, Timeouts, TrafficSettings
from gateway.transport.client_connection import ClientConnection, ResponseHandler
from gateway.transport.reactor import Reactor
from gateway.transport.server_connection import ServerConnection
from gateway.tunnel.identity import Identity
from gateway.tunnel.tunnels import Tunnels
from gateway.worker.request_path import WorkerRequestPath
from tests.gateway_ends import Backend, read, running_reactor, seeded, wait_until, wall_clock
from tests.ports import refusing_address
from trust.spiffe_id import gateway_id

LOCAL = LocalResource("acme", "east", Locality("us", "a"), "east.test")
NAME = ServiceName("shop", "payments")
HOST = b"payments.shop.svc.clusterset.local"
OK = b"HTTP/1.1 200 OK\r\ncontent-length: 0\r\n\r\n"


def service(*addresses: str, protocol: Protocol = Protocol.HTTP, consumers: tuple[str, ...] = ()) -> ServiceResource:
    endpoints = tuple(
        LocalEndpoint(Endpoint(host, {"http": int(port)}, zone="a"), healthy=True)
        for host, _, port in (address.rpartition(":") for address in addresses)
    )
    return ServiceResource(NAME, "", (Port("http", 80, protocol),), endpoints, consumers)


class Gateway:
    """What a worker is between its listeners and its endpoints."""

    def __init__(self, reactor: Reactor, nursery: trio.Nursery, contexts: EndpointContexts | None = None) -> None:
        self.reactor = reactor
        self.routes = RouteTable()
        self.counters = WorkerCounters()
        rng = seeded()
        self.path = WorkerRequestPath(
            routes=self.routes,
            pools=EndpointPools(reactor, nursery, lambda protocol: endpoint_codec("auto", protocol, rng), contexts),
            tunnels=Tunnels(
                Identity(),
                reactor,
                nursery,
                make_codec=lambda: mesh_codec("auto", client=True),
                wall_clock=wall_clock,
                changed=lambda: None,
                rng=rng,
            ),
            reactor=reactor,
            counters=self.counters,
            rng=rng,
        )
        self.serving: list[ServerConnection] = []
        self.apply(LOCAL)

    def apply(self, *upserts: Resource, removals: tuple[str, ...] = ()) -> None:
        for before, after in self.routes.apply(Update([*upserts], [*removals])):
            for version in (before, after):
                if version is not None:
                    self.path.changed(version)

    def connect(self, origin: Origin = LOCAL_ORIGIN) -> socket.socket:
        """A client's end of a new connection."""
        ours, theirs = socket.socketpair()
        for sock in (ours, theirs):
            sock.setblocking(False)
        conn = self.path.serve(ours, listener_codec("auto"), origin, "192.0.2.9:1234")
        self.serving.append(conn)
        conn.start()
        self.reactor.flush()
        return theirs

    def load(self) -> LoadExplanation:
        route = self.routes.find(HOST, LOCAL_ORIGIN)
        assert route is not None
        return self.path.explain_load(route)

    def count(self, name: str) -> dict[tuple[str, ...], float]:
        return dict(self.counters.counts[name])


@asynccontextmanager
async def gateway(contexts: EndpointContexts | None = None) -> AsyncIterator[Gateway]:
    async with running_reactor() as (reactor, nursery):
        running = Gateway(reactor, nursery, contexts)
        try:
            yield running
        finally:
            for conn in running.serving:
                conn.abort()
            reactor.flush()
            for pool in running.path._pools._pools.values():
                for upstream in [*pool.connections]:
                    upstream.abort()
            reactor.flush()


async def answer_to(client: socket.socket, request: bytes) -> bytes:
    client.send(request)
    return await read(client)


def get(host: bytes = HOST, extra: bytes = b"") -> bytes:
    return b"GET /path HTTP/1.1\r\nhost: %b\r\n%b\r\n" % (host, extra)


async def test_a_request_reaches_an_endpoint() -> None:
    """With the fields that a next hop needs, and without those that only gateways may set."""
    async with gateway() as running:
        backend = Backend()
        running.apply(service(backend.address))
        with running.connect() as client:
            client.send(get(extra=b'isthmus-source: cluster="west"\r\nx-mine: 1\r\n'))
            request = await read(await backend.accept())
            assert request.startswith(b"GET /path HTTP/1.1\r\nhost: " + HOST + b":80\r\n")
            assert b"isthmus-source" not in request
            assert b"x-mine: 1\r\n" in request
            assert b'forwarded: for="192.0.2.9:1234";host="%b";proto=http\r\n' % HOST in request
            backend.accepted[0].send(OK)
            assert (await read(client)).startswith(b"HTTP/1.1 200 OK\r\n")
            assert running.count(REQUESTS.name) == {("local", "shop/payments", "local", "200", ""): 1}
        backend.close()


async def test_a_request_is_part_of_a_trace() -> None:
    """Of its client's, or of one that begins here, as W3C Trace Context has them; so that logs of both ends can be put
    together."""
    mine = b"00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01"
    async with gateway() as running:
        backend = Backend()
        running.apply(service(backend.address))
        begun: set[bytes] = set()
        for extra in (b"traceparent: %b\r\ntracestate: a=1\r\n" % mine, b"", b""):
            with running.connect() as client:
                client.send(get(extra=extra + b"connection: close\r\n"))
                request = await read(await backend.accept())
                (found,) = re.findall(rb"\r\ntraceparent: (00-[0-9a-f]{32}-[0-9a-f]{16}-0[01])\r\n", request)
                assert (found == mine) == bool(extra)
                assert (b"tracestate: a=1" in request) == bool(extra)
                begun.add(found)
                backend.accepted[-1].send(OK.replace(b"OK", b"OK\r\nconnection: close"))
                assert (await read(client)).startswith(b"HTTP/1.1 200 OK\r\n")
        assert len(begun) == 3
        backend.close()


async def test_a_client_that_waits_is_told_to_go_on() -> None:
    """The endpoint sees that it waits, before a byte of the body was sent."""
    put = b"PUT / HTTP/1.1\r\nhost: %b\r\ncontent-length: 4\r\nexpect: 100-continue\r\n\r\n" % HOST
    async with gateway() as running:
        backend = Backend()
        running.apply(service(backend.address))
        with running.connect() as client:
            client.send(put)
            upstream = await backend.accept()
            assert b"\r\nexpect: 100-continue\r\n" in await read(upstream)
            upstream.send(b"HTTP/1.1 100 Continue\r\n\r\n")
            assert await read(client) == b"HTTP/1.1 100 Continue\r\n\r\n"
            client.send(b"body")
            assert await read(upstream) == b"body"
            upstream.send(OK)
            assert (await read(client)).startswith(b"HTTP/1.1 200 OK\r\n")
        backend.close()


async def test_names_that_nobody_has_do_not_label_metrics() -> None:
    """Whoever may connect may ask for anything; what is counted stays bounded."""
    async with gateway() as running:
        with running.connect() as client:
            for i in range(50):
                answer = await answer_to(client, get(b"name-%d.test" % i))
                assert answer.startswith(b"HTTP/1.1 404 ")
                assert b"isthmus-reason: no-route\r\n" in answer
        assert running.count(REQUESTS.name) == {("local", "", "", "404", "no-route"): 50}
        assert running.counters.durations == {}


@pytest.mark.parametrize("host", [b"a" * 8000, b'"', b"a%0d%0ab", b"\xc3\xa9.test", b"[::1", b"a:b:c", b"\\"])
async def test_strange_authorities_are_answered(host: bytes) -> None:
    """They come back in our own words, which must not break the answer: 4xx, one head, and the connection goes on."""
    async with gateway() as running:
        for extra in (b"", b"content-type: application/grpc\r\n"):
            with running.connect() as client:
                answer = await answer_to(client, get(host, extra))
                status = int(answer.split()[1])
                assert status in (200, 400, 404)
                head, _, body = answer.partition(b"\r\n\r\n")
                assert head.count(b"HTTP/1.1") == 1
                assert all(b":" in line for line in head.split(b"\r\n")[1:])
                assert not body.startswith(b"HTTP")
        assert running.reactor.defects == 0


async def test_a_peer_is_told_nothing_of_what_it_may_not_call() -> None:
    """The same answer as for a name that does not exist."""
    async with gateway() as running:
        backend = Backend()
        running.apply(service(backend.address, consumers=("west",)))
        with running.connect(Origin(peer="north")) as client:
            known = await answer_to(client, get())
            unknown = await answer_to(client, get(b"nobody.test"))
            assert known.replace(HOST, b"nobody.test").partition(b"\r\n\r\n")[2] == unknown.partition(b"\r\n\r\n")[2]
            assert known.split()[1] == unknown.split()[1] == b"404"
        backend.close()


async def test_no_endpoint() -> None:
    """Told at once, so that a calling gateway can go elsewhere; for a peer other clusters are no way out."""
    async with gateway() as running:
        share = RemoteShare("west", ("http",))
        running.apply(ServiceResource(NAME, "", (Port("http", 80, Protocol.HTTP),), (), ("*",), (share,)))
        with running.connect(Origin(peer="north")) as client:
            answer = await answer_to(client, get())
            assert answer.startswith(b"HTTP/1.1 503 ")
            assert b"isthmus-reason: no-healthy-upstream\r\n" in answer


async def test_another_endpoint_is_tried_when_one_refuses() -> None:
    """Nothing was processed, so it is safe for any method."""
    async with gateway() as running:
        backend = Backend()
        running.apply(service(refusing_address(), backend.address))
        for _ in range(6):
            with running.connect() as client:
                client.send(b"POST / HTTP/1.1\r\nhost: %b\r\ncontent-length: 2\r\nconnection: close\r\n\r\nhi" % HOST)
                assert (await read(await backend.accept())).endswith(b"hi")
                backend.accepted[-1].send(b"HTTP/1.1 200 OK\r\ncontent-length: 0\r\nconnection: close\r\n\r\n")
                assert (await read(client)).startswith(b"HTTP/1.1 200 OK\r\n")
        (retries,) = [n for labels, n in running.count(RETRIES.name).items() if labels == ("connect-failure",)]
        assert 1 <= retries <= 6
        backend.close()


async def test_a_retry_that_has_nowhere_to_go_is_none() -> None:
    """It is not counted as one, and does not use the budget of later ones up."""
    async with gateway() as running:
        nobody = Backend()
        nobody.close()
        running.apply(service(nobody.address))
        for _ in range(3):
            with running.connect() as client:
                assert (await answer_to(client, get())).startswith(b"HTTP/1.1 503 ")
        assert running.count(RETRIES.name) == {}
        assert (running.path._budget.active, running.path._budget.retrying) == (0, 0)


async def test_the_only_endpoint_is_asked_again_over_another_connection() -> None:
    """A server may close a connection that it deems idle just as a request comes (RFC 9110 section 9.2.2)."""
    async with gateway() as running:
        backend = Backend()
        running.apply(service(backend.address))
        with running.connect() as client:
            client.send(get())
            (await backend.accept()).close()
            upstream = await backend.accept()
            await read(upstream)
            upstream.send(OK)
            assert (await read(client)).startswith(b"HTTP/1.1 200 OK\r\n")
        assert running.count(RETRIES.name) == {("upstream-connection-lost",): 1.0}
        backend.close()


async def test_a_post_that_comes_as_the_endpoint_closes_what_is_idle_is_sent_over_another_connection() -> None:
    """Both came in one turn, so nothing of the POST had left: it can be sent again, which else only a GET can."""
    async with gateway() as running:
        backend = Backend()
        running.apply(service(backend.address))
        with running.connect() as client, running.connect() as other:
            client.send(get())
            upstream = await backend.accept()
            await read(upstream)
            upstream.send(OK)
            await read(client)
            other.send(b"POST / HTTP/1.1\r\nhost: %b\r\ncontent-length: 2\r\n\r\nok" % HOST)
            upstream.close()
            upstream = await backend.accept()
            await read(upstream)
            upstream.send(OK)
            assert (await read(other)).startswith(b"HTTP/1.1 200 OK\r\n")
        backend.close()


async def test_a_service_that_changes_under_a_request() -> None:
    """A request that began before the change is tried again after it; those that come later must not get the
    endpoints that were there when it began."""
    async with gateway() as running:
        old, new = Backend(), Backend()
        running.apply(service(old.address))
        with running.connect() as early, running.connect() as late:
            early.send(get())
            upstream = await old.accept()
            await read(upstream)
            running.apply(service(new.address))
            upstream.close()
            await read(await new.accept())
            late.send(get())
            await read(await new.accept())
            for sock in new.accepted:
                sock.send(OK)
            for client in (early, late):
                assert (await read(client)).startswith(b"HTTP/1.1 200 OK\r\n")
        old.close()
        new.close()


async def test_a_service_that_goes_under_a_request() -> None:
    """What is under way ends well; what comes later finds nothing; and nothing of it is left when it is back."""
    async with gateway() as running:
        backend, other = Backend(), Backend()
        running.apply(service(backend.address))
        with running.connect() as client, running.connect() as retried:
            client.send(get())
            upstream = await backend.accept()
            await read(upstream)
            retried.send(get())
            lost = await backend.accept()
            await read(lost)
            running.apply(removals=(f"service/{NAME}",))
            lost.close()
            (await backend.accept()).close()
            assert (await read(retried)).startswith(b"HTTP/1.1 502 ")
            upstream.send(OK)
            assert (await read(client)).startswith(b"HTTP/1.1 200 OK\r\n")
            assert (await answer_to(client, get())).startswith(b"HTTP/1.1 404 ")
            running.apply(service(other.address))
            client.send(get())
            await read(await other.accept())
        backend.close()
        other.close()


class GrpcAnswer(ResponseHandler):
    """What a gRPC client hears."""

    def __init__(self) -> None:
        self.head: ResponseHead | None = None
        self.ended = False

    def on_informational(self, head: ResponseHead) -> None: ...

    def on_response(self, head: ResponseHead, end_stream: bool) -> None:
        self.head, self.ended = head, end_stream

    def on_response_data(self, data: bytes, end_stream: bool) -> None: ...
    def on_stall(self, *, mute: bool) -> None: ...
    def on_response_trailers(self, headers: list[Header]) -> None: ...
    def on_response_reset(self, code: int, *, unprocessed: bool, lost: bool) -> None: ...


async def test_a_grpc_client_is_refused_in_its_own_terms() -> None:
    """It looks at `grpc-status` only: UNAVAILABLE, which its retry policies know."""
    async with gateway() as running:
        conn = ClientConnection(running.reactor, running.connect(), mesh_codec("auto", client=True))
        conn.start()
        asked = b"nobody%41.test" + b"x" * 5_000
        head = RequestHead(b"POST", b"http", asked, b"/a.B/C", [(b"content-type", b"application/grpc+proto")])
        answer = GrpcAnswer()
        conn.open(head, True, answer)
        running.reactor.flush()
        await wait_until(lambda: answer.ended)
        assert answer.head is not None
        assert answer.head.status == 200
        assert (b"grpc-status", b"14") in answer.head.headers
        message = dict(answer.head.headers)[b"grpc-message"]
        assert b"nobody%2541.test" in message, "percent-encoded, as gRPC over HTTP/2 bids"
        assert len(message) < 500, "a long name is not repeated whole"
        conn.abort()
        running.reactor.flush()


FRONTEND = "spiffe://west.test/ns/web/sa/frontend"


def from_west(identity: str = FRONTEND) -> bytes:
    return b"isthmus-source: %b\r\n" % source_value("west", Locality("us", "a"), identity)


def west() -> Origin:
    return Origin(peer="west", caller=Caller("west", gateway_id("west.test")))


@pytest.mark.parametrize(
    ("extra", "reason"),
    [
        (from_west("spiffe://west.test/ns/web/sa/backend"), b"not-allowed"),
        (b"", b"not-allowed"),
        (from_west("spiffe://east.test/ns/web/sa/frontend"), b"source-not-believed"),
        (from_west() + from_west(), b"source-not-believed"),
    ],
)
async def test_whom_an_export_does_not_name(extra: bytes, reason: bytes) -> None:
    """403 with its reason, before the endpoint hears of it; a gRPC client gets PERMISSION_DENIED; both are counted."""
    async with gateway() as running:
        backend = Backend()
        running.apply(msgspec.structs.replace(service(backend.address, consumers=("west",)), allow=(FRONTEND,)))
        with running.connect(west()) as client:
            answer = await answer_to(client, get(extra=extra))
            assert answer.startswith(b"HTTP/1.1 403 ")
            assert b"isthmus-reason: %b\r\n" % reason in answer
            answer = await answer_to(client, get(extra=extra + b"content-type: application/grpc\r\n"))
            assert b"grpc-status: 7\r\n" in answer
        with running.connect(west()) as client:
            answer = await answer_to(client, b"CONNECT %b:80 HTTP/1.1\r\nhost: %b\r\n%b\r\n" % (HOST, HOST, extra))
            assert answer.startswith(b"HTTP/1.1 403 ")
        with pytest.raises(BlockingIOError):
            backend.listener.accept()
        counted = running.count(REQUESTS.name)
        assert counted == {("west", "shop/payments", "", "403", reason.decode()): 3}
        backend.close()


async def test_whom_an_export_names() -> None:
    """The endpoint sees who calls, and whoever allows nobody in particular is open to the peer."""
    async with gateway() as running:
        for allow in ((FRONTEND,), ("spiffe://west.test/ns/web/sa/*",), ()):
            backend = Backend()
            running.apply(msgspec.structs.replace(service(backend.address, consumers=("west",)), allow=allow))
            with running.connect(west()) as client:
                client.send(get(extra=from_west()))
                assert from_west() in await read(await backend.accept())
            backend.close()


async def test_a_connection_of_which_nothing_was_proved() -> None:
    """It is not let in where callers are named."""
    async with gateway() as running:
        running.apply(msgspec.structs.replace(service("127.0.0.1:9", consumers=("west",)), allow=(FRONTEND,)))
        with running.connect(Origin(peer="west")) as client:
            assert (await answer_to(client, get(extra=from_west()))).startswith(b"HTTP/1.1 403 ")


async def test_an_endpoint_that_answers_500_is_left_alone() -> None:
    """One of two is broken: clients see five errors at most, whichever connections they use."""
    async with running_backends(b"500 Broken", b"200 OK") as (running, asked):
        for _ in range(40):
            with running.connect() as client:
                assert (await answer_to(client, get())).startswith((b"HTTP/1.1 500 ", b"HTTP/1.1 200 "))
        assert 1 <= asked[b"500 Broken"] <= 5
        assert asked.total() == 40


async def test_what_endpoints_answer_ejects_them() -> None:
    """Both are broken: one is ejected, and counted, and one stays."""
    async with running_backends(b"500 One", b"500 Two") as (running, asked):
        for _ in range(30):
            with running.connect() as client:
                assert (await answer_to(client, get())).startswith(b"HTTP/1.1 500 ")
        assert min(asked.values()) == 5
        assert running.count(FAILOVERS.name) == {(str(NAME), "ejected", "consecutive-5xx"): 1.0}


@asynccontextmanager
async def running_backends(*statuses: bytes) -> AsyncIterator[tuple[Gateway, Counter[bytes]]]:
    """Endpoints that answer every request with one status each, and how often each was asked."""
    asked: Counter[bytes] = Counter()

    async def answer(backend: Backend, status: bytes) -> None:
        while True:
            sock = await backend.accept()
            while await read(sock):
                asked[status] += 1
                sock.send(b"HTTP/1.1 %b\r\ncontent-length: 0\r\n\r\n" % status)

    async with gateway() as running, trio.open_nursery() as nursery:
        backends = [Backend() for _ in statuses]
        running.apply(service(*[backend.address for backend in backends]))
        for backend, status in zip(backends, statuses, strict=True):
            nursery.start_soon(answer, backend, status)
        try:
            yield running, asked
        finally:
            nursery.cancel_scope.cancel()
            for backend in backends:
                backend.close()


def settings_of(
    timeouts: Timeouts = DEFAULT_TRAFFIC.timeouts,
    retries: Retries = DEFAULT_TRAFFIC.retries,
    limits: Limits = DEFAULT_TRAFFIC.limits,
) -> LocalResource:
    rules = TrafficSettings((("shop/*", timeouts),), (("shop/*", retries),), (("shop/*", limits),))
    return msgspec.structs.replace(LOCAL, traffic=rules)


async def test_a_request_over_a_limit_is_refused_at_once() -> None:
    """The one that is under way goes on; the refusal has its reason, is counted, and is an event. When there is room
    again, requests are taken again."""
    async with gateway() as running:
        backend = Backend()
        running.apply(settings_of(limits=Limits(requests=1)), service(backend.address))
        with running.connect() as first, running.connect() as second:
            first.send(get())
            upstream = await backend.accept()
            await read(upstream)
            answer = await answer_to(second, get())
            assert answer.startswith(b"HTTP/1.1 503 ")
            assert b"isthmus-reason: overflow\r\n" in answer
            [carried] = running.load().places
            assert carried == LimitsExplanation("local", 1, 1, 0, 1024, refused=1)
            upstream.send(OK)
            assert (await read(first)).startswith(b"HTTP/1.1 200 OK\r\n")
            second.send(get())
            await read(upstream)
            upstream.send(OK)
            assert (await read(second)).startswith(b"HTTP/1.1 200 OK\r\n")
        assert running.count(OVERFLOWS.name) == {("shop/payments", "local", "requests"): 1}
        events = running.path.failover.events.take(1.0, 1.0)
        assert [(event.kind, event.where) for event in events] == [(EventKind.OVERFLOWED, "local")]
        backend.close()


async def test_what_waits_for_a_connection_is_told_and_limited() -> None:
    """One connection to the endpoint and one request that may wait for it: the third is refused, and `explain` shows
    the three numbers beside their limits; a client that goes waits no more."""
    async with gateway() as running:
        backend = Backend()
        running.apply(settings_of(limits=Limits(connections=1, pending=1)), service(backend.address))
        with running.connect() as first, running.connect() as third:
            with running.connect() as second:
                first.send(get())
                upstream = await backend.accept()
                await read(upstream)
                second.send(get())
                await wait_until(lambda: running.load().endpoints[0].pending)
                answer = await answer_to(third, get())
                assert b"isthmus-reason: overflow\r\n" in answer
                load = running.load()
                assert load.endpoints == (EndpointLoad(backend.address, 2, 1, 1, 1, 1),)
                assert load.budget is not None
                assert (load.budget.active, load.budget.retrying) == (2, 0)
            await wait_until(lambda: not running.load().endpoints[0].pending)
            upstream.send(OK)
            assert (await read(first)).startswith(b"HTTP/1.1 200 OK\r\n")
        assert running.count(OVERFLOWS.name) == {("shop/payments", "local", "pending"): 1}
        backend.close()


async def test_an_endpoint_that_does_not_answer_in_time() -> None:
    """The client hears it from us, and the endpoint's connection is not used again."""
    async with gateway() as running:
        backend = Backend()
        running.apply(settings_of(Timeouts(request_s=0.05)), service(backend.address))
        with running.connect() as client:
            client.send(get())
            upstream = await backend.accept()
            await read(upstream)
            answer = await read(client)
            assert answer.startswith(b"HTTP/1.1 504 ")
            assert b"isthmus-reason: upstream-timeout\r\n" in answer
            assert await read(upstream) == b""
        backend.close()


async def test_a_late_request_is_hedged_to_another_endpoint() -> None:
    """The second one's answer counts, and the first one's connection is given up."""
    async with gateway() as running:
        backends = [Backend(), Backend()]
        retries = Retries(hedge_after_s=0.02)
        running.apply(settings_of(retries=retries), service(*[backend.address for backend in backends]))
        with running.connect() as client:
            client.send(get())
            for backend in backends:
                await read(await backend.accept())
            backends[1].accepted[0].send(OK)
            assert (await read(client)).startswith(b"HTTP/1.1 200 OK\r\n")
            assert await read(backends[0].accepted[0]) == b""
        assert running.count(RETRIES.name) == {("hedge",): 1}
        assert (running.path._budget.active, running.path._budget.retrying) == (0, 0)
        for backend in backends:
            backend.close()


async def test_a_client_that_does_not_send_the_rest() -> None:
    """408, and the connection ends: what comes later would be read as another request."""
    async with gateway() as running:
        backend = Backend()
        running.apply(settings_of(Timeouts(idle_s=0.05)), service(backend.address))
        with running.connect() as client:
            client.send(b"POST / HTTP/1.1\r\nhost: %b\r\ncontent-length: 9\r\n\r\nx" % HOST)
            answer = await read(client)
            assert answer.startswith(b"HTTP/1.1 408 ")
            assert b"connection: close\r\n" in answer
            assert await read(client) == b""
        backend.close()


async def test_a_grpc_deadline_is_kept_and_passed_on() -> None:
    """What is left of it: never more than the client said."""
    async with gateway() as running:
        backend = Backend()
        running.apply(service(backend.address))
        with running.connect() as client:
            fields = b"content-type: application/grpc\r\ngrpc-timeout: 80m\r\ncontent-length: 0\r\n"
            client.send(b"POST /a.B/C HTTP/1.1\r\nhost: %b\r\n%b\r\n" % (HOST, fields))
            request = await read(await backend.accept())
            said = request.partition(b"grpc-timeout: ")[2].partition(b"\r\n")[0]
            left_s = parse_grpc_timeout(said)
            assert left_s is not None
            assert 0 < left_s <= 0.08
            answer = await read(client)
            assert b"grpc-status: 4\r\n" in answer, "DEADLINE_EXCEEDED"
            assert b"isthmus-reason: upstream-timeout\r\n" in answer
        backend.close()
