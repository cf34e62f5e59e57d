"""The status API as an ASGI application over a `StatusSource`. It only reads: GET and HEAD, no body, no state."""

from __future__ import annotations

from collections.abc import AsyncGenerator, Callable, Iterable, Sequence
from typing import Any, Protocol, TypeAlias

import msgspec
from prometheus_client.core import Metric
from prometheus_client.exposition import CONTENT_TYPE_PLAIN_0_0_4, generate_latest
from starlette.applications import Starlette
from starlette.exceptions import HTTPException
from starlette.middleware import Middleware
from starlette.requests import Request
from starlette.responses import Response
from starlette.routing import Route
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from discovery.model import ServiceName
from federation.status import routes
from federation.status.event_stream import MAX_STREAMS, EventStream
from federation.status.event_values import BadQuery, EventQuery, EventsDocument
from federation.status.explain_values import ExplanationDocument
from federation.status.host_check import is_own_host
from federation.status.openapi import describe
from federation.status.peer_values import ClusterDocument, ClustersDocument
from federation.status.service_values import ServiceDocument
from federation.status.services_stream import ServicesStream
from federation.status.trust_values import TrustDocument
from federation.status.values import (
    CLUSTER_HEADER,
    ConfigurationDocument,
    ErrorDocument,
    LivenessDocument,
    ReadinessDocument,
    StatusDocument,
)

_HEADERS = {
    # Every answer is of the moment, and none of it is a page.
    "cache-control": "no-store",
    "x-content-type-options": "nosniff",
}
_Document: TypeAlias = msgspec.Struct | dict[str, Any]


class StatusSource(Protocol):
    """Where the documents come from. Called on the event loop, so every method that is not async answers at once."""

    def status(self) -> StatusDocument: ...
    def readiness(self) -> ReadinessDocument: ...
    def clusters(self) -> ClustersDocument: ...
    def cluster(self, name: str) -> ClusterDocument | None: ...
    @property
    def cluster_name(self) -> str:
        """This cluster's."""

    def services(self) -> AsyncGenerator[Sequence[ServiceDocument], None]:
        """All services in pages. Others get their turn between two pages."""
        ...

    def service(self, name: ServiceName) -> ServiceDocument | None: ...
    def trust(self) -> TrustDocument: ...
    def configuration(self) -> ConfigurationDocument: ...

    def events(self, query: EventQuery) -> EventsDocument:
        """Raises BadQuery."""

    async def wait_events(self) -> None:
        """Returns when there may be events that were not there before."""

    async def explain(self, name: ServiceName, port: str, from_cluster: str) -> ExplanationDocument | None:
        """None: there is no such service or port. Raises BadQuery. Asks the workers, and so takes a while."""

    def collect(self) -> Iterable[Metric]:
        """The metric families, as a collector of prometheus_client gives them."""


def status_app(source: StatusSource, *, version: str, listen_host: str) -> Starlette:
    """The application. `listen_host` is the host that the API listens on: requests may name it."""
    endpoints = _Endpoints(source, version)
    return Starlette(
        routes=[Route(answer.path, getattr(endpoints, answer.name), methods=["GET"]) for answer in routes.ANSWERS],
        middleware=[
            Middleware(_NamesCluster, cluster=source.cluster_name),
            Middleware(_OwnHostOnly, listen_host=listen_host),
        ],
        exception_handlers={HTTPException: _refuse, Exception: _fail},
    )


