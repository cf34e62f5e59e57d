"""Opening connections: TCP and the TLS handshake, on non-blocking sockets of the standard library.

The request path reads `ssl.SSLSocket` directly (measured: far less CPU than a stream of layers), so the sockets are
made here rather than by trio's streams.
"""

from __future__ import annotations

import os
import socket
import ssl
from contextlib import suppress

import trio

from discovery.address import parse_host_port

# A client that is refused gets so long to hear why.
FAREWELL_S = 0.5
_READ_BYTES = 65_536
_SHOWN = 64


async def resolve(address: str) -> list[tuple[socket.AddressFamily, tuple[str, int]]]:
    """Every socket address of "host:port", in the resolver's order. Raises OSError, also for what is no address:
    it may be what a peer advertises."""
    try:
        host, port = parse_host_port(address)
        found = await trio.socket.getaddrinfo(host, port, type=socket.SOCK_STREAM)
    except ValueError as error:
        raise OSError(f"{address[:_SHOWN]!r} {error}") from error
    return [(family, sockaddr[:2]) for family, _, _, _, sockaddr in found]  # type: ignore[misc]


async def dial(address: str) -> socket.socket:
    """A connected non-blocking TCP socket. Raises OSError with every address that was tried."""
    errors: list[str] = []
    for family, sockaddr in await resolve(address):
        try:
            return await _connect(family, sockaddr)
        except OSError as error:
            errors.append(f"{sockaddr[0]}:{sockaddr[1]}: {error.strerror or error}")
    raise OSError("; ".join(errors) or f"{address} has no address")


async def _connect(family: socket.AddressFamily, sockaddr: tuple[str, int]) -> socket.socket:
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


async def handshake(sock: socket.socket, context: ssl.SSLContext, *, server: bool) -> ssl.SSLSocket:
    """Does a TLS handshake without blocking the event loop. Owns `sock` from now on. Raises OSError."""
    tls = context.wrap_socket(
        sock, server_side=server, do_handshake_on_connect=False, suppress_ragged_eofs=True, server_hostname=None
    )
    try:
        while True:
            try:
                tls.do_handshake()
                return tls
            except ssl.SSLWantReadError:
                await trio.lowlevel.wait_readable(tls)
            except ssl.SSLWantWriteError:
                await trio.lowlevel.wait_writable(tls)
    except ssl.SSLError:
        try:
            await _see_off(tls)
        finally:
            tls.close()
        raise
    except BaseException:
        tls.close()
        raise


async def _see_off(tls: ssl.SSLSocket) -> None:
    """Lets the alert arrive that says why a handshake failed: closing a socket that holds unread bytes resets the
    connection, and a reset overtakes what was sent before it."""
    with trio.move_on_after(FAREWELL_S), suppress(OSError):
        # Ends TLS on this socket: from here on it is read as it is, and what comes is thrown away.
        tls.shutdown(socket.SHUT_WR)
        while True:
            await trio.lowlevel.wait_readable(tls)
            if not tls.recv(_READ_BYTES):
                return
