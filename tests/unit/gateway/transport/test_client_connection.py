"""A connection that we ask, where its end and a request come together: what was never sent was never done."""

from __future__ import annotations

import socket
import struct
from collections.abc import Callable, Iterator

import pytest

from discovery.model import Protocol
from gateway.codec.choose import endpoint_codec, mesh_codec
from gateway.codec.events import Header, RequestHead, ResponseHead
from gateway.codec.interface import Codec
from gateway.transport.client_connection import ClientConnection, ResponseHandler
from gateway.transport.reactor import Reactor
from tests.gateway_ends import seeded

POST = RequestHead(b"POST", b"http", b"payments", b"/", [(b"content-length", b"2")])
Codecs = Callable[[], Codec]


def http1() -> Codec:
    return endpoint_codec("auto", Protocol.HTTP, seeded())


def http2() -> Codec:
    return mesh_codec("auto", client=True)


@pytest.fixture
def pair() -> Iterator[tuple[socket.socket, socket.socket]]:
    with socket.create_server(("127.0.0.1", 0)) as listener:
        theirs = socket.create_connection(listener.getsockname())
        ours, _ = listener.accept()
    with ours, theirs:
        for sock in (ours, theirs):
            sock.setblocking(False)
        yield ours, theirs


class Outcome(ResponseHandler):
    """What became of one request."""

    def __init__(self) -> None:
        self.statuses: list[int] = []
        self.unprocessed: list[bool] = []

    def on_informational(self, head: ResponseHead) -> None: ...

    def on_response(self, head: ResponseHead, end_stream: bool) -> None:
        self.statuses.append(head.status)

    def on_response_data(self, data: bytes, end_stream: bool) -> None: ...
    def on_response_trailers(self, headers: list[Header]) -> None: ...
    def on_stall(self, *, mute: bool) -> None: ...

    def on_response_reset(self, code: int, *, unprocessed: bool, lost: bool) -> None:
        self.unprocessed.append(unprocessed)


def ask(conn: ClientConnection) -> Outcome:
    outcome = Outcome()
    stream_id = conn.open(POST, False, outcome)
    conn.codec.send_data(stream_id, b"ok", True)
    return outcome


def started(sock: socket.socket, make_codec: Codecs) -> tuple[Reactor, ClientConnection]:
    """A connection whose own first bytes (HTTP/2's preface) have gone."""
    reactor = Reactor()
    conn = ClientConnection(reactor, sock, make_codec())
    conn.start()
    reactor.flush()
    return reactor, conn


def reset(sock: socket.socket) -> None:
    sock.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
    sock.close()


@pytest.mark.parametrize("make_codec", [http1, http2])
@pytest.mark.parametrize("end", [socket.socket.close, reset])
async def test_what_was_not_sent_when_the_end_is_seen_was_not_done(
    pair: tuple[socket.socket, socket.socket], make_codec: Codecs, end: Callable[[socket.socket], None]
) -> None:
    """A request and the end of the connection that it was given to may come in one turn, the request first: a POST,
    too, may be sent elsewhere then, as not a byte of it has left. It was refused as if nobody knew."""
    ours, theirs = pair
    reactor, conn = started(ours, make_codec)
    outcome = ask(conn)
    end(theirs)
    reactor.turn(1)
    assert outcome.unprocessed == [True]
    assert conn.closed


@pytest.mark.parametrize("make_codec", [http1, http2])
async def test_what_was_sent_may_have_been_done(pair: tuple[socket.socket, socket.socket], make_codec: Codecs) -> None:
    """Of two on one connection, only the one that has not left."""
    ours, theirs = pair
    reactor, conn = started(ours, make_codec)
    sent = ask(conn)
    reactor.flush()
    unsent = ask(conn) if conn.usable else None
    theirs.close()
    reactor.turn(1)
    assert sent.unprocessed == [False]
    assert unsent is None or unsent.unprocessed == [True]


@pytest.mark.parametrize("make_codec", [http1, http2])
async def test_what_the_socket_did_not_take_was_not_done(
    pair: tuple[socket.socket, socket.socket], make_codec: Codecs
) -> None:
    """The reset was there before the request, and is only seen when it is sent."""
    ours, theirs = pair
    reactor, conn = started(ours, make_codec)
    reset(theirs)
    outcome = ask(conn)
    reactor.flush()
    assert outcome.unprocessed == [True]
    assert conn.closed


async def test_what_we_end_ourselves_in_the_turn_was_not_sent(pair: tuple[socket.socket, socket.socket]) -> None:
    """A peer that is not believed any more, say: what was just given to its tunnel can go elsewhere."""
    ours, _ = pair
    reactor, conn = started(ours, http2)
    outcome = ask(conn)
    conn.abort()
    reactor.flush()
    assert outcome.unprocessed == [True]


async def test_an_answer_that_came_before_the_request_left_is_none(
    pair: tuple[socket.socket, socket.socket],
) -> None:
    """HTTP/1.1 servers say 408 on a connection that nobody uses, and end it. A request that was given to it in that
    moment would take this for its answer, and any that is smuggled in as well."""
    ours, theirs = pair
    reactor, conn = started(ours, http1)
    outcome = ask(conn)
    theirs.send(b"HTTP/1.1 408 Request Timeout\r\nconnection: close\r\ncontent-length: 0\r\n\r\n")
    theirs.close()
    reactor.turn(1)
    assert outcome.statuses == []
    assert outcome.unprocessed == [True]
    assert conn.closed
