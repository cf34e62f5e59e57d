"""Server-sent events: what a client is told, and what it may cost. In virtual time, called as a server would."""

from __future__ import annotations

from typing import Any

import msgspec
import pytest
import trio
import trio.testing
from starlette.types import Message

from federation.status.app import status_app
from federation.status.event_stream import KEEP_ALIVE_S, MAX_STREAMS, SLOW_S
from federation.status.event_values import EventDocument
from tests.status_documents import EVENTS, FakeSource

_FIRST = EVENTS[0].id


class Client:
    """A client of the application that takes what it is sent while `reads` is set."""

    def __init__(self, source: FakeSource, app: Any = None) -> None:
        self.source = source
        self.app = app or status_app(source, version="0.1.0", listen_host="127.0.0.1")
        self.body = b""
        self.status = 0
        self.ended = False
        self.reads = True
        self.gone = trio.Event()

    async def run(self, query: str = "", **headers: str) -> None:
        fields = [(name.replace("_", "-").encode(), value.encode()) for name, value in headers.items()]
        scope = {
            "type": "http",
            "method": "GET",
            "path": "/v1/events",
            "raw_path": b"/v1/events",
            "query_string": query.encode(),
            "root_path": "",
            "scheme": "http",
            "headers": [(b"host", b"127.0.0.1"), (b"accept", b"text/event-stream"), *fields],
            "http_version": "1.1",
            "server": ("127.0.0.1", 15000),
            "client": ("127.0.0.1", 4711),
            "asgi": {"version": "3.0"},
        }
        await self.app(scope, self._receive, self._send)
        self.ended = True

    async def _receive(self) -> Message:
        await self.gone.wait()
        return {"type": "http.disconnect"}

    async def _send(self, message: Message) -> None:
        if message["type"] == "http.response.start":
            self.status = message["status"]
        elif self.reads:
            self.body += message.get("body", b"")
        else:
            await trio.sleep_forever()

    @property
    def ids(self) -> list[int]:
        return [int(line.removeprefix(b"id: ")) for line in self.body.splitlines() if line.startswith(b"id: ")]


def happen(source: FakeSource, number: int) -> None:
    source.told.append(msgspec.structs.replace(EVENTS[0], id=_FIRST + number))
    news, source.news = source.news, trio.Event()
    news.set()


async def test_what_is_known_and_then_what_happens(autojump_clock: trio.testing.MockClock) -> None:
    """Nothing twice, nothing left out, and something now and then so that a dead connection is noticed."""
    client = Client(FakeSource())
    async with trio.open_nursery() as nursery:
        nursery.start_soon(client.run)
        await trio.testing.wait_all_tasks_blocked()
        assert client.ids == [_FIRST, _FIRST + 1]
        happen(client.source, 2)
        await trio.testing.wait_all_tasks_blocked()
        assert client.ids == [_FIRST, _FIRST + 1, _FIRST + 2]
        assert b": nothing new" not in client.body
        await trio.sleep(KEEP_ALIVE_S + 1)
        assert client.body.endswith(b": nothing new\n\n")
        client.gone.set()
        await trio.testing.wait_all_tasks_blocked()
        assert client.ended


async def test_a_client_goes_on_where_it_was(autojump_clock: trio.testing.MockClock) -> None:
    """`Last-Event-ID` is what an EventSource sends when it comes back; it goes before `since`."""
    client = Client(FakeSource())
    with trio.move_on_after(1):
        await client.run(f"since={_FIRST - 1}", last_event_id=str(_FIRST))
    assert client.ids == [_FIRST + 1]
    data = next(line for line in client.body.splitlines() if line.startswith(b"data: "))
    assert msgspec.json.decode(data.removeprefix(b"data: "), type=EventDocument) == EVENTS[1]


async def test_a_client_that_was_away_for_long_is_told_so(autojump_clock: trio.testing.MockClock) -> None:
    """It must not take a gap for calm; whoever asks for the first time has missed nothing."""
    away, new = Client(FakeSource()), Client(FakeSource())
    with trio.move_on_after(1):
        await away.run(last_event_id="7")
    assert b'event: missed\ndata: {"since":7,"oldest_id":%d}\n\n' % _FIRST in away.body
    with trio.move_on_after(1):
        await new.run()
    assert b"missed" not in new.body


async def test_a_client_that_takes_nothing_is_let_go(autojump_clock: trio.testing.MockClock) -> None:
    """It would hold its connection for ever."""
    client = Client(FakeSource())
    client.reads = False
    began = trio.current_time()
    await client.run()
    assert client.ended
    assert trio.current_time() - began == pytest.approx(SLOW_S)


async def test_so_many_may_follow_and_no_more(autojump_clock: trio.testing.MockClock) -> None:
    """Each costs a task and a connection; a place becomes free when one ends."""
    source = FakeSource()
    clients = [Client(source)]
    clients += [Client(source, clients[0].app) for _ in range(MAX_STREAMS - 1)]
    async with trio.open_nursery() as nursery:
        for client in clients:
            nursery.start_soon(client.run)
        await trio.testing.wait_all_tasks_blocked()
        late = Client(source, clients[0].app)
        await late.run()
        assert (late.status, b"follow events already" in late.body) == (503, True)
        clients[0].gone.set()
        await trio.testing.wait_all_tasks_blocked()
        again = Client(source, clients[0].app)
        nursery.start_soon(again.run)
        await trio.testing.wait_all_tasks_blocked()
        assert again.status == 200
        nursery.cancel_scope.cancel()
