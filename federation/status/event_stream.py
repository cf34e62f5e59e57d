"""Events as they happen, as server-sent events (WHATWG HTML, section 9.2).

A client costs one task and no queue: it has a place in the list of events, and what is sent next is read from there
when the client has taken what was sent before. One that takes nothing for a while is let go.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Protocol

import msgspec
import trio
from starlette.types import Receive, Scope, Send

from federation.status.event_values import EventDocument, EventQuery, EventsDocument

MAX_STREAMS = 32
"""At once; more are refused."""
SLOW_S = 10.0
"""A client that does not take what is sent within this time is let go."""
KEEP_ALIVE_S = 15.0
"""Something is sent at least this often: a connection that is gone is noticed by that, at both ends."""
_RETRY = b"retry: 1000\n\n"
_KEEP_ALIVE = b": nothing new\n\n"


class EventSource(Protocol):
    def events(self, query: EventQuery) -> EventsDocument: ...

    async def wait_events(self) -> None: ...


class EventStream:
    """An ASGI application that answers one request with the events after `query.since`, for as long as it is read."""

    def __init__(self, source: EventSource, query: EventQuery, headers: dict[str, str], ended: Callable[[], None]):
        self._source = source
        self._query = msgspec.structs.replace(query, settled=True)
        self._headers = [(name.encode(), value.encode()) for name, value in headers.items()]
        self._ended = ended

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        try:
            async with trio.open_nursery() as nursery:
                nursery.start_soon(_wait_for_end, receive, nursery.cancel_scope)
                await self._tell(send)
                nursery.cancel_scope.cancel()
        finally:
            self._ended()

    async def _tell(self, send: Send) -> None:
        """Returns when the client is too slow."""
        headers = [*self._headers, (b"content-type", b"text/event-stream")]
        await send({"type": "http.response.start", "status": 200, "headers": headers})
        body = _RETRY
        while await _send_part(send, body):
            body = await self._next_part()

    async def _next_part(self) -> bytes:
        with trio.move_on_after(KEEP_ALIVE_S):
            while True:
                news = self._source.events(self._query)
                body = _missed(self._query.since, news.oldest_id) + b"".join(map(_encode, news.events))
                self._query = msgspec.structs.replace(self._query, since=news.last_id)
                if body:
                    return body
                await self._source.wait_events()
        return _KEEP_ALIVE


def _missed(since: int, oldest_id: int) -> bytes:
    """A client that was away, or too slow, for long: it shall know that it did not get everything."""
    if not since or since >= oldest_id - 1:
        return b""
    return b"event: missed\ndata: %s\n\n" % msgspec.json.encode({"since": since, "oldest_id": oldest_id})


def _encode(event: EventDocument) -> bytes:
    # JSON has no line ends of its own, so that one line of data is enough.
    return b"id: %d\nevent: %s\ndata: %s\n\n" % (event.id, event.kind.encode(), msgspec.json.encode(event))


async def _send_part(send: Send, body: bytes) -> bool:
    """Whether the client took it in time."""
    with trio.move_on_after(SLOW_S) as scope:
        await send({"type": "http.response.body", "body": body, "more_body": True})
    return not scope.cancelled_caught


async def _wait_for_end(receive: Receive, scope: trio.CancelScope) -> None:
    while (await receive())["type"] != "http.disconnect":
        pass
    scope.cancel()
