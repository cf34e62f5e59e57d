"""The driver of one connection, over socket pairs and loopback sockets."""

from __future__ import annotations

import socket
import ssl
import struct
from collections.abc import Iterator
from pathlib import Path

import pytest
import trio

from discovery.model import Protocol
from gateway.codec.choose import LIMITS, endpoint_codec, listener_codec, mesh_codec
from gateway.codec.events import Event, Header, RequestHead, ResponseHead
from gateway.codec.http1.server import Http1ServerCodec
from gateway.codec.limits import Lent
from gateway.codec.output import OUTPUT_BYTES
from gateway.codec.tcp import TcpClientCodec, TcpServerCodec
from gateway.transport.client_connection import ClientConnection, ResponseHandler
from gateway.transport.connection import Connection
from gateway.transport.dial import handshake
from gateway.transport.pace import Pace
from gateway.transport.reactor import Reactor
from gateway.transport.relay import Relay
from gateway.transport.server_connection import RequestHandler, ServerConnection
from gateway.transport.tls_socket import TlsSocket
from tests.gateway_ends import (
    Begin,
    answer_ok,
    make_authority,
    make_identity,
    peer_of,
    running_reactor,
    seeded,
    shake_hands,
    wait_until,
)

GET = b"GET / HTTP/1.1\r\nhost: payments\r\n\r\n"
POST = RequestHead(b"POST", b"http", b"payments", b"/", [])
LARGE = 4_000_000
SOCKET_BYTES = 131_072


@pytest.fixture
def pair() -> Iterator[tuple[socket.socket, socket.socket]]:
    """Our end, which a connection will own, and the other side's, both non-blocking."""
    ours, theirs = tcp_pair()
    yield ours, theirs
    ours.close()
    theirs.close()


def tcp_pair() -> tuple[socket.socket, socket.socket]:
    with socket.create_server(("127.0.0.1", 0)) as listener:
        theirs = socket.create_connection(listener.getsockname())
        ours, _ = listener.accept()
    for sock in (ours, theirs):
        sock.setblocking(False)
        # Fixed sizes: left alone, the kernel lets them grow until nothing here is ever full.
        sock.setsockopt(socket.SOL_SOCKET, socket.SO_SNDBUF, SOCKET_BYTES)
        sock.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, SOCKET_BYTES)
    return ours, theirs


def reset(sock: socket.socket) -> None:
    """Closes with a reset, as a process does that dies with unread data."""
    sock.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
    sock.close()


async def read_exactly(sock: socket.socket, size: int) -> bytes:
    got = bytearray()
    while len(got) < size:
        got += await read_some(sock)
    return bytes(got)


async def read_some(sock: socket.socket) -> bytes:
    while True:
        try:
            return sock.recv(65_536)
        except (BlockingIOError, ssl.SSLWantReadError):
            await trio.lowlevel.wait_readable(sock)


async def read_to_end(sock: socket.socket) -> bytes:
    got = bytearray()
    while chunk := await read_some(sock):
        got += chunk
    return bytes(got)


async def fill(sock: socket.socket, limit: int = 1 << 30) -> int:
    """Sends zeros until nothing more is taken, also after everybody has had a turn. Returns how many."""
    sent = 0
    block = bytes(65_536)
    while sent < limit:
        try:
            sent += sock.send(block[: limit - sent])
        except BlockingIOError:
            with trio.move_on_after(0.05) as waited:
                await trio.lowlevel.wait_writable(sock)
            if waited.cancelled_caught:
                break
    return sent


class RequestSink(RequestHandler):
    """Notes what it is told of a request."""

    def __init__(self) -> None:
        self.data = bytearray()
        self.ended = False
        self.resets = 0

    def on_request_data(self, data: bytes, end_stream: bool) -> None:
        self.data += data
        self.ended = end_stream

    def on_request_trailers(self, headers: list[Header]) -> None:
        self.ended = True

    def on_request_reset(self) -> None:
        self.resets += 1


