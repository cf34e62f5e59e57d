"""Header fields that a gateway writes, strips and passes on. Pure.

`isthmus-*` fields are ours: they are believed only from a validated peer and stripped from anyone else. `forwarded`
(RFC 7239) and `via` (RFC 9110 section 7.6.3) are appended to.
"""

from __future__ import annotations

import random
from collections.abc import Iterable
from typing import Final

from discovery.model import Locality
from gateway.codec.events import Header, ResponseHead

OURS: Final = frozenset({b"isthmus-", b"isthmus_"})
"""How the names of our fields begin, in 8 bytes. With an underscore too: to CGI and its heirs both spellings are one
variable (RFC 3875 section 4.1.18)."""
SOURCE: Final = b"isthmus-source"
ATTEMPT: Final = b"isthmus-attempt"
REASON: Final = b"isthmus-reason"
EXPECT: Final = b"expect"
GRPC_TIMEOUT: Final = b"grpc-timeout"
TRACEPARENT: Final = b"traceparent"

NO_HEALTHY_UPSTREAM: Final = b"no-healthy-upstream"
HEADER_LIMIT: Final = "header-limit"


def begin_trace(headers: list[Header], rng: random.Random) -> None:
    """Gives a request that is part of no trace one of its own, by which what the gateways and the endpoint say of it
    can be put together (W3C Trace Context). It is not marked as sampled: a gateway records no spans."""
    if not find(headers, TRACEPARENT):
        ids = rng.randbytes(24).hex()
        headers.append((TRACEPARENT, f"00-{ids[:32]}-{ids[32:]}-00".encode()))


def source_value(cluster: str, locality: Locality, identity: str) -> bytes:
    """`isthmus-source`: who calls, as a structured dictionary (RFC 8941 section 3.2)."""
    return (f'cluster="{cluster}", region="{locality.region}", zone="{locality.zone}", identity="{identity}"').encode()


def forwarded_element(client: bytes, authority: bytes, scheme: bytes) -> bytes:
    """One hop of `forwarded` (RFC 7239 section 4). `client` is its `for` pair."""
    # `in` would first take what is looked for as a number, and fail: ten times the work.
    if authority.find(b'"') >= 0 or authority.find(b"\\") >= 0:
        authority = authority.replace(b"\\", b"\\\\").replace(b'"', b'\\"')
    return b'%b;host="%b";proto=%b' % (client, authority, scheme or b"tcp")


class ForwardedFor:
    """What this hop adds to `forwarded` for the requests of one connection, nearly all of which name the same host.

    Args:
        client: the connection's `for` pair.
    """

    __slots__ = ("_authority", "_client", "_element", "_scheme")

    def __init__(self, client: bytes) -> None:
        self._client = client
        self._authority = self._scheme = b""
        self._element = b""

    def element(self, authority: bytes, scheme: bytes) -> bytes:
        if not self._element or authority != self._authority or scheme != self._scheme:
            self._authority, self._scheme = authority, scheme
            self._element = forwarded_element(self._client, authority, scheme)
        return self._element


def request_headers(
    headers: Iterable[Header], forwarded: bytes, via: bytes, ours: Iterable[Header], from_peer: bool
) -> list[Header]:
    """The fields of a request on its next hop: without what the sender may not say, with what we add."""
    passed: list[Header] = []
    for header in headers:
        name = header[0]
        if name == b"forwarded":
            forwarded = header[1] + b", " + forwarded
        elif name == b"via":
            via = header[1] + b", " + via
        elif name[:8] not in OURS or (from_peer and name == SOURCE):
            passed.append(header)
    passed.append((b"forwarded", forwarded))
    passed.append((b"via", via))
    passed.extend(ours)
    return passed


def without_ours(head: ResponseHead) -> ResponseHead:
    """A response as an endpoint sent it, without fields that only a gateway may set."""
    for header in head.headers:
        if header[0][:8] in OURS:
            return ResponseHead(head.status, [header for header in head.headers if header[0][:8] not in OURS])
    return head


def passed_trailers(headers: list[Header]) -> list[Header]:
    """Trailers on their way: nothing of ours is said there, and some who read them put them among the fields."""
    for header in headers:
        if header[0][:8] in OURS:
            return [header for header in headers if header[0][:8] not in OURS]
    return headers


def replaced(headers: Iterable[Header], wanted: bytes, value: bytes) -> list[Header]:
    """The fields with another value for one of them."""
    return [(name, value if name == wanted else old) for name, old in headers]


def find(headers: Iterable[Header], wanted: bytes) -> bytes:
    """The first value of a field, b"" if there is none."""
    for name, value in headers:
        if name == wanted:
            return value
    return b""
