"""The status API's application, called as a server would call it."""

from __future__ import annotations

import re
from collections.abc import AsyncGenerator, Sequence
from typing import Any

import msgspec
import pytest
from starlette.types import Message

from federation.status.app import status_app
from federation.status.peer_values import ClusterDocument
from federation.status.routes import ANSWERS
from federation.status.service_values import ServiceDocument, ServicesDocument
from tests.status_documents import CART, PAYMENTS, WEST, FakeSource


class Reply(msgspec.Struct):
    status: int
    headers: dict[str, str]
    body: bytes

    @property
    def json(self) -> Any:
        return msgspec.json.decode(self.body)


async def ask(
    path: str,
    *,
    source: FakeSource | None = None,
    method: str = "GET",
    host: str = "127.0.0.1:15000",
    fields: Sequence[tuple[bytes, bytes]] = (),
) -> Reply:
    """One request through the application."""
    said: list[Message] = []

    async def receive() -> Message:
        return {"type": "http.request", "body": b"", "more_body": False}

    async def send(message: Message) -> None:
        said.append(message)

    headers = [(b"host", host.encode())] if host else []
    headers += fields
    path, _, query = path.partition("?")
    scope = {
        "type": "http",
        "method": method,
        "path": path,
        "raw_path": path.encode(),
        "query_string": query.encode(),
        "root_path": "",
        "scheme": "http",
        "headers": headers,
        "http_version": "1.1",
        "server": ("127.0.0.1", 15000),
        "client": ("127.0.0.1", 4711),
        "asgi": {"version": "3.0"},
    }
    app = status_app(source or FakeSource(), version="0.1.0", listen_host="status.east.test")
    try:
        await app(scope, receive, send)
    except RuntimeError:
        # The application raises its own faults on after it has answered; the server logs them.
        assert said, "raised without an answer"
    start = said[0]
    told = {name.decode(): value.decode() for name, value in start["headers"]}
    return Reply(start["status"], told, b"".join(message.get("body", b"") for message in said[1:]))


async def test_status_is_the_document_as_json() -> None:
    """Programs rely on names, ISO 8601 times, and null for what is not known."""
    reply = await ask("/v1/status")
    assert reply.status == 200
    assert reply.headers["content-type"] == "application/json"
    assert reply.headers["cache-control"] == "no-store"
    assert reply.json["started_at"] == "2026-01-02T03:04:05Z"
    assert [peer["ready"] for peer in reply.json["peers"]] == [False, True]
    assert reply.json["peers"][0]["data"]["rtt_ms"] is None


async def test_one_peer_and_one_service_are_found_by_name() -> None:
    """Each list's items have an address of their own, and are the same there."""
    west, payments = await ask("/v1/clusters/west"), await ask("/v1/services/shop/payments")
    assert msgspec.json.decode(west.body, type=ClusterDocument) == WEST
    assert msgspec.json.decode(payments.body, type=ServiceDocument) == PAYMENTS
    assert (await ask("/v1/clusters")).json["clusters"][1] == west.json
    assert (await ask("/v1/services")).json["services"][1] == payments.json


@pytest.mark.parametrize(
    ("path", "told"),
    [
        ("/v1/clusters/mars", "there is no peer mars; /v1/clusters lists the peers"),
        ("/v1/services/shop/none", "there is no service shop/none; /v1/services lists the services"),
        ("/nowhere", "there is nothing at /nowhere; /v1/openapi.json lists the paths"),
    ],
)
async def test_what_is_not_there_is_a_404_that_says_where_to_look(path: str, told: str) -> None:
    reply = await ask(path)
    assert (reply.status, reply.json) == (404, {"error": told})


@pytest.mark.parametrize("method", ["POST", "PUT", "DELETE", "PATCH", "OPTIONS"])
async def test_nothing_can_be_changed(method: str) -> None:
    """The API is read-only, and says so as HTTP wants it said: 405 with Allow."""
    reply = await ask("/v1/status", method=method)
    assert reply.status == 405
    assert "read-only" in reply.json["error"]
    assert "GET" in reply.headers["allow"]


async def test_head_is_answered() -> None:
    """Load balancers probe with HEAD."""
    assert (await ask("/readyz", method="HEAD")).status == 200


async def test_an_unready_gateway_says_why() -> None:
    """An orchestrator needs the status code, a person the reason; liveness is another matter."""
    source = FakeSource(ready=False)
    reply = await ask("/readyz", source=source)
    assert (reply.status, reply.json) == (503, {"ready": False, "reasons": ["no worker serves yet"]})
    assert (await ask("/livez", source=source)).status == 200


