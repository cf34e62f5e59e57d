"""`isthmus explain`: why a service's requests go where they go."""

from __future__ import annotations

import argparse
import sys
from collections.abc import Iterator
from urllib.parse import urlencode

import msgspec

from federation.status.event_values import EventDocument
from federation.status.explain_values import (
    EjectedDocument,
    EndpointLoadDocument,
    ExplanationDocument,
    LimitsDocument,
    PlaceDocument,
    RetryBudgetDocument,
)
from gateway.cli.events import format_cells
from gateway.cli.exit_codes import NEGATIVE, OK
from gateway.cli.gateway_api import find_gateway
from gateway.cli.service_name import read_service_name
from gateway.cli.table import format_table, printable

_HEADS = ("RANK", "WHERE", "WHY", "GETS", "HEALTHY", "EJECTED", "TUNNELS", "RTT", "AVAILABLE", "NEXT")


def execute(arguments: argparse.Namespace) -> int:
    name = read_service_name(arguments.name)
    asked = {"port": arguments.port, "from": arguments.from_cluster}
    query = urlencode({key: value for key, value in asked.items() if value})
    api = find_gateway(arguments)
    path = f"/v1/explain/{name.namespace}/{name.name}" + (f"?{query}" if query else "")
    document = api.find(path, ExplanationDocument)
    if document is None:
        port = f" with a port {arguments.port}" if arguments.port else ""
        print(f"there is no service {name}{port} here; isthmus services lists them")
        return NEGATIVE
    if arguments.output == "json":
        print(msgspec.json.format(msgspec.json.encode(document)).decode())
    else:
        sys.stdout.write(format_explanation(document))
    return OK if any(place.share for place in document.places) else NEGATIVE


def format_explanation(document: ExplanationDocument) -> str:
    return "".join(_format_parts(document))


def _format_parts(document: ExplanationDocument) -> Iterator[str]:
    yield printable(f"{document.namespace}/{document.name}: {document.summary}") + "\n\n"
    whose = "workloads of" if document.from_cluster == document.cluster else "the gateway of peer"
    yield f"requests of {whose} {document.from_cluster}, port {document.port}\n"
    if document.places:
        yield format_table(_HEADS, map(_place_row, document.places))
    if document.policy:
        yield f"failover.services: {printable(document.policy)}\n"
    if document.panic:
        yield "panic: so little is healthy that health is disregarded\n"
    yield from _section("ejected", map(_format_ejection, document.ejections))
    yield from _section(
        "endpoints that are not healthy",
        (
            f"{e.address}: {f'{e.check} check ' if e.check else ''}{e.reason} since {e.for_s:.0f} s"
            for e in document.endpoints
            if not e.healthy
        ),
    )
    yield from _section("in progress, and its limits", _format_load(document))
    yield f"may be called by: {', '.join(document.consumers) or 'nobody but this cluster'}\n"
    if document.workers_answered < document.workers_asked:
        yield f"{document.workers_answered} of {document.workers_asked} workers answered\n"
    yield from _section("workers differ", document.differences)
    if document.events:
        yield "lately:\n" + format_table(("TIME (UTC)", "EVENT", "WHAT"), map(_event_row, document.events), indent="  ")


def _section(title: str, lines: Iterator[str] | tuple[str, ...]) -> Iterator[str]:
    told = [f"  {printable(line)}\n" for line in lines]
    if told:
        yield f"{title}:\n{''.join(told)}"


def _place_row(place: PlaceDocument) -> tuple[str, ...]:
    return (
        str(place.rank),
        f"{place.cluster}/{place.zone}" if place.zone else place.cluster,
        place.why,
        f"{place.share:.0%}",
        f"{place.healthy}/{place.total}" if place.total else "",
        str(place.ejected or ""),
        str(place.tunnels or ""),
        "" if place.rtt_ms is None else f"{place.rtt_ms:.1f} ms",
        f"{place.availability:.0%}",
        f"{place.next_share:.0%}",
    )


def _format_ejection(ejection: EjectedDocument) -> str:
    times = f"time {ejection.count} in a row" if ejection.count > 1 else "the first time"
    return (
        f"{ejection.where}: {ejection.cause}, {ejection.rate:.0%} of its requests failed; until "
        f"{ejection.until:%H:%M:%S}, {ejection.for_s:.0f} s more, {times}, by {ejection.workers} "
        f"{'worker' if ejection.workers == 1 else 'workers'}"
    )


def _format_load(document: ExplanationDocument) -> Iterator[str]:
    yield from map(_format_limits, document.limits)
    yield from map(_format_endpoint_load, document.endpoint_loads)
    if document.retry_budget is not None:
        yield _format_budget(document.retry_budget)


def _format_limits(one: LimitsDocument) -> str:
    refused = f"; {one.refused} refused" if one.refused else ""
    return (
        f"{one.where}: {one.requests} of {one.requests_limit} requests, {one.retries} of {one.retries_limit} retries"
        f"{refused}"
    )


def _format_endpoint_load(one: EndpointLoadDocument) -> str:
    return (
        f"{one.address}: {one.requests} requests, {one.connections} of {one.connections_limit} connections, "
        f"{one.pending} of {one.pending_limit} waiting for one"
    )


def _format_budget(budget: RetryBudgetDocument) -> str:
    return (
        f"retry budget of all services: {budget.retried} of {budget.requests} requests in progress are retries; "
        f"{budget.share:.0%} may be, and {budget.per_s:g} more a second"
    )


def _event_row(event: EventDocument) -> tuple[str, ...]:
    time, kind, _, what = format_cells(event)
    return time, kind, what
