"""Opening connections: TCP and the TLS handshake, on non-blocking sockets of the standard library.

The request path reads `ssl.SSLSocket` directly (measured: far less CPU than a stream of layers), so the sockets are
made here rather than by trio's streams.
"""

from __future__ import annotations

import os
import socket
import ssl

import trio

from discovery.address import parse_host_port


async def resolve(address: str) -> list[tuple[socket.AddressFamily, tuple[str, int]]]:
    """Every socket address of "host:port", in the resolver's order. Raises OSError."""
    host, port = parse_host_port(address)
    found = await trio.socket.getaddrinfo(host, port, type=socket.SOCK_STREAM)
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
    except BaseException:
        tls.close()
        raise
