"""DNS on the wire: UDP and TCP drivers around a `Responder`.

Sockets come in bound, because the controller opens them and several worker processes share them.
"""

from __future__ import annotations

import errno
import socket
import struct
import sys
from collections import OrderedDict
from collections.abc import Callable
from functools import partial
from typing import Protocol, TypeAlias

import trio

from discovery.dns_message import DnsCounters

UDP_BATCH = 256
"""Packets answered in a row before other tasks get their turn."""
TCP_CONNECTIONS = 512
TCP_IDLE_S = 10.0
"""RFC 7766 section 6.2.3 asks for seconds. Counted from the last whole query, so that neither trickling bytes nor
leaving answers unread prolongs it."""

_UDP_QUERY_BYTES = 4096
_TCP_READ_BYTES = 4096
_LENGTH = struct.Struct("!H")
# What a datagram socket reports about earlier sends (ICMP errors), or for want of memory.
_PASSING_ERRORS = frozenset(
    {
        errno.ECONNREFUSED,
        errno.ECONNRESET,
        errno.EHOSTUNREACH,
        errno.ENETUNREACH,
        errno.EHOSTDOWN,
        errno.ENETDOWN,
        errno.EMSGSIZE,
        errno.ENOBUFS,
        errno.ENOMEM,
    }
)

_Ancillary: TypeAlias = list[tuple[int, int, bytes]]
_IP_PKTINFO = 8
"""Linux's number; the socket module of Python 3.11 has no name for it."""
_IN_PKTINFO = struct.Struct("=i4s4s")
"""ip(7): interface, local address, destination in the header."""
_ANCILLARY_BYTES = 128


class Answers(Protocol):
    """Wire in, wire out, as `dns_message.Responder` does it."""

    counters: DnsCounters

    def respond(self, wire: bytes, *, udp: bool) -> bytes | None: ...


async def serve_udp(sock: socket.socket, responder: Answers) -> None:
    """Answers datagrams on a bound socket until cancelled. A socket that is unusable (closed) raises OSError or
    trio.ClosedResourceError."""
    answer = udp_turn(sock, responder)
    while True:
        await trio.lowlevel.wait_readable(sock)
        if answer():
            # More is waiting: wait_readable has a checkpoint, but others may have been ready before us.
            await trio.lowlevel.checkpoint()


def udp_turn(sock: socket.socket, responder: Answers) -> Callable[[], bool]:
    """Prepares a bound socket. What is returned answers the packets that wait on it, at most `UDP_BATCH`, and says
    whether there may be more: to be called whenever the socket is readable.

    Bad packets, ICMP errors and a full send buffer cost at most the one answer: UDP's clients ask again. A socket
    that is unusable (closed) raises OSError.
    """
    sock.setblocking(False)
    return partial(_pinned_turn if _is_wildcard(sock) else _turn, sock, responder)


def _turn(sock: socket.socket, responder: Answers) -> bool:
    """Answers what waits, at most `UDP_BATCH` packets. Returns whether more may be waiting."""
    receive, send, respond = sock.recvfrom, sock.sendto, responder.respond
    for _ in range(UDP_BATCH):
        try:
            wire, client = receive(_UDP_QUERY_BYTES)
        except BlockingIOError:
            return False
        except OSError as error:
            if error.errno not in _PASSING_ERRORS:
                raise
            continue
        answer = respond(wire, udp=True)
        if answer is None:
            continue
        try:
            send(answer, client)
        except OSError:
            responder.counters.unsent += 1
    return True


def _is_wildcard(sock: socket.socket) -> bool:
    """Whether the socket takes packets for every address of the host. Then the kernel would choose the answer's
    source by route, and a client that asked another address of ours would not accept it: packets have to say where
    they were sent to."""
    if sys.platform != "linux" or sock.getsockname()[0] not in ("0.0.0.0", "::"):  # noqa: S104
        return False
    if sock.family == socket.AF_INET6:
        sock.setsockopt(socket.IPPROTO_IPV6, socket.IPV6_RECVPKTINFO, 1)
    else:
        sock.setsockopt(socket.IPPROTO_IP, _IP_PKTINFO, 1)
    return True