class ResponseSink(ResponseHandler):
    """Notes what it is told of a response."""

    def __init__(self) -> None:
        self.statuses: list[int] = []
        self.resets: list[tuple[int, bool, bool]] = []

    def on_informational(self, head: ResponseHead) -> None: ...

    def on_response(self, head: ResponseHead, end_stream: bool) -> None:
        self.statuses.append(head.status)

    def on_response_data(self, data: bytes, end_stream: bool) -> None: ...
    def on_response_trailers(self, headers: list[Header]) -> None: ...
    def on_stall(self, *, mute: bool) -> None: ...

    def on_response_reset(self, code: int, *, unprocessed: bool, lost: bool) -> None:
        self.resets.append((code, unprocessed, lost))


class Pipe(RequestHandler):
    """A raw connection to a client, relayed both ways to one to an endpoint: an exchange with nothing to decide."""

    def __init__(self, reactor: Reactor, down: socket.socket, up: socket.socket) -> None:
        self.up = ClientConnection(reactor, up, TcpClientCodec(limits=LIMITS))
        codec = TcpServerCodec(authority=b"ledger", limits=LIMITS)
        self.down = ServerConnection(reactor, down, codec, self._begin)
        self.answer: PipedAnswer | None = None

    @property
    def lost(self) -> bool | None:
        return self.answer.lost if self.answer is not None else None

    def start(self) -> None:
        self.down.start()
        self.up.start()

    def _begin(self, conn: ServerConnection, stream_id: int, head: RequestHead, end_stream: bool) -> None:
        conn.handlers[stream_id] = self
        self.answer = PipedAnswer(conn, stream_id)
        self._up_stream = self.up.open(head, end_stream, self.answer)
        self._request = Relay(conn, stream_id)
        self.answer.source = Relay(self.up, self._up_stream)

    def on_request_data(self, data: bytes, end_stream: bool) -> None:
        self.up.relay(self._up_stream, data, end_stream, self._request)

    def on_request_trailers(self, headers: list[Header]) -> None: ...

    def on_request_reset(self) -> None:
        self.up.give_up(self._up_stream, 8)


class PipedAnswer(ResponseHandler):
    """What comes back through a `Pipe`."""

    source: Relay

    def __init__(self, down: ServerConnection, stream_id: int) -> None:
        self.lost: bool | None = None
        self._down = down
        self._stream_id = stream_id

    def on_informational(self, head: ResponseHead) -> None: ...

    def on_response(self, head: ResponseHead, end_stream: bool) -> None:
        self._down.codec.send_response(self._stream_id, head, end_stream)

    def on_response_data(self, data: bytes, end_stream: bool) -> None:
        self._down.relay(self._stream_id, data, end_stream, self.source)

    def on_response_trailers(self, headers: list[Header]) -> None: ...
    def on_stall(self, *, mute: bool) -> None: ...

    def on_response_reset(self, code: int, *, unprocessed: bool, lost: bool) -> None:
        self.lost = lost
        self._down.codec.reset(self._stream_id, code)
        self._down.touch()


def http1_server(reactor: Reactor, sock: socket.socket, begin: Begin) -> ServerConnection:
    return ServerConnection(reactor, sock, listener_codec("auto"), begin)


Pair = tuple[socket.socket, socket.socket]


async def test_all_that_has_come_is_read(pair: Pair) -> None:
    """In one turn, chunk after chunk, and nothing waits for the next byte."""
    ours, theirs = pair
    sink = RequestSink()
    async with running_reactor() as (reactor, _):

        def begin(conn: ServerConnection, stream_id: int, head: RequestHead, end_stream: bool) -> None:
            conn.handlers[stream_id] = sink

        theirs.send(b"POST / HTTP/1.1\r\nhost: a\r\ncontent-length: 150000\r\n\r\n")
        theirs.send(bytes(150_000))
        conn = http1_server(reactor, ours, begin)
        conn.start()
        await wait_until(lambda: sink.ended)
        assert len(sink.data) == 150_000
        conn.abort()


