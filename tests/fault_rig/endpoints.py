"""`python -m tests.fault_rig.endpoints CLUSTER KIND:PORT…`: endpoints of one cluster that can be told to fail.

`http` endpoints answer every request with the cluster's name and their port in `served-by`; `tcp` endpoints send back
what they get. An HTTP endpoint obeys, on its own port:

    GET /tell?status=500&health=503&delay_ms=100

`status` is what it answers from then on, `health` what `/healthz` answers, `delay_ms` how long an answer takes.
`GET /bytes/N` brings N bytes, as fast as they are taken.
"""

from __future__ import annotations

import asyncio
import sys
from urllib.parse import parse_qsl, urlsplit

import httptools

from gateway.controller.loopback_ports import LOOPBACK

_BACKLOG = 512
_BLOCK = bytes(65_536)


class Endpoint:
    """One HTTP endpoint's behaviour, shared by its connections."""

    def __init__(self, name: str) -> None:
        self.name = name
        self.told = {"status": 200, "health": 200, "delay_ms": 0}

    def answer(self, target: str) -> tuple[int, float]:
        """Status and delay in seconds of the answer to a request for `target`."""
        url = urlsplit(target)
        if url.path == "/tell":
            self.told |= {key: int(value) for key, value in parse_qsl(url.query)}
            return 200, 0.0
        if url.path == "/healthz":
            return self.told["health"], 0.0
        return self.told["status"], self.told["delay_ms"] / 1000


class HttpConnection(asyncio.Protocol):
    """HTTP/1.1; a request is answered when all of it has come."""

    def __init__(self, endpoint: Endpoint) -> None:
        self._endpoint = endpoint
        self._parser = httptools.HttpRequestParser(self)
        self._target = b""
        self._transport: asyncio.Transport | None = None
        self._left_bytes = 0
        self._paused = False

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        assert isinstance(transport, asyncio.Transport)
        self._transport = transport

    def data_received(self, data: bytes) -> None:
        self._parser.feed_data(data)

    def on_message_begin(self) -> None:
        self._target = b""

    def on_url(self, url: bytes) -> None:
        self._target += url

    def on_message_complete(self) -> None:
        if self._target.startswith(b"/bytes/"):
            self._left_bytes = int(self._target[7:])
            assert self._transport is not None
            self._transport.write(b"HTTP/1.1 200 OK\r\ncontent-length: %d\r\n\r\n" % self._left_bytes)
            self._send_bytes()
            return
        status, delay_s = self._endpoint.answer(self._target.decode())
        if delay_s:
            asyncio.get_running_loop().call_later(delay_s, self._send, status)
        else:
            self._send(status)

    def pause_writing(self) -> None:
        self._paused = True

    def resume_writing(self) -> None:
        self._paused = False
        self._send_bytes()

    def _send_bytes(self) -> None:
        assert self._transport is not None
        while self._left_bytes and not self._paused and not self._transport.is_closing():
            size = min(self._left_bytes, len(_BLOCK))
            self._left_bytes -= size
            self._transport.write(_BLOCK[:size])

    def _send(self, status: int) -> None:
        assert self._transport is not None
        if not self._transport.is_closing():
            name = self._endpoint.name
            self._transport.write(
                f"HTTP/1.1 {status} Told\r\nserved-by: {name}\r\ncontent-length: {len(name)}\r\n\r\n{name}".encode()
            )


class Echo(asyncio.Protocol):
    """Sends everything back."""

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        assert isinstance(transport, asyncio.Transport)
        self._transport = transport

    def data_received(self, data: bytes) -> None:
        self._transport.write(data)


async def serve(cluster: str, specs: list[str]) -> None:
    """Until it is killed."""
    loop = asyncio.get_running_loop()
    for spec in specs:
        kind, _, port = spec.partition(":")
        endpoint = Endpoint(f"{cluster}:{port}")
        make = (lambda endpoint=endpoint: HttpConnection(endpoint)) if kind == "http" else Echo
        await loop.create_server(make, LOOPBACK, int(port), backlog=_BACKLOG)
    await asyncio.Event().wait()


if __name__ == "__main__":
    asyncio.run(serve(sys.argv[1], sys.argv[2:]))
