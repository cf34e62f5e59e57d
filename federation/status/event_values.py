"""The documents of what happened: `/v1/events`."""

from __future__ import annotations

from datetime import datetime

import msgspec


class EventDocument(msgspec.Struct, frozen=True):
    """Something that happened to a service, an endpoint, a link or a peer."""

    id: int
    """Greater than that of every event before it, also over restarts of the controller."""
    at: datetime
    kind: str
    """What happened; the reference lists them all."""
    service: str
    """`<namespace>/<name>`; empty if it is about no service, or about many."""
    where: str
    """The cluster, `<cluster>/<zone>`, or the endpoint (host:port) that it happened to."""
    cause: str
    message: str
    """For a person: one sentence."""
    numbers: dict[str, float]
    """What was counted: shares and rates are 0 to 1, times end in `_s` or `_ms`."""
    workers: int | None
    """How many workers told of it; null for what the controller saw itself."""
    unlisted: int
    """How many of its kind came before it and were too many to list."""


class EventsDocument(msgspec.Struct, frozen=True):
    """`/v1/events`: the last events of `cluster`'s gateway, the oldest first."""

    cluster: str
    oldest_id: int
    """What happened before this event is no longer known."""
    last_id: int
    """Ask with `since` of this to get what comes after."""
    events: tuple[EventDocument, ...]


class EventQuery(msgspec.Struct, frozen=True):
    """Which events are asked for."""

    since: int = 0
    """Only those with a greater id."""
    service: str = ""
    kind: str = ""
    settled: bool = False
    """Only up to the first that more workers may still tell of: a follower gets each event once."""


class BadQuery(Exception):
    """A question that has no answer; the text says what is wrong with it."""
