"""`python -m gateway.demo.services CLUSTER KIND:NAME:PORT…`: the small services of one cluster, in one process.

`http` services answer with their name and cluster; `tcp` services send back what they get.

    GET /           "payments in west", with the field `served-by: west`
    GET /healthz    "ok"
    GET /headers    the request's own fields as JSON
    POST /echo      the request's body
    GET /bytes/N    N bytes
"""

from __future__ import annotations

import sys
from collections.abc import AsyncIterator
from functools import partial

import h11
import msgspec
import trio

from gateway.controller.loopback_ports import LOOPBACK

_READ_BYTES = 65_536
_CHUNK = b"isthmus\n" * 8192
_IDLE_S = 60.0


class HttpService:
    """One HTTP/1.1 service."""

    def __init__(self, cluster: str, name: str) -> None:
        self.cluster = cluster
        self.name = name

    async def serve(self, stream: trio.SocketStream) -> None:
        try:
            with trio.move_on_after(_IDLE_S) as idle:
                await _HttpConnection(self, stream, idle).run()
        except (trio.BrokenResourceError, h11.ProtocolError):
            pass
        finally:
            await trio.aclose_forcefully(stream)


class _HttpConnection:
    def __init__(self, service: HttpService, stream: trio.SocketStream, idle: trio.CancelScope) -> None:
        self._service = service
        self._stream = stream
        self._idle = idle
        self._http = h11.Connection(h11.SERVER)

    async def run(self) -> None:
        while True:
            self._idle.deadline = trio.current_time() + _IDLE_S
            event = await self._next_event()
            if not isinstance(event, h11.Request):
                return
            await self._answer(event)
            if self._http.our_state is h11.MUST_CLOSE:
                return
            self._http.start_next_cycle()

    async def _next_event(self) -> object:
        while True:
            event = self._http.next_event()
            if event is not h11.NEED_DATA:
                return event
            if self._http.they_are_waiting_for_100_continue:
                await self._send(h11.InformationalResponse(status_code=100, headers=[]))
            self._http.receive_data(await self._stream.receive_some(_READ_BYTES))

    async def _send(self, event: h11.Event) -> None:
        data = self._http.send(event)
        if data:
            await self._stream.send_all(data)

    async def _body(self) -> AsyncIterator[bytes]:
        while True:
            event = await self._next_event()
            if not isinstance(event, h11.Data):
                return
            yield bytes(event.data)

    async def _answer(self, request: h11.Request) -> None:
        path = request.target.decode().partition("?")[0]
        if path == "/echo":
            await self._send(self._head([(b"transfer-encoding", b"chunked")]))
            async for data in self._body():
                await self._send(h11.Data(data=data))
                self._idle.deadline = trio.current_time() + _IDLE_S
            await self._send(h11.EndOfMessage())
            return
        async for _ in self._body():
            pass
        if path.startswith("/bytes/") and path[7:].isdigit():
            await self._send_bytes(int(path[7:]))
            return
        content = self._content(path, request)
        await self._send(self._head([(b"content-length", b"%d" % len(content))]))
        if request.method != b"HEAD":
            await self._send(h11.Data(data=content))
        await self._send(h11.EndOfMessage())

    def _content(self, path: str, request: h11.Request) -> bytes:
        if path == "/healthz":
            return b"ok\n"
        if path == "/headers":
            return msgspec.json.encode({name.decode(): value.decode("latin-1") for name, value in request.headers})
        return f"{self._service.name} in {self._service.cluster}\n".encode()

    def _head(self, headers: list[tuple[bytes, bytes]]) -> h11.Response:
        return h11.Response(status_code=200, headers=[(b"served-by", self._service.cluster.encode()), *headers])

    async def _send_bytes(self, size_bytes: int) -> None:
        await self._send(self._head([(b"content-length", b"%d" % size_bytes)]))
        for left in range(size_bytes, 0, -len(_CHUNK)):
            await self._send(h11.Data(data=_CHUNK[:left]))
            self._idle.deadline = trio.current_time() + _IDLE_S
        await self._send(h11.EndOfMessage())


async def echo(stream: trio.SocketStream) -> None:
    """Sends everything back, and ends its side when the client has ended its own."""
    try:
        async with stream:
            async for data in stream:
                await stream.send_all(data)
            await stream.send_eof()
    except trio.BrokenResourceError:
        pass


async def serve(cluster: str, specs: list[str]) -> None:
    """Serves until cancelled. Each spec is `http:<name>:<port>` or `tcp:<name>:<port>`, on 127.0.0.1."""
    async with trio.open_nursery() as nursery:
        for spec in specs:
            kind, name, port = spec.split(":")
            handler = HttpService(cluster, name).serve if kind == "http" else echo
            await nursery.start(partial(trio.serve_tcp, handler, int(port), host=LOOPBACK))


if __name__ == "__main__":
    trio.run(serve, sys.argv[1], sys.argv[2:])
