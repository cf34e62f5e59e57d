"""The status API on a real socket, asked by another HTTP implementation."""

from __future__ import annotations

import http.client
import logging
import socket
from typing import Any

import msgspec
import pytest
import trio
import trio.testing
from hypercorn.config import Config as ServerConfig

from discovery.address import HostPort
from federation.status.event_stream import MAX_STREAMS
from federation.status.event_values import EventDocument
from federation.status.values import StatusDocument
from gateway.demo.waiting import wait_until
from gateway.status import server as status_server
from gateway.status.server import serve_source
from gateway.transport.listeners import ListenError
from tests.status_documents import FakeSource
from tests.status_gateway import status_gateway


def ask(
    address: str, method: str, path: str, headers: dict[str, str] | None = None
) -> tuple[int, dict[str, str], bytes]:
    connection = http.client.HTTPConnection(address, timeout=30)
    try:
        connection.request(method, path, headers=headers or {})
        response = connection.getresponse()
        return response.status, {k.lower(): v for k, v in response.getheaders()}, response.read()
    finally:
        connection.close()


def test_a_document_arrives_whole() -> None:
    """What the source says is what a client on the network reads."""
    source = FakeSource()
    with status_gateway(source) as address:
        status, headers, body = ask(address, "GET", "/v1/status")
    assert status == 200
    assert headers["content-type"] == "application/json"
    assert "server" not in headers
    assert msgspec.json.decode(body, type=StatusDocument) == source.status()


def test_requests_follow_each_other_on_one_connection() -> None:
    """Scrapers keep connections; HEAD has no body, and a refusal doesn't end a connection."""
    with status_gateway(FakeSource()) as address:
        connection = http.client.HTTPConnection(address, timeout=30)
        seen = []
        for method, path in (("GET", "/livez"), ("HEAD", "/v1/status"), ("POST", "/v1/status"), ("GET", "/metrics")):
            connection.request(method, path)
            response = connection.getresponse()
            seen.append((response.status, len(response.read()) > 0))
        connection.close()
    assert seen == [(200, True), (200, False), (405, True), (200, True)]


def test_events_come_as_they_happen_and_after_the_last_one_known() -> None:
    """As EventSource in a browser reads them: id, kind and data, from where the client was."""
    source = FakeSource()
    known, new = source.told[0].id, source.told[1].id
    with status_gateway(source) as address:
        connection = http.client.HTTPConnection(address, timeout=10)
        headers = {"Accept": "text/event-stream", "Last-Event-ID": str(known)}
        connection.request("GET", "/v1/events", headers=headers)
        response = connection.getresponse()
        assert response.getheader("content-type") == "text/event-stream"
        lines = [response.readline() for _ in range(6)]
        connection.close()
        assert ask(address, "GET", "/livez")[0] == 200
    assert lines[:4] == [b"retry: 1000\n", b"\n", f"id: {new}\n".encode(), b"event: ejected\n"]
    assert msgspec.json.decode(lines[4].removeprefix(b"data: "), type=EventDocument) == source.told[1]
    assert lines[5] == b"\n"


def test_a_follower_that_hangs_up_frees_its_place() -> None:
    """Otherwise a browser's tab that is reloaded often enough would keep everybody from following."""
    with status_gateway(FakeSource()) as address:
        for _ in range(MAX_STREAMS + 3):
            wait_until(lambda: _follow_once(address), "there is a place to follow events from", timeout_s=20)


def _follow_once(address: str) -> bool:
    """Whether a client may follow. It hangs up after the first line."""
    connection = http.client.HTTPConnection(address, timeout=10)
    try:
        connection.request("GET", "/v1/events", headers={"Accept": "text/event-stream"})
        with connection.getresponse() as response:
            return response.status == 200 and response.readline() == b"retry: 1000\n"
    finally:
        connection.close()


def test_a_rebound_name_is_refused() -> None:
    """The check of the Host header is in place where it matters: behind the real server."""
    with status_gateway(FakeSource()) as address:
        assert ask(address, "GET", "/v1/status", {"Host": "evil.example"})[0] == 421


def test_a_fault_costs_one_answer_and_is_logged(caplog: pytest.LogCaptureFixture) -> None:
    """The controller lives on: the next request is answered."""

    class Broken(FakeSource):
        def trust(self) -> Any:
            raise RuntimeError("broken on purpose")

    with caplog.at_level(logging.ERROR), status_gateway(Broken()) as address:
        assert ask(address, "GET", "/v1/trust")[0] == 500
        assert ask(address, "GET", "/livez")[0] == 200
    assert "broken on purpose" in caplog.text


@pytest.mark.parametrize(
    "sent", [b"\x16\x03\x01\x02\x00garbage\r\n\r\n", b"GET /livez HTTP/1.1\r\nHost: a\r\nHost: b\r\n\r\n"]
)
def test_garbage_costs_one_connection(sent: bytes) -> None:
    """TLS to a plain port, or a request with two hosts: refused, and nothing else is disturbed."""
    with status_gateway(FakeSource()) as address:
        host, port = address.split(":")
        with socket.create_connection((host, int(port)), timeout=30) as client:
            client.sendall(sent)
            assert b" 400 " in client.recv(100)
        assert ask(address, "GET", "/livez")[0] == 200


def test_it_speaks_plainly_when_its_address_is_taken() -> None:
    """Two gateways with one status address: the second must say so and not start."""
    with socket.socket() as holder:
        holder.bind(("127.0.0.1", 0))
        holder.listen()
        listen = HostPort("127.0.0.1", holder.getsockname()[1])
        with pytest.raises(ListenError, match=r"status cannot listen on 127\.0\.0\.1:\d+: the address is in use"):
            trio.run(serve_source, FakeSource(), listen, lambda address: None)


async def test_a_server_that_fails_starts_again(
    monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture, autojump_clock: trio.testing.MockClock
) -> None:
    """Its death is not the controller's: it is logged, and the same socket is served again."""
    descriptors: list[int] = []

    async def serve(app: object, config: ServerConfig, **options: object) -> None:
        descriptor = int(config.bind[0].removeprefix("fd://"))
        with socket.socket(fileno=descriptor) as given:
            descriptors.append(given.getsockname()[1])
        if len(descriptors) < 3:
            raise ExceptionGroup("server", [RuntimeError(f"death {len(descriptors)}")])
        await trio.sleep_forever()

    monkeypatch.setattr(status_server, "serve", serve)
    bound: list[str] = []
    with trio.move_on_after(60):
        await serve_source(FakeSource(), HostPort("127.0.0.1", 0), bound.append)
    assert descriptors == [int(bound[0].split(":")[1])] * 3
    assert caplog.text.count("the status API's server failed") == 2
