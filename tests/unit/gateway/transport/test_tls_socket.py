"""TLS between two buffers, against the standard library's own sockets: nothing waits unseen, nothing is lost."""

from __future__ import annotations

import random
import socket
import ssl
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import TypeVar

import pytest
import trustme

from gateway.transport.tls_socket import LEAST_ROOM_BYTES, TlsSocket

ROOM = memoryview(bytearray(LEAST_ROOM_BYTES))
T = TypeVar("T")
WAIT = (ssl.SSLWantReadError, ssl.SSLWantWriteError)


@pytest.fixture(scope="module")
def contexts() -> tuple[ssl.SSLContext, ssl.SSLContext]:
    """Client's and server's."""
    authority = trustme.CA()
    server = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    server.num_tickets = 0
    authority.issue_cert("gateway.test").configure_cert(server)
    client = ssl.create_default_context()
    authority.configure_trust(client)
    return client, server


class Pair:
    """Our server's side, not blocking, and a client of the standard library in a thread of its own."""

    def __init__(self, contexts: tuple[ssl.SSLContext, ssl.SSLContext], act: Callable[[ssl.SSLSocket], None]) -> None:
        ours, theirs = socket.socketpair()
        ours.setblocking(False)
        theirs.settimeout(10)
        self.sock = ours
        self.tls = TlsSocket(ours, contexts[1], server=True)
        self.failure: BaseException | None = None
        self._client, self._theirs, self._act = contexts[0], theirs, act
        self._thread = threading.Thread(target=self._run)

    def _run(self) -> None:
        try:
            with self._client.wrap_socket(self._theirs, server_hostname="gateway.test") as tls:
                self._act(tls)
        except BaseException as error:
            self.failure = error

    @contextmanager
    def running(self) -> Iterator[TlsSocket]:
        self._thread.start()
        try:
            attempt(self.tls.do_handshake)
            yield self.tls
        finally:
            self.tls.close()
            self._thread.join(10)
        assert self.failure is None


def attempt(step: Callable[[], T]) -> T:
    """Again until it does not have to wait. A test that waits for ever is ended by the peer's timeout."""
    while True:
        try:
            return step()
        except WAIT:
            pass


def read(tls: TlsSocket, size: int) -> bytes:
    received = b""
    while len(received) < size:
        count = attempt(lambda: tls.recv_into(ROOM))
        if not count:
            break
        received += ROOM[:count]
    return received


def test_what_comes_with_the_end_of_the_handshake(contexts: tuple[ssl.SSLContext, ssl.SSLContext]) -> None:
    """A client's first bytes may be read together with its last ones of the handshake: the socket says nothing of them
    any more."""
    heard = threading.Event()

    def act(tls: ssl.SSLSocket) -> None:
        tls.sendall(b"first")
        heard.wait(10)

    with Pair(contexts, act).running() as tls:
        assert read(tls, 5) == b"first"
        assert not tls.pending
        heard.set()


def test_every_byte_of_every_record(contexts: tuple[ssl.SSLContext, ssl.SSLContext]) -> None:
    """Records of all sizes, read in pieces that end anywhere in them."""
    rng = random.Random(5)
    chunks = [rng.randbytes(rng.choice([1, 2, 100, 16_383, 16_384, 16_385, 40_000])) for _ in range(300)]
    whole = b"".join(chunks)

    def act(tls: ssl.SSLSocket) -> None:
        for chunk in chunks:
            tls.sendall(chunk)

    with Pair(contexts, act).running() as tls:
        assert read(tls, len(whole) + 1) == whole
        assert tls.ended


def test_the_end_comes_after_what_was_said(contexts: tuple[ssl.SSLContext, ssl.SSLContext]) -> None:
    """Text and goodbye in one read: the text first, then the end, although the socket stays open and silent."""
    ready, done = threading.Event(), threading.Event()

    def act(tls: ssl.SSLSocket) -> None:
        tls.sendall(b"all")
        tls.settimeout(0.05)
        with pytest.raises((TimeoutError, ssl.SSLError)):
            tls.unwrap()
        ready.set()
        done.wait(10)

    with Pair(contexts, act).running() as tls:
        assert ready.wait(10)
        assert attempt(lambda: tls.recv_into(ROOM)) == 3
        assert tls.ended
        assert tls.recv_into(ROOM) == 0
        done.set()


def test_a_record_that_was_changed_is_an_error_after_the_good_ones(
    contexts: tuple[ssl.SSLContext, ssl.SSLContext],
) -> None:
    """What came before it is still worth having."""
    ready, done = threading.Event(), threading.Event()

    def act(tls: ssl.SSLSocket) -> None:
        tls.sendall(b"good")
        # Past TLS: a record of its shape that nobody can have sealed.
        with socket.socket(fileno=tls.fileno()) as raw:
            raw.sendall(b"\x17\x03\x03\x00\x20" + bytes(32))
            raw.detach()
        ready.set()
        done.wait(10)

    with Pair(contexts, act).running() as tls:
        assert ready.wait(10)
        assert read(tls, 4) == b"good"
        with pytest.raises(ssl.SSLError):
            attempt(lambda: tls.recv_into(ROOM))
        done.set()


def test_a_full_socket_is_offered_the_same_again(contexts: tuple[ssl.SSLContext, ssl.SSLContext]) -> None:
    """And what was taken once is not sent twice."""
    chunks = [bytes([i]) * 200_000 for i in range(20)]
    received = bytearray()
    go = threading.Event()

    def act(tls: ssl.SSLSocket) -> None:
        go.wait(10)
        while data := tls.recv(65_536):
            received.extend(data)

    with Pair(contexts, act).running() as tls:
        full = 0
        for chunk in chunks:
            while True:
                try:
                    assert tls.send(chunk) == len(chunk)
                    break
                except ssl.SSLWantWriteError:
                    full += 1
                    go.set()
        assert full
    assert bytes(received) == b"".join(chunks)


def test_one_direction_ends_and_the_other_goes_on(contexts: tuple[ssl.SSLContext, ssl.SSLContext]) -> None:
    """Our goodbye, while the peer is in the middle of speaking."""
    heard: list[bytes] = []

    def act(tls: ssl.SSLSocket) -> None:
        tls.sendall(bytes(300_000))
        heard.append(tls.recv(100))
        heard.append(tls.recv(100))
        tls.sendall(b"bye")

    with Pair(contexts, act).running() as tls:
        attempt(lambda: tls.send(b"that is all"))
        attempt(lambda: tls.shutdown(socket.SHUT_WR))
        assert read(tls, 300_003) == bytes(300_000) + b"bye"
    assert heard == [b"that is all", b""]
