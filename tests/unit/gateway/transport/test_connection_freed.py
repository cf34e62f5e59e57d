"""What a connection leaves behind when it has ended: nothing."""

from __future__ import annotations

import gc
import socket
from collections.abc import Callable, Iterator

import pytest

from gateway.codec.choose import LIMITS
from gateway.codec.tcp import TcpClientCodec, TcpServerCodec
from gateway.transport.client_connection import ClientConnection
from gateway.transport.connection import Connection
from gateway.transport.reactor import Reactor
from gateway.transport.server_connection import ServerConnection

Opened = Callable[[Reactor, socket.socket], Connection]


@pytest.fixture
def no_search_for_garbage() -> Iterator[None]:
    gc.collect()
    gc.disable()
    yield
    gc.enable()


def living(kind: type[Connection]) -> int:
    return sum(type(known) is kind for known in gc.get_objects())


def server(reactor: Reactor, sock: socket.socket) -> ServerConnection:
    codec = TcpServerCodec(authority=b"payments:80", limits=LIMITS)
    conn = ServerConnection(reactor, sock, codec, lambda *_: None)
    refusals: list[object] = []
    conn.on_refused = lambda code, detail: refusals.append((conn, code, detail))
    return conn


def client(reactor: Reactor, sock: socket.socket) -> ClientConnection:
    return ClientConnection(reactor, sock, TcpClientCodec(limits=LIMITS))


def note_end(conn: Connection, ended: list[type[Connection]]) -> None:
    conn.on_end = lambda: ended.append(type(conn))


@pytest.mark.parametrize("opened", [server, client])
@pytest.mark.usefixtures("no_search_for_garbage")
async def test_an_ended_connection_is_freed_at_once(opened: Opened) -> None:
    """Whoever is told of its end knows it. Thousands a second that wait for a search for garbage push all else out of
    the processor's cache, and the search then walks through them."""
    reactor = Reactor()
    ours, theirs = socket.socketpair()
    ours.setblocking(False)
    ended: list[type[Connection]] = []
    with theirs:
        conn = opened(reactor, ours)
        kind = type(conn)
        before = living(kind)
        note_end(conn, ended)
        conn.start()
        reactor.flush()
        conn.abort()
        reactor.flush()
        del conn
        assert ended == [kind]
        assert living(kind) == before - 1
    reactor.close()
