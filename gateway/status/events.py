"""What happened, as the status API shows it. Pure."""

from __future__ import annotations

from collections import deque
from collections.abc import Callable, Collection, Iterable
from datetime import UTC, datetime
from itertools import islice

from federation.status.event_values import BadQuery, EventDocument, EventQuery, EventsDocument
from federation.status.values import DiversionDocument
from gateway.events.diversions import Diversion
from gateway.events.event_log import Event, EventLog
from gateway.events.event_text import EVENT_KINDS, from_failover

_RECENT = 10
MAX_DIVERSIONS = 200


def describe_events(log: EventLog, query: EventQuery, cluster: str, now: float) -> EventsDocument:
    """The events that are asked for; `now` is Unix seconds. Raises BadQuery."""
    if query.kind and query.kind not in EVENT_KINDS:
        raise BadQuery(f"{query.kind[:40]!r} is no kind of event; the kinds are {', '.join(EVENT_KINDS)}")
    if query.service and query.service.count("/") != 1:
        raise BadQuery(f"{query.service[:80]!r} is no service; name one as <namespace>/<name>, like shop/payments")
    before = log.unsettled_from(now) if query.settled else None
    events = log.select(since=query.since, service=query.service, kind=query.kind, before=before)
    return EventsDocument(
        cluster=cluster,
        oldest_id=log.oldest_id,
        last_id=log.last_id if before is None else before - 1,
        events=tuple(describe_event(event) for event in events),
    )


def recent_events(log: EventLog, service: str, clusters: Collection[str]) -> tuple[EventDocument, ...]:
    """The last events of a service, and those of whole clusters that have it; the oldest first."""
    about = deque(
        (
            event
            for event in log.select()
            if event.happening.service == service or (not event.happening.service and event.happening.where in clusters)
        ),
        maxlen=_RECENT,
    )
    return tuple(describe_event(event) for event in about)


def describe_diversions(diversions: Iterable[Diversion], known: Callable[[str], bool]) -> tuple[DiversionDocument, ...]:
    """Those of services that still are in the catalog."""
    described = (
        DiversionDocument(
            service=diversion.event.service,
            kind=diversion.event.kind,
            where=diversion.event.where,
            cause=diversion.event.cause,
            message=from_failover(diversion.event).message,
            since=datetime.fromtimestamp(diversion.event.at, UTC),
            until=datetime.fromtimestamp(diversion.until, UTC) if diversion.until is not None else None,
            shares=diversion.shares,
            workers=diversion.workers,
        )
        for diversion in diversions
        if known(diversion.event.service)
    )
    return tuple(islice(described, MAX_DIVERSIONS))


def describe_event(event: Event) -> EventDocument:
    happening = event.happening
    return EventDocument(
        id=event.id,
        at=datetime.fromtimestamp(happening.at, UTC),
        kind=happening.kind,
        service=happening.service,
        where=happening.where,
        cause=happening.cause,
        message=happening.message,
        numbers=happening.numbers,
        workers=len(event.workers) or None,
        unlisted=event.unlisted,
    )