def _pinned_turn(sock: socket.socket, responder: Answers) -> bool:
    """As `_turn`, each answer leaving from the address that its query was sent to."""
    for _ in range(UDP_BATCH):
        try:
            wire, ancillary, _flags, client = sock.recvmsg(_UDP_QUERY_BYTES, _ANCILLARY_BYTES)
        except BlockingIOError:
            return False
        except OSError as error:
            if error.errno not in _PASSING_ERRORS:
                raise
            continue
        answer = responder.respond(wire, udp=True)
        if answer is None:
            continue
        try:
            sock.sendmsg([answer], _source(ancillary), 0, client)
        except OSError:
            responder.counters.unsent += 1
    return True


def _source(ancillary: _Ancillary) -> _Ancillary:
    """What to send along so that an answer leaves from where its query came in."""
    for level, kind, data in ancillary:
        if level == socket.IPPROTO_IP and kind == _IP_PKTINFO:
            _, local, destination = _IN_PKTINFO.unpack(data)
            # A packet that came before the socket was told to note such things has a destination only. Interface 0:
            # the route back need not be the way it came.
            return [(level, kind, _IN_PKTINFO.pack(0, local if any(local) else destination, bytes(4)))]
        if level == socket.IPPROTO_IPV6 and kind == socket.IPV6_PKTINFO:
            return [(level, kind, data)]
    return []


async def serve_tcp(
    listener: socket.socket,
    responder: Answers,
    *,
    connections: int = TCP_CONNECTIONS,
    idle_s: float = TCP_IDLE_S,
) -> None:
    """Answers queries on the connections of a bound, listening socket until cancelled (RFC 7766).

    When `connections` are open, the one that has been quiet for longest makes room for a new one, so that nobody
    locks others out by holding connections.
    """
    listener.setblocking(False)
    open_scopes: OrderedDict[trio.CancelScope, None] = OrderedDict()

    async def handle(stream: trio.SocketStream) -> None:
        with trio.CancelScope(deadline=trio.current_time() + idle_s) as scope:
            if len(open_scopes) >= connections:
                open_scopes.popitem(last=False)[0].cancel()
            open_scopes[scope] = None

            def active() -> None:
                scope.deadline = trio.current_time() + idle_s
                if scope in open_scopes:
                    open_scopes.move_to_end(scope)

            try:
                await _converse(stream, responder, active)
            except (trio.BrokenResourceError, trio.ClosedResourceError):
                pass  # The client went away.
            finally:
                open_scopes.pop(scope, None)

    await trio.serve_listeners(handle, [trio.SocketListener(trio.socket.from_stdlib_socket(listener))])


async def _converse(stream: trio.SocketStream, responder: Answers, active: Callable[[], None]) -> None:
    """Reads queries, each behind its length, and answers all that a read brought with one send."""
    waiting = bytearray()
    while chunk := await stream.receive_some(_TCP_READ_BYTES):
        waiting += chunk
        answers = [responder.respond(query, udp=False) for query in _take_messages(waiting)]
        data = b"".join(_LENGTH.pack(len(answer)) + answer for answer in answers if answer)
        if data:
            active()
            await stream.send_all(data)


def _take_messages(waiting: bytearray) -> list[bytes]:
    """Cuts whole messages off the front of `waiting`."""
    messages, start = [], 0
    while len(waiting) - start >= _LENGTH.size:
        end = start + _LENGTH.size + _LENGTH.unpack_from(waiting, start)[0]
        if end > len(waiting):
            break
        messages.append(bytes(waiting[start + _LENGTH.size : end]))
        start = end
    del waiting[:start]
    return messages