async def test_a_fault_of_the_source_is_a_500_without_its_details() -> None:
    """One broken document must not end the server, nor show what went wrong inside to whoever asks."""

    class Broken(FakeSource):
        def trust(self) -> Any:
            raise RuntimeError("the key is hunter2")

    reply = await ask("/v1/trust", source=Broken())
    assert reply.status == 500
    assert "hunter2" not in reply.body.decode()
    assert "log" in reply.json["error"]


@pytest.mark.parametrize(
    "host",
    [
        "localhost",
        "LOCALHOST:15000",
        "localhost.",
        "127.0.0.1:15000",
        "[::1]:15000",
        "10.1.2.3:1",
        "[fd00::7]",
        "status.east.test:15000",
        "",
    ],
)
async def test_hosts_that_may_be_named(host: str) -> None:
    """Addresses, localhost, and the name that we listen on; HTTP/1.0 needs no Host at all."""
    assert (await ask("/livez", host=host)).status == 200


@pytest.mark.parametrize(
    "host", ["evil.example", "127.0.0.1.evil.example", "localhost.evil.example:15000", "[::1", "east.test", "0x7f.1"]
)
async def test_a_foreign_host_is_refused(host: str) -> None:
    """A page whose name was rebound to 127.0.0.1 must not read the status through a browser."""
    reply = await ask("/v1/status", host=host)
    assert reply.status == 421
    assert "Host header" in reply.json["error"]


@pytest.mark.parametrize(
    ("path", "status"),
    [
        ("shop/payments", 200),
        ("shop/payments?port=http&from=west", 200),
        ("shop/payments?port=admin", 404),
        ("shop/none", 404),
        ("shop/payments?from=mars", 400),
    ],
)
async def test_an_explanation_is_of_a_service_a_port_and_a_peer_that_are_there(path: str, status: int) -> None:
    """A typo shall not look like an answer."""
    reply = await ask(f"/v1/explain/{path}")
    assert reply.status == status
    assert ("error" in reply.json) == (status != 200)


async def test_services_are_one_document_however_many_pages() -> None:
    """Pages may be empty, and there may be none."""

    class Empty(FakeSource):
        async def services(self) -> AsyncGenerator[Sequence[ServiceDocument], None]:
            for _ in range(0):
                yield ()

    reply = await ask("/v1/services")
    assert reply.headers["content-type"] == "application/json"
    assert msgspec.json.decode(reply.body, type=ServicesDocument) == ServicesDocument("east", (CART, PAYMENTS))
    assert (await ask("/v1/services", source=Empty())).json == {"cluster": "east", "services": []}


async def test_events_after_an_id() -> None:
    """A program that polls asks for what it has not seen."""
    everything = (await ask("/v1/events")).json
    assert [event["kind"] for event in everything["events"]] == ["endpoint-unhealthy", "ejected"]
    first = everything["events"][0]["id"]
    assert [event["id"] for event in (await ask(f"/v1/events?since={first}")).json["events"]] == [first + 1]


@pytest.mark.parametrize("query", ["since=-1", "since=1e3", "since=%C2%B2", "since=" + "9" * 30, "kind=no-kind"])
async def test_a_question_for_events_that_makes_no_sense_is_refused(query: str) -> None:
    """Nobody shall believe that nothing happened."""
    for accept in (b"application/json", b"text/event-stream"):
        reply = await ask(f"/v1/events?{query}", fields=[(b"accept", accept)])
        assert reply.status == 400
        assert reply.json["error"]


async def test_metrics_are_prometheus_text() -> None:
    """Scrapers choose the parser by the content type."""
    reply = await ask("/metrics")
    assert reply.headers["content-type"].startswith("text/plain; version=0.0.4")
    assert b'isthmus_tunnels{cluster="west",state="ready"} 4.0\n' in reply.body


async def test_openapi_describes_every_path_and_resolves() -> None:
    """A client generator needs each reference to lead somewhere."""
    document = (await ask("/v1/openapi.json")).json
    assert document["paths"].keys() == {answer.path for answer in ANSWERS}
    schemas = document["components"]["schemas"]
    references = set(re.findall(r'"#/components/schemas/(\w+)"', msgspec.json.encode(document).decode()))
    assert references <= schemas.keys()
    assert {"StatusDocument", "ErrorDocument"} <= references
    assert schemas["ClusterDocument"]["properties"]["control"] == {"$ref": "#/components/schemas/ControlDocument"}


async def test_every_answer_is_what_openapi_says() -> None:
    """The paths answer with the type that they are described with."""
    names = {"name": "west", "namespace": "shop"}
    for answer in ANSWERS:
        if answer.document is None:
            continue
        path = answer.path.format(**names).replace("shop/west", "shop/payments")
        reply = await ask(path)
        msgspec.json.decode(reply.body, type=answer.document)
