"""A gRPC server's side of one connection in memory, that does exactly what a test tells it."""

from __future__ import annotations

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import TypeVar

import h2.config
import h2.connection
import h2.events
import trio
import trio.testing

from federation.etcd.framing import encode_message
from federation.etcd.grpc import GrpcConnection

HEAD = [(b":status", b"200"), (b"content-type", b"application/grpc")]
OK = [(b"grpc-status", b"0")]

EventT = TypeVar("EventT", bound=h2.events.Event)


class Peer:
    """`h2` is the server's own connection; `flush` sends what it has to say, `wait_for` reads until an event comes."""

    def __init__(self, stream: trio.abc.Stream) -> None:
        self.h2 = h2.connection.H2Connection(h2.config.H2Configuration(client_side=False, header_encoding=None))
        self.stream = stream
        self._events: list[h2.events.Event] = []

    async def begin(self) -> None:
        self.h2.initiate_connection()
        await self.flush()

    async def flush(self) -> None:
        await self.stream.send_all(self.h2.data_to_send())

    async def wait_for(self, kind: type[EventT]) -> EventT:
        while True:
            for index, event in enumerate(self._events):
                if isinstance(event, kind):
                    del self._events[: index + 1]
                    return event
            self._events += self.h2.receive_data(bytes(await self.stream.receive_some()))
            await self.flush()

    async def answer(self, stream_id: int, *payloads: bytes, trailers: list[tuple[bytes, bytes]] = OK) -> None:
        """Sends a whole answer: head, messages, trailers."""
        self.h2.send_headers(stream_id, HEAD)
        for payload in payloads:
            self.h2.send_data(stream_id, encode_message(payload))
        self.h2.send_headers(stream_id, trailers, end_stream=True)
        await self.flush()


@asynccontextmanager
async def connect() -> AsyncIterator[tuple[GrpcConnection, Peer]]:
    """A running connection whose server has sent its SETTINGS."""
    client_side, server_side = trio.testing.memory_stream_pair()
    connection = GrpcConnection(client_side, authority="etcd.test:2379", scheme="http")
    peer = Peer(server_side)
    async with trio.open_nursery() as nursery:
        nursery.start_soon(connection.run)
        await peer.begin()
        await connection.ready.wait()
        yield connection, peer
        connection.close("the test is over")
