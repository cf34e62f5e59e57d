"""`isthmus events`: what happened lately, and with `--follow`, what happens."""

from __future__ import annotations

import argparse
import sys
from urllib.parse import urlencode

import msgspec

from federation.status.event_values import EventDocument, EventsDocument
from gateway.cli.event_feed import EventFeed, Missed
from gateway.cli.exit_codes import OK
from gateway.cli.gateway_api import find_gateway
from gateway.cli.service_name import read_service_name
from gateway.cli.table import format_table, printable

_HEADS = ("TIME (UTC)", "EVENT", "SERVICE", "WHAT")
_WIDTHS = (19, 18, 20)
"""Of a followed line, which does not know how wide the later ones will be."""


def execute(arguments: argparse.Namespace) -> int:
    service = str(read_service_name(arguments.service)) if arguments.service else ""
    asked = {"since": arguments.since, "service": service, "kind": arguments.kind}
    path = "/v1/events?" + urlencode({key: value for key, value in asked.items() if value})
    api = find_gateway(arguments)
    if arguments.follow:
        for told in EventFeed(api, path):
            print(_json_line(told) if arguments.output == "json" else format_followed(told), flush=True)
        return OK
    body = api.get(path.rstrip("?"))
    if arguments.output == "json":
        print(msgspec.json.format(body).decode())
    else:
        sys.stdout.write(format_events(api.read(body, EventsDocument)))
    return OK


def format_events(document: EventsDocument) -> str:
    if not document.events:
        return "nothing has happened that is known here\n"
    return format_table(_HEADS, (format_cells(event) for event in document.events))


def format_followed(told: EventDocument | Missed) -> str:
    """One line for one event."""
    if isinstance(told, Missed):
        return "-- what happened in between is no longer known there: the list has moved on, or the gateway was away"
    *cells, message = format_cells(told)
    padded = (printable(cell or "-").ljust(width) for cell, width in zip(cells, _WIDTHS, strict=True))
    return "  ".join((*padded, printable(message)))


def format_cells(event: EventDocument) -> tuple[str, str, str, str]:
    """Time, kind, service, and what happened."""
    notes = []
    if event.workers is not None and event.workers > 1:
        notes.append(f"seen by {event.workers} workers")
    if event.unlisted:
        notes.append(f"and {event.unlisted} more of this kind before it")
    note = f" [{', '.join(notes)}]" if notes else ""
    return f"{event.at:%Y-%m-%d %H:%M:%S}", event.kind, event.service, event.message + note


def _json_line(told: EventDocument | Missed) -> str:
    return msgspec.json.encode(told).decode()
