"""Checks by gRPC's health protocol, against servers that keep to it and others."""

from __future__ import annotations

import h2.config
import h2.connection
import h2.events
import pytest
import trio
import trio.testing

from discovery.grpc_health import ServingStatus
from discovery.health_state import Probe
from discovery.model import Endpoint, HealthCheck, Protocol, ServiceName
from discovery.probe import make_probe

HEAD = ((":status", "200"), ("content-type", "application/grpc"))
SERVING = b"\0\0\0\0\2\x08\1"
OK = (("grpc-status", "0"),)


def answer_of(status: ServingStatus) -> bytes:
    return SERVING[:-1] + bytes([status])


class HealthServer:
    """One connection of a gRPC server that answers every call with these parts, and notes what it was asked."""

    def __init__(
        self, head: tuple[tuple[str, str], ...], body: bytes = b"", trailers: tuple[tuple[str, str], ...] = ()
    ) -> None:
        self.head, self.body, self.trailers = head, body, trailers
        self.asked: dict[bytes, bytes] = {}
        self.message = b""

    async def serve(self, stream: trio.abc.Stream) -> None:
        connection = h2.connection.H2Connection(h2.config.H2Configuration(client_side=False))
        connection.initiate_connection()
        while True:
            await stream.send_all(connection.data_to_send())
            data = await stream.receive_some(65_536)
            if not data:
                return
            for event in connection.receive_data(bytes(data)):
                if isinstance(event, h2.events.RequestReceived):
                    self.asked = dict(event.headers)
                elif isinstance(event, h2.events.DataReceived):
                    self.message += event.data
                elif isinstance(event, h2.events.StreamEnded):
                    self._answer(connection)

    def _answer(self, connection: h2.connection.H2Connection) -> None:
        connection.send_headers(1, self.head, end_stream=not self.body and not self.trailers)
        if self.body:
            connection.send_data(1, self.body, end_stream=not self.trailers)
        if self.trailers:
            connection.send_headers(1, self.trailers, end_stream=True)


async def check(server: HealthServer, service: str = "") -> str | None:
    ours, theirs = trio.testing.memory_stream_pair()

    async def connect(probe: Probe) -> trio.abc.Stream:
        return ours

    endpoint = Endpoint("10.0.0.1", {"grpc": 9000})
    asked = HealthCheck(grpc_service=service, timeout_s=10.0)
    probe = Probe(ServiceName("shop", "payments"), endpoint, asked, 9000, Protocol.GRPC, 1)
    async with trio.open_nursery() as nursery:
        nursery.start_soon(server.serve, theirs)
        result = await make_probe(probe, connect)
        nursery.cancel_scope.cancel()
    return result


async def test_a_serving_server_is_healthy() -> None:
    """The call is the one that grpc's doc/health-checking.md describes, with the service's name as its one field."""
    server = HealthServer(HEAD, SERVING, OK)
    assert await check(server, "shop.v1.Payments") is None
    assert server.asked[b":path"] == b"/grpc.health.v1.Health/Check"
    assert server.asked[b":method"] == b"POST"
    assert server.asked[b"te"] == b"trailers"
    assert server.asked[b":authority"] == b"10.0.0.1:9000"
    assert server.message == b"\0\0\0\0\x12\x0a\x10shop.v1.Payments"


async def test_the_whole_server_is_asked_for_by_an_empty_name() -> None:
    """proto3 leaves out what is empty."""
    server = HealthServer(HEAD, SERVING, OK)
    assert await check(server, "") is None
    assert server.message == b"\0\0\0\0\0"


@pytest.mark.parametrize(
    ("server", "expected"),
    [
        (HealthServer(HEAD, answer_of(ServingStatus.NOT_SERVING), OK), "not-serving"),
        (HealthServer(HEAD, answer_of(ServingStatus.UNKNOWN), OK), "not-serving"),
        (HealthServer(HEAD, b"\0\0\0\0\0", OK), "not-serving"),
        (HealthServer(HEAD, answer_of(ServingStatus.SERVICE_UNKNOWN), OK), "not-serving"),
        (HealthServer((*HEAD, ("grpc-status", "12"), ("grpc-message", "no such method"))), "grpc-12"),
        (HealthServer(HEAD, b"", (("grpc-status", "5"),)), "grpc-5"),
        (HealthServer(HEAD, SERVING, (("grpc-status", "14"),)), "grpc-14"),
        (HealthServer(HEAD, SERVING, (("grpc-status", "99"),)), "malformed"),
        (HealthServer(HEAD, SERVING, (("grpc-status", "no"),)), "malformed"),
        (HealthServer(HEAD, SERVING), "malformed"),
        (HealthServer(HEAD, SERVING + b"more", OK), "malformed"),
        (HealthServer(HEAD, b"\1" + SERVING[1:], OK), "malformed"),
        (HealthServer(((":status", "404"), ("content-type", "text/html")), b"<html>"), "http-404"),
        (HealthServer(((":status", "200"), ("content-type", "text/html")), b"<html>"), "malformed"),
    ],
)
async def test_everything_else_is_not(server: HealthServer, expected: str) -> None:
    """Each has a bounded reason that says whether the server speaks the protocol at all."""
    assert await check(server) == expected
