"""Opening connections: TCP and the TLS handshake, on non-blocking sockets of the standard library.

The request path reads sockets directly (measured: far less CPU than a stream of layers), so they are made here rather
than by trio's streams.
"""

from __future__ import annotations

import os
import socket
import ssl
from collections.abc import Sequence
from contextlib import suppress

import trio

from gateway.codec.events import ErrorCode
from gateway.codec.http2.frames import goaway_frame
from gateway.transport.resolver import Place, Resolver
from gateway.transport.tls_socket import TlsSocket

# Of HTTP/2, to a peer whose certificate is valid and not let in: our SETTINGS, as every connection begins (RFC 9113
# section 3.4), and why it ends.
_EMPTY_SETTINGS = b"\x00\x00\x00\x04\x00\x00\x00\x00\x00"
# A client that is refused gets so long to hear why.
FAREWELL_S = 0.5


class NoAnswerInTime(OSError):
    """Nobody accepted or refused the connection."""


async def resolve(address: str) -> Sequence[Place]:
    """Every socket address of "host:port", as the system's resolver knows them. Raises OSError."""
    return (await Resolver().resolve(address)).places


async def dial(address: str) -> socket.socket:
    """A connected non-blocking TCP socket. Raises OSError with every address that was tried."""
    errors: list[str] = []
    for place in await resolve(address):
        try:
            return await connect(place)
        except OSError as error:
            errors.append(f"{place[1][0]}:{place[1][1]}: {error.strerror or error}")
    raise OSError("; ".join(errors) or f"{address} has no address")


async def connect(place: Place) -> socket.socket:
    """A connected non-blocking TCP socket. Raises OSError."""
    family, sockaddr = place
    sock = socket.socket(family, socket.SOCK_STREAM)
    try:
        sock.setblocking(False)
        sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        try:
            sock.connect(sockaddr)
        except BlockingIOError:
            await trio.lowlevel.wait_writable(sock)
            if error := sock.getsockopt(socket.SOL_SOCKET, socket.SO_ERROR):
                raise OSError(error, os.strerror(error)) from None
        return sock
    except BaseException:
        sock.close()
        raise


async def handshake(
    sock: socket.SocketType, context: ssl.SSLContext, *, server: bool, turns: trio.Lock | None = None
) -> TlsSocket:
    """Does a TLS handshake without blocking the event loop. Owns `sock` from now on. Raises OSError. `turns`: its
    steps, milliseconds of CPU each, take turns there, so that a hundred handshakes leave requests time between."""
    tls = TlsSocket(sock, context, server=server)
    try:
        await shake_hands(tls, turns)
        return tls
    except ssl.SSLError:
        try:
            await _see_off(tls)
        finally:
            tls.close()
        raise
    except BaseException:
        tls.close()
        raise


async def shake_hands(tls: TlsSocket, turns: trio.Lock | None = None) -> None:
    """All steps of a handshake, without blocking the event loop. Raises OSError, and leaves `tls` open."""
    while True:
        try:
            if turns is None:
                return tls.do_handshake()
            async with turns:
                return tls.do_handshake()
        except ssl.SSLWantReadError:
            await trio.lowlevel.wait_readable(tls.fileno())
        except ssl.SSLWantWriteError:
            await trio.lowlevel.wait_writable(tls.fileno())


async def send_away(tls: TlsSocket, reason: str) -> None:
    """Ends a connection whose handshake was done and whose peer is not let in, and tells it: TLS has no alert for that
    any more, HTTP/2 has a GOAWAY with `reason` as its debug data."""
    try:
        if tls.alpn == "h2":
            tls.send(_EMPTY_SETTINGS + goaway_frame(0, ErrorCode.INADEQUATE_SECURITY, reason.encode()))
        tls.shutdown(socket.SHUT_WR)
        await _see_off(tls)
    except OSError:
        pass  # It does not listen.
    finally:
        tls.close()


async def _see_off(tls: TlsSocket) -> None:
    """Lets the alert arrive that says why a handshake failed: closing a socket that holds unread bytes resets the
    connection, and a reset overtakes what was sent before it."""
    with trio.move_on_after(FAREWELL_S), suppress(OSError):
        while tls.discard():
            await trio.lowlevel.wait_readable(tls.fileno())