def answer_large(conn: ServerConnection, stream_id: int, head: RequestHead, end_stream: bool) -> None:
    conn.codec.send_response(stream_id, ResponseHead(200, [(b"content-length", b"%d" % LARGE)]), False)
    for i in range(LARGE // 10_000):
        conn.codec.send_data(stream_id, i.to_bytes(2, "big") * 5_000, i == LARGE // 10_000 - 1)
    conn.touch()


EXPECTED = b"".join(i.to_bytes(2, "big") * 5_000 for i in range(LARGE // 10_000))


async def test_a_full_socket_takes_the_rest_later(pair: Pair) -> None:
    """The kernel takes a part; the rest goes out when there is room, in order, each byte once."""
    ours, theirs = pair
    async with running_reactor() as (reactor, _):
        conn = http1_server(reactor, ours, answer_large)
        conn.start()
        theirs.send(GET)
        await wait_until(lambda: conn.unsent)
        got = await read_exactly(theirs, LARGE)
        head, _, body = got.partition(b"\r\n\r\n")
        assert head.startswith(b"HTTP/1.1 200 ")
        assert body + await read_exactly(theirs, LARGE - len(body)) == EXPECTED
        assert not conn.unsent
        assert not conn.closed
        conn.abort()


async def tls_pair(tmp_path: Path, ours: socket.socket, theirs: socket.socket) -> tuple[TlsSocket, ssl.SSLSocket]:
    """Our side, east's gateway, and west's, which called it."""
    east, west = make_authority(tmp_path, "east"), make_authority(tmp_path, "west")
    server, client = make_identity(east, peer_of(west)), make_identity(west, peer_of(east))
    ends: list[TlsSocket] = []

    async def shake() -> None:
        ends.append(await handshake(ours, server.server_context(), server=True))

    async with trio.open_nursery() as nursery:
        nursery.start_soon(shake)
        peer = await shake_hands(theirs, client.client_context("east"), server=False)
    return ends[0], peer


class Widening(Pace):
    """A link that shows at the first look that it takes much."""

    def is_due(self, now: float) -> bool:
        return True

    def measured(self, taken: tuple[int, float] | None) -> bool:
        self.piece_bytes = OUTPUT_BYTES
        return True


@pytest.mark.stand_in
@pytest.mark.parametrize("engine", ["ngh2", "h2"])
async def test_a_link_that_is_found_to_be_fast_gets_the_rest_at_once(tmp_path: Path, engine: str) -> None:
    """A piece that was all for a thin link is short for a fast one, and yet not the last."""
    ours, theirs = tcp_pair()
    tls, peer = await tls_pair(tmp_path, ours, theirs)
    reactor, codec = Reactor(), mesh_codec(engine, client=True)
    conn = ClientConnection(reactor, tls, codec)
    conn.share(codec)
    conn._pace = Widening()
    conn.start()
    answer = ResponseSink()
    stream_id = conn.open(POST, False, answer)
    codec.send_data(stream_id, bytes(60_000), True)
    reactor.flush()
    assert codec.queued(stream_id) == 0
    conn.abort()
    reactor.flush()
    peer.close()


async def test_a_full_socket_under_tls(tmp_path: Path) -> None:
    """OpenSSL wants the very same buffer again after it could not write it, or breaks the connection."""
    ours, theirs = tcp_pair()
    async with running_reactor() as (reactor, _):
        server, peer = await tls_pair(tmp_path, ours, theirs)
        codec = Http1ServerCodec(scheme=b"https", limits=LIMITS)
        conn = ServerConnection(reactor, server, codec, answer_large)
        conn.start()
        peer.send(GET)
        await wait_until(lambda: conn.unsent)
        got = await read_exactly(peer, LARGE)
        body = got.partition(b"\r\n\r\n")[2]
        assert body + await read_exactly(peer, LARGE - len(body)) == EXPECTED
        conn.abort()
        peer.close()


async def test_a_slow_reader_stops_a_fast_sender() -> None:
    """A window is given back only for what the sink's socket took: what is held here is bounded, however much comes,
    and nothing is lost when the reader goes on."""
    (down, client), (up, endpoint) = tcp_pair(), tcp_pair()
    async with running_reactor() as (reactor, nursery):
        pipe = Pipe(reactor, down, up)
        pipe.start()
        sent = await fill(endpoint)
        held = pipe.down.unsent + pipe.down.codec.queued(1)
        assert held <= 2 * LIMITS.stream_window
        assert paused(pipe.up)
        more = 3_000_000
        nursery.start_soon(fill_all, endpoint, more)
        assert len(await read_exactly(client, sent + more)) == sent + more
        assert not paused(pipe.up)
        close(reactor, pipe.down, pipe.up)
        client.close()
        endpoint.close()


def paused(conn: Connection) -> bool:
    """As it is now: a checker would believe that a property never changes."""
    return conn.codec.paused


async def fill_all(sock: socket.socket, size: int) -> None:
    sent = 0
    while sent < size:
        try:
            sent += sock.send(bytes(min(65_536, size - sent)))
        except BlockingIOError:
            await trio.lowlevel.wait_writable(sock)


def close(reactor: Reactor, *connections: Connection) -> None:
    for conn in connections:
        conn.abort()
    reactor.flush()


class Feeder:
    """A server's side of a tunnel: each request is answered with as much as its path says, as fast as it goes."""

    def __init__(self, size: int) -> None:
        self._size = size

    def begin(self, conn: ServerConnection, stream_id: int, head: RequestHead, end_stream: bool) -> None:
        conn.codec.send_response(stream_id, ResponseHead(200, []), False)
        conn.codec.send_data(stream_id, bytes(self._size), True)
        conn.touch()


class Outlet(ResponseHandler):
    """What comes on one stream of a tunnel goes to a client of its own."""

    def __init__(self, reactor: Reactor, tunnel: ClientConnection) -> None:
        ours, self.client = tcp_pair()
        self.conn = ServerConnection(reactor, ours, TcpServerCodec(authority=b"a", limits=LIMITS), self._begin)
        self._relay = Relay(tunnel, tunnel.open(RequestHead(b"GET", b"http", b"a", b"/", []), True, self))

    def _begin(self, conn: ServerConnection, stream_id: int, head: RequestHead, end_stream: bool) -> None:
        conn.codec.send_response(stream_id, ResponseHead(200, []), False)

    def on_informational(self, head: ResponseHead) -> None: ...
    def on_response(self, head: ResponseHead, end_stream: bool) -> None: ...

    def on_response_data(self, data: bytes, end_stream: bool) -> None:
        self.conn.relay(1, data, end_stream, self._relay)

    def on_stall(self, *, mute: bool) -> None: ...

    def on_response_trailers(self, headers: list[Header]) -> None: ...
    def on_response_reset(self, code: int, *, unprocessed: bool, lost: bool) -> None: ...


@pytest.mark.parametrize("engine", ["ngh2", "h2"])
async def test_one_slow_stream_does_not_stop_the_others(engine: str) -> None:
    """They share a tunnel. The slow one stands still with at most its window here; the other's body goes through."""
    ours, theirs = tcp_pair()
    size = 8_000_000
    async with running_reactor() as (reactor, _):
        feeder = Feeder(size)
        server = ServerConnection(reactor, theirs, mesh_codec(engine, client=False), feeder.begin)
        tunnel = ClientConnection(reactor, ours, mesh_codec(engine, client=True))
        server.start()
        tunnel.start()
        slow, fast = Outlet(reactor, tunnel), Outlet(reactor, tunnel)
        slow.conn.start()
        fast.conn.start()
        reactor.flush()
        assert len(await read_exactly(fast.client, size)) == size
        held = slow.conn.unsent + slow.conn.codec.queued(1)
        assert 0 < held <= 2 * LIMITS.stream_window
        assert len(await read_exactly(slow.client, size)) == size
        close(reactor, server, tunnel, slow.conn, fast.conn)
        slow.client.close()
        fast.client.close()


async def test_half_closes_go_both_ways() -> None:
    """A client that has said all hears the answer all the same (`nc -N`), and then both connections end."""
    (down, client), (up, endpoint) = tcp_pair(), tcp_pair()
    async with running_reactor() as (reactor, _):
        pipe = Pipe(reactor, down, up)
        pipe.start()
        client.send(b"question")
        client.shutdown(socket.SHUT_WR)
        assert await read_to_end(endpoint) == b"question"
        endpoint.send(b"answer")
        endpoint.close()
        assert await read_to_end(client) == b"answer"
        await wait_until(lambda: pipe.down.closed and pipe.up.closed)
        client.close()


async def test_the_endpoint_ends_first() -> None:
    """Then the client may go on speaking."""
    (down, client), (up, endpoint) = tcp_pair(), tcp_pair()
    async with running_reactor() as (reactor, _):
        pipe = Pipe(reactor, down, up)
        pipe.start()
        endpoint.send(b"greeting")
        endpoint.shutdown(socket.SHUT_WR)
        assert await read_to_end(client) == b"greeting"
        client.send(b"still here")
        assert await read_exactly(endpoint, 10) == b"still here"
        client.close()
        assert await read_to_end(endpoint) == b""
        await wait_until(lambda: pipe.down.closed and pipe.up.closed)
        endpoint.close()


async def test_a_lost_connection_resets_each_of_its_streams(pair: Pair) -> None:
    """With `lost`, which means that nobody knows what the other side did."""
    ours, theirs = pair
    async with running_reactor() as (reactor, _):
        server = ServerConnection(reactor, theirs, mesh_codec("auto", client=False), lambda *_: None)
        tunnel = ClientConnection(reactor, ours, mesh_codec("auto", client=True))
        ended: list[bool] = []
        tunnel.on_end = lambda: ended.append(True)
        server.start()
        tunnel.start()
        sinks = [ResponseSink() for _ in range(3)]
        for sink in sinks:
            tunnel.open(POST, False, sink)
        reactor.flush()
        await wait_until(lambda: server.requests == 3)
        reactor.unregister(theirs.fileno())
        reset(theirs)
        await wait_until(lambda: ended)
        assert [[lost for _, _, lost in sink.resets] for sink in sinks] == [[True]] * 3
        assert ended == [True]
        assert tunnel.closed
        assert isinstance(tunnel.lost_to, ConnectionResetError)


async def test_an_end_in_the_middle_of_a_response_is_a_loss(pair: Pair) -> None:
    """A server that was killed closes its sockets as any other."""
    ours, theirs = pair
    async with running_reactor() as (reactor, _):
        tunnel = ClientConnection(reactor, ours, mesh_codec("auto", client=True))
        tunnel.start()
        sink = ResponseSink()
        tunnel.open(POST, True, sink)
        reactor.flush()
        await read_some(theirs)
        theirs.close()
        await wait_until(lambda: sink.resets)
        assert [lost for _, _, lost in sink.resets] == [True]
        await wait_until(lambda: tunnel.closed)


async def test_a_client_that_vanishes_ends_its_requests(pair: Pair) -> None:
    """What was asked of others for it can be given up."""
    ours, theirs = pair
    sink = RequestSink()
    async with running_reactor() as (reactor, _):

        def begin(conn: ServerConnection, stream_id: int, head: RequestHead, end_stream: bool) -> None:
            conn.handlers[stream_id] = sink

        conn = http1_server(reactor, ours, begin)
        conn.start()
        theirs.send(GET)
        await wait_until(lambda: conn.requests)
        reset(theirs)
        await wait_until(lambda: sink.resets)
        assert sink.resets == 1
        assert conn.closed


async def test_a_defect_costs_one_connection(pair: Pair, caplog: pytest.LogCaptureFixture) -> None:
    """The one that met it is closed, its other streams are told, it is in the log, and others go on."""
    ours, theirs = pair
    other_ours, other_theirs = tcp_pair()
    sink = RequestSink()
    async with running_reactor() as (reactor, _):

        def begin(conn: ServerConnection, stream_id: int, head: RequestHead, end_stream: bool) -> None:
            if head.path == b"/defect":
                raise RuntimeError("a defect")
            conn.handlers[stream_id] = sink

        client = ClientConnection(reactor, theirs, mesh_codec("auto", client=True))
        server = ServerConnection(reactor, ours, mesh_codec("auto", client=False), begin)
        healthy = http1_server(reactor, other_ours, answer_ok)
        for conn in (client, server, healthy):
            conn.start()
        answers = [ResponseSink(), ResponseSink()]
        client.open(POST, False, answers[0])
        client.open(RequestHead(b"GET", b"http", b"a", b"/defect", []), True, answers[1])
        reactor.flush()
        await wait_until(lambda: all(answer.resets for answer in answers))
        assert server.closed
        assert sink.resets == 1
        assert reactor.defects == 1
        assert "nobody foresaw" in caplog.text
        other_theirs.send(GET)
        assert (await read_some(other_theirs)).startswith(b"HTTP/1.1 200 ")
        close(reactor, client, healthy)
        other_theirs.close()


async def test_a_defect_at_the_very_start(pair: Pair) -> None:
    """A raw connection's request begins without a byte: its caller is the acceptor, which must not pay for it."""

    def begin(conn: ServerConnection, stream_id: int, head: RequestHead, end_stream: bool) -> None:
        raise RuntimeError("a defect")

    async with running_reactor() as (reactor, _):
        codec = TcpServerCodec(authority=b"a", limits=LIMITS)
        conn = ServerConnection(reactor, pair[0], codec, begin)
        conn.start()
        reactor.flush()
        assert conn.closed
        assert reactor.defects == 1


def test_what_a_client_said_before_is_read_at_once(pair: tuple[socket.socket, socket.socket]) -> None:
    """It came before the connection was accepted: it goes on with the request that it is the body of, in one turn."""
    ours, theirs = pair
    theirs.send(b"hello")
    sink = RequestSink()

    def begin(conn: ServerConnection, stream_id: int, head: RequestHead, end_stream: bool) -> None:
        conn.handlers[stream_id] = sink

    conn = ServerConnection(Reactor(), ours, TcpServerCodec(authority=b"shop:1", limits=LIMITS), begin)
    conn.start()
    assert sink.data == b"hello"
    conn.abort()


class Bursting(TcpServerCodec):
    """A codec with a defect in what it is asked for at the end of a turn."""

    def data_to_send(self) -> bytes:
        raise RuntimeError("a defect")


@pytest.mark.stand_in
async def test_a_defect_while_flushing_leaves_the_others_flushed(pair: Pair) -> None:
    """They are in one list, and the one with the defect may be first."""
    other_ours, other_theirs = tcp_pair()
    async with running_reactor() as (reactor, _):
        broken = ServerConnection(reactor, pair[0], Bursting(authority=b"a", limits=LIMITS), lambda *_: None)
        healthy = http1_server(reactor, other_ours, answer_ok)
        broken.start()
        healthy.start()
        other_theirs.send(GET)
        reactor.flush()
        assert broken.closed
        assert (await read_some(other_theirs)).startswith(b"HTTP/1.1 200 ")
        close(reactor, healthy)
        other_theirs.close()


async def test_a_refusal_arrives_although_more_was_sent(pair: Pair) -> None:
    """Closing at once would reset the connection, and the reset overtakes the answer (RFC 9112 section 9.6)."""
    ours, theirs = pair
    async with running_reactor() as (reactor, _):
        conn = http1_server(reactor, ours, answer_ok)
        conn.start()
        theirs.send(b"BAD\0REQUEST / HTTP/1.1\r\n\r\n")
        await wait_until(lambda: conn.codec.failure)
        await fill(theirs, 500_000)
        got = await read_to_end(theirs)
        assert got.startswith(b"HTTP/1.1 400 ")
        theirs.close()
        await wait_until(lambda: conn.closed)


async def test_lingering_ends(pair: Pair) -> None:
    """Somebody who does not close in turn is waited for for a second, and not for ever."""
    ours, theirs = pair
    async with running_reactor() as (reactor, _):
        conn = http1_server(reactor, ours, answer_ok)
        conn.start()
        theirs.send(b"BAD\0REQUEST / HTTP/1.1\r\n\r\n")
        began = trio.current_time()
        await wait_until(lambda: conn.closed)
        assert trio.current_time() - began > 0.9


async def test_a_refused_peer_that_ends_its_tls_is_done_with(tmp_path: Path) -> None:
    """TLS goes on saying that the peer has ended: read again and again, it held the worker's only thread for ever."""
    ours, theirs = tcp_pair()
    async with running_reactor() as (reactor, _):
        server, peer = await tls_pair(tmp_path, ours, theirs)
        conn = ServerConnection(reactor, server, Http1ServerCodec(scheme=b"https", limits=LIMITS), answer_ok)
        conn.start()
        peer.send(b"BAD\0REQUEST / HTTP/1.1\r\n\r\n")
        await read_to_end(peer)
        assert not conn.closed, "it waits a moment for the peer's end"
        peer.unwrap()
        await wait_until(lambda: conn.closed)
        peer.close()


async def test_requests_behind_one_that_is_answered_at_once(pair: Pair) -> None:
    """A pipeline waits while its first request is under way, which here is no time at all: nothing else would wake
    it, since all its bytes have come."""
    ours, theirs = pair
    async with running_reactor() as (reactor, _):
        conn = http1_server(reactor, ours, answer_ok)
        conn.start()
        theirs.send(GET * 5)
        got = b""
        while got.count(b"HTTP/1.1 200") < 5:
            got += await read_some(theirs)
        conn.abort()


class Counting(Http1ServerCodec):
    """Counts how often it was asked for what to send, and how deep."""

    asked = 0
    handling = False
    during = 0

    def receive(self, data: Lent) -> list[Event]:
        self.handling = True
        return super().receive(data)

    def data_to_send(self) -> bytes:
        self.asked += 1
        self.during += self.handling
        return super().data_to_send()


@pytest.mark.stand_in
async def test_nothing_is_sent_while_events_are_handled(pair: Pair) -> None:
    """A chunk is handled whole, then each connection is flushed once: small answers leave together, and no handler
    finds itself called from within itself."""
    ours, theirs = pair
    codec = Counting(scheme=b"http", limits=LIMITS)

    def begin(conn: ServerConnection, stream_id: int, head: RequestHead, end_stream: bool) -> None:
        answer_ok(conn, stream_id, head, end_stream)
        conn.touch()
        assert codec.asked == before
        codec.handling = False

    async with running_reactor() as (reactor, _):
        conn = ServerConnection(reactor, ours, codec, begin)
        conn.start()
        reactor.flush()
        before = codec.asked
        theirs.send(GET)
        assert (await read_some(theirs)).startswith(b"HTTP/1.1 200 ")
        assert codec.during == 0
        assert reactor.defects == 0
        conn.abort()


async def test_an_early_answer_is_heard_although_the_request_cannot_be_sent(pair: Pair) -> None:
    """A server that answers 413 and closes resets the connection while we still send: its answer has come by then."""
    ours, theirs = pair
    theirs.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 4096)
    async with running_reactor() as (reactor, _):
        conn = ClientConnection(reactor, ours, endpoint_codec("auto", Protocol.HTTP, seeded()))
        conn.start()
        sink = ResponseSink()
        stream_id = conn.open(RequestHead(b"POST", b"http", b"a", b"/", [(b"content-length", b"8000000")]), False, sink)
        conn.codec.send_data(stream_id, bytes(8_000_000), True)
        reactor.flush()
        await read_some(theirs)
        theirs.send(b"HTTP/1.1 413 Content Too Large\r\ncontent-length: 0\r\nconnection: close\r\n\r\n")
        theirs.close()
        await wait_until(lambda: sink.statuses or sink.resets)
        assert sink.statuses == [413]
        await wait_until(lambda: conn.closed)


def test_an_answer_is_heard_although_sending_failed_first(pair: Pair) -> None:
    """The turn that would have read it began with a flush: what has come is read before the connection is given up."""
    ours, theirs = pair
    reactor = Reactor()
    conn = ClientConnection(reactor, ours, endpoint_codec("auto", Protocol.HTTP, seeded()))
    sink = ResponseSink()
    stream_id = conn.open(RequestHead(b"POST", b"http", b"a", b"/", [(b"content-length", b"900000")]), False, sink)
    reactor.flush()
    theirs.send(b"HTTP/1.1 413 Content Too Large\r\ncontent-length: 0\r\nconnection: close\r\n\r\n")
    # Closed with the request's head unread: a reset.
    theirs.close()
    for _ in range(9):
        conn.codec.send_data(stream_id, bytes(100_000), False)
        conn.touch()
        reactor.flush()
    assert sink.statuses == [413]
    assert conn.closed


def test_a_client_that_hung_up_begins_nothing_more(pair: Pair) -> None:
    """Its pipelined request would be carried out for nobody."""
    ours, theirs = pair
    reactor = Reactor()
    begun: list[int] = []

    def begin(conn: ServerConnection, stream_id: int, head: RequestHead, end_stream: bool) -> None:
        begun.append(stream_id)
        conn.codec.send_response(stream_id, ResponseHead(200, [(b"content-length", b"900000")]), False)
        conn.touch()

    conn = ServerConnection(reactor, ours, mesh_codec("auto", client=False), begin)
    client = mesh_codec("auto", client=True)
    theirs.send(client.data_to_send())
    conn._read()
    reactor.flush()
    client.send_request(POST, True)
    theirs.send(client.data_to_send())
    reset(theirs)
    for _ in range(3):
        conn.codec.ping(bytes(8))
        conn.touch()
        reactor.flush()
    assert conn.closed
    assert begun == []


class Busy:
    """As much of a codec as settling looks at: two streams, and more to send than the socket takes."""

    failure = None
    closing = paused = half_closed = False

    def __init__(self) -> None:
        self.open_streams = 2
        self.unsent = {1: 0, 3: 100_000}
        self.out = [bytes(LARGE)]

    def queued(self, stream_id: int) -> int:
        return self.unsent[stream_id]

    def data_to_send(self) -> bytes:
        return self.out.pop() if self.out else b""

    def send_data(self, stream_id: int, data: bytes, end_stream: bool) -> None: ...
    def resume(self) -> list[Event]:
        return []


class Source:
    """As much of a connection and its codec as gets a window back."""

    def __init__(self) -> None:
        self.codec = self
        self.consumed_bytes = 0

    def consumed(self, stream_id: int, size: int) -> None:
        self.consumed_bytes += size

    def touch(self) -> None: ...


@pytest.mark.stand_in
async def test_streams_of_a_full_tunnel_go_on_one_by_one(pair: Pair) -> None:
    """One whose bytes are under way gets its window back although the socket is full with the others': waiting until
    it is empty would stop them all, and start them all, together."""
    ours, theirs = pair
    async with running_reactor() as (reactor, _):
        codec, sources = Busy(), {1: Source(), 3: Source()}
        conn = ClientConnection(reactor, ours, codec)  # type: ignore[arg-type]
        for stream_id, source in sources.items():
            conn.relay(stream_id, bytes(100), False, Relay(source, stream_id))  # type: ignore[arg-type]
        reactor.flush()
        assert conn.unsent > 0
        assert (sources[1].consumed_bytes, sources[3].consumed_bytes) == (100, 0)
        codec.unsent[3] = 0
        await read_exactly(theirs, LARGE)
        await wait_until(lambda: sources[3].consumed_bytes == 100)
        conn.abort()
        reactor.flush()