class _Endpoints:
    """One method for each of `routes.ANSWERS`, by its name."""

    def __init__(self, source: StatusSource, version: str) -> None:
        self._source = source
        self._version = version
        self._streams = 0

    async def status(self, request: Request) -> Response:
        return _answer(self._source.status())

    async def clusters(self, request: Request) -> Response:
        return _answer(self._source.clusters())

    async def cluster(self, request: Request) -> Response:
        name = request.path_params["name"]
        return _answer(self._source.cluster(name), f"there is no peer {name}; /v1/clusters lists the peers")

    async def services(self, request: Request) -> ServicesStream:
        return ServicesStream(self._source.cluster_name, self._source.services(), _HEADERS)

    async def service(self, request: Request) -> Response:
        name = ServiceName(request.path_params["namespace"], request.path_params["name"])
        return _answer(self._source.service(name), f"there is no service {name}; /v1/services lists the services")

    async def explain(self, request: Request) -> Response:
        name = ServiceName(request.path_params["namespace"], request.path_params["name"])
        port, from_cluster = request.query_params.get("port", ""), request.query_params.get("from", "")
        try:
            document = await self._source.explain(name, port, from_cluster)
        except BadQuery as error:
            raise HTTPException(400, str(error)) from None
        return _answer(document, f"there is no service {name}, or not this port of it; /v1/services lists them")

    async def events(self, request: Request) -> Response | EventStream:
        query = _event_query(request)
        if request.method == "GET" and "text/event-stream" in request.headers.get("accept", ""):
            return self._follow(query)
        return _answer(_ask(self._source.events, query))

    def _follow(self, query: EventQuery) -> EventStream:
        _ask(self._source.events, query)
        if self._streams >= MAX_STREAMS:
            raise HTTPException(503, f"{MAX_STREAMS} clients follow events already, which is as many as may")
        self._streams += 1
        return EventStream(self._source, query, _HEADERS, self._stream_ended)

    def _stream_ended(self) -> None:
        self._streams -= 1

    async def trust(self, request: Request) -> Response:
        return _answer(self._source.trust())

    async def configuration(self, request: Request) -> Response:
        return _answer(self._source.configuration())

    async def openapi(self, request: Request) -> Response:
        return _answer(describe(self._version))

    async def livez(self, request: Request) -> Response:
        return _answer(LivenessDocument(True))

    async def readyz(self, request: Request) -> Response:
        readiness = self._source.readiness()
        return _json(readiness, 200 if readiness.ready else 503)

    async def metrics(self, request: Request) -> Response:
        return Response(generate_latest(self._source), media_type=CONTENT_TYPE_PLAIN_0_0_4, headers=_HEADERS)


def _event_query(request: Request) -> EventQuery:
    """`Last-Event-ID`, which a client sends when it comes back, goes before `since`."""
    asked = request.query_params
    since = request.headers.get("last-event-id", asked.get("since", "0"))
    if not (since.isascii() and since.isdigit() and len(since) < 19):
        raise HTTPException(400, f"since={since[:40]!r} is no event's id; /v1/events shows them")
    return EventQuery(int(since), asked.get("service", ""), asked.get("kind", ""))


def _ask(question: Callable[[EventQuery], EventsDocument], query: EventQuery) -> EventsDocument:
    try:
        return question(query)
    except BadQuery as error:
        raise HTTPException(400, str(error)) from None


def _answer(document: _Document | None, missing: str = "") -> Response:
    if document is None:
        raise HTTPException(404, missing)
    return _json(document, 200)


def _json(document: _Document, status: int) -> Response:
    return Response(msgspec.json.encode(document), status, _HEADERS, "application/json")


async def _refuse(request: Request, error: Exception) -> Response:
    assert isinstance(error, HTTPException), "registered for these only"
    if error.status_code == 405:
        detail = f"{request.method} is not answered: the status API is read-only, use GET"
    elif error.status_code == 404 and error.detail == "Not Found":
        detail = f"there is nothing at {request.url.path}; /v1/openapi.json lists the paths"
    else:
        detail = error.detail
    response = _json(ErrorDocument(detail), error.status_code)
    response.headers.update(error.headers or {})
    return response


async def _fail(request: Request, error: Exception) -> Response:
    """A fault of ours. Starlette raises it on after this answer, so that the server logs it."""
    return _json(ErrorDocument("the gateway could not answer; its log says why"), 500)


class _NamesCluster:
    """Says in each answer whose it is: several gateways may run on one machine, and listen where another one did."""

    def __init__(self, app: ASGIApp, cluster: str) -> None:
        self._app = app
        self._header = (CLUSTER_HEADER.encode(), cluster.encode())

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        async def send_named(message: Message) -> None:
            if message["type"] == "http.response.start":
                message = {**message, "headers": [*message["headers"], self._header]}
            await send(message)

        await self._app(scope, receive, send_named if scope["type"] == "http" else send)


class _OwnHostOnly:
    """Refuses requests that name another host (see `host_check`)."""

    def __init__(self, app: ASGIApp, listen_host: str) -> None:
        self._app = app
        self._listen_host = listen_host

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] != "http":
            await self._app(scope, receive, send)
            return
        for name, value in scope["headers"]:
            if name == b"host" and not is_own_host(value.decode("latin-1"), self._listen_host):
                await _json(_FOREIGN_HOST, 421)(scope, receive, send)
                return
        await self._app(scope, receive, send)


_FOREIGN_HOST = ErrorDocument(
    "the Host header names a host that this API does not answer for; ask by IP address, as localhost, or by the name "
    "in status.listen"
)
