"""Upgrades of HTTP/1.1 to another protocol (RFC 9110 section 7.8), whatever version of HTTP asks for them.

To the request path a request that asks for one is a CONNECT with a `protocol`. An answer with status 101 accepts it,
and bytes of that protocol follow both ways; any other answer is an ordinary one, and the request has no more to say.
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from typing import Final

from gateway.codec.events import RequestHead
from gateway.codec.websocket import WEBSOCKET

ACCEPTED: Final = 101

# Between two neighbours, not ends: what speaks another HTTP or TLS is this connection and not what is asked through it
# (RFC 9113 section 3.1 for h2c, RFC 2817 for TLS).
_OF_THE_CONNECTION: Final = frozenset({b"h2c", b"h2", b"h3", b"http", b"tls"})

_PROTOCOL: Final = re.compile(rb"[!#$%&'*+\-.^_`|~0-9A-Za-z]+(?:/[!#$%&'*+\-.^_`|~0-9A-Za-z]+)?")
_METHOD: Final = re.compile(rb"[A-Z][A-Z\-]*")


def parse_protocols(value: bytes) -> tuple[bytes, ...]:
    """What an `upgrade` field offers and can be passed on, the most wanted first. Nothing if the field is malformed: it
    may be ignored.

    >>> parse_protocols(b"SPDY/3.1, h2c,, WebSocket")
    (b'SPDY/3.1', b'websocket')
    """
    found: list[bytes] = []
    for item in value.split(b","):
        protocol = item.strip(b" \t")
        if not protocol:
            continue
        if not _PROTOCOL.fullmatch(protocol):
            return ()
        name = protocol.lower()
        if name.split(b"/")[0] not in _OF_THE_CONNECTION:
            found.append(name if name == WEBSOCKET else protocol)
    return tuple(found)


def write_protocols(protocols: Sequence[bytes]) -> bytes:
    return b", ".join(protocols)


def same_protocol(offered: bytes, chosen: bytes) -> bytes:
    """How the one that was chosen was written where it was offered, as their case does not matter; b"" if it was not
    offered. Both are as `write_protocols` makes them.

    >>> same_protocol(b"foo, SPDY/3.1", b"spdy/3.1")
    b'SPDY/3.1'
    """
    chosen = chosen.lower()
    return next((protocol for protocol in offered.split(b", ") if protocol.lower() == chosen), b"")


def may_ask(method: bytes, path: bytes, protocols: Sequence[bytes]) -> bool:
    """Whether such a request can become another protocol: an answer to HEAD is never followed by bytes, and a WebSocket
    is asked for with GET (RFC 6455 section 4.1)."""
    return (
        path != b"*"
        and _METHOD.fullmatch(method) is not None
        and method not in (b"HEAD", b"CONNECT")
        and (method == b"GET" or WEBSOCKET not in protocols)
    )


def opens_tunnel(request: RequestHead, status: int) -> bool:
    """Whether this answer to a CONNECT, plain or for an upgrade, lets bytes through."""
    return status == ACCEPTED if request.protocol else 200 <= status < 300
