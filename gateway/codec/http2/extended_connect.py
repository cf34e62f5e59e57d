"""Upgrades as HTTP/2 says them (RFC 8441), and what gateways say to each other beside:

what is meant            | HTTP/1.1                | HTTP/2
------------------------ | ----------------------- | -----------------------------------------------------
a request for one        | `upgrade: foo`          | an extended CONNECT with `:protocol: foo`
for one of several       | `upgrade: foo, bar`     | beside it, `isthmus-upgrade: foo, bar`
its method               | in its first line       | beside it, `isthmus-method: POST`
it is accepted           | 101 and `upgrade: bar`  | 200, and `isthmus-upgrade: bar` where there was a choice
an ordinary answer       | 200                     | 501 and `isthmus-status: 200`, as every 2xx would accept
any other answer         | 404                     | 404

Whoever does not know our fields gets what RFC 8441 lets him expect: 501 is what its servers say to a protocol that they
don't speak. Our fields give nobody anything that HTTP/1.1 would not give him, so they are taken from every client.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Final

from gateway.codec.events import Header, RequestHead, ResponseHead
from gateway.codec.headers import find
from gateway.codec.upgrade import ACCEPTED, may_ask, parse_protocols, write_protocols
from gateway.codec.websocket import WEBSOCKET

UPGRADE: Final = b"isthmus-upgrade"
METHOD: Final = b"isthmus-method"
STATUS: Final = b"isthmus-status"

ENABLE_CONNECT_PROTOCOL: Final = 0x8
"""RFC 8441 section 3."""
TAKES_UPGRADES: Final = 0xF1A8
"""A setting of ours, of those that RFC 9113 section 11.3 leaves to experiments: the server takes any upgrade, and our
fields with it. Gateways from before this one made a WebSocket of each extended CONNECT."""

_NOT_IMPLEMENTED: Final = 501
# Those whose own RFCs say what their upgrade is called in HTTP/2 (RFC 8441, RFC 9298, RFC 9484). Any other would be
# refused where it is not known, instead of being ignored as in HTTP/1.1.
_KNOWN: Final = frozenset({WEBSOCKET, b"connect-udp", b"connect-ip"})


class ServerTerms:
    """Which extended CONNECTs a server takes, as its SETTINGS say."""

    def __init__(self) -> None:
        self._known = False
        self._connects = False
        self._upgrades = False

    def learn(self, settings: Mapping[int, int]) -> None:
        self._known = True
        self._connects = settings.get(ENABLE_CONNECT_PROTOCOL, int(self._connects)) == 1
        self._upgrades = settings.get(TAKES_UPGRADES, int(self._upgrades)) == 1

    def write(self, head: RequestHead) -> RequestHead:
        """How a request for an upgrade is put to this server: as an extended CONNECT, or without the upgrade."""
        if self._upgrades:
            return _with_fields(head)
        first = head.protocol.split(b", ")[0]
        # A new connection's first request is not kept waiting for the server's SETTINGS.
        if (not head.upgrade_method or first in _KNOWN) and (self._connects or not self._known):
            return RequestHead(head.method, head.scheme, head.authority, head.path, head.headers, first)
        return RequestHead(head.upgrade_method or b"GET", head.scheme, head.authority, head.path, head.headers)


def _with_fields(head: RequestHead) -> RequestHead:
    """The extended CONNECT that a gateway understands."""
    headers = [header for header in head.headers if header[0] not in (UPGRADE, METHOD)]
    if head.upgrade_method:
        headers.append((METHOD, head.upgrade_method))
    first, several, _ = head.protocol.partition(b", ")
    if several:
        headers.append((UPGRADE, head.protocol))
    return RequestHead(head.method, head.scheme, head.authority, head.path, headers, first)


def read_request(head: RequestHead) -> bool:
    """Takes in what comes with an extended CONNECT. False if it can't be meant."""
    offered, method = find(head.headers, UPGRADE), find(head.headers, METHOD)
    protocols = parse_protocols(offered or head.protocol)
    if parse_protocols(head.protocol) != protocols[:1] or not may_ask(method or b"GET", head.path, protocols):
        return False
    if not protocols:
        return False
    head.protocol, head.upgrade_method = write_protocols(protocols), method
    head.headers = _without(head.headers, UPGRADE, METHOD)
    return True


def write_answer(head: ResponseHead) -> ResponseHead:
    """A server's final answer to an extended CONNECT."""
    if head.status == ACCEPTED:
        chosen = find(head.headers, b"upgrade")
        headers = _without(head.headers, b"upgrade", b"content-length")
        return ResponseHead(200, [*headers, (UPGRADE, chosen)] if chosen else headers)
    if 200 <= head.status < 300:
        return ResponseHead(_NOT_IMPLEMENTED, [*head.headers, (STATUS, b"%d" % head.status)])
    return head


def read_answer(head: ResponseHead) -> ResponseHead:
    """The same as a client reads it."""
    if 200 <= head.status < 300:
        chosen = find(head.headers, UPGRADE)
        headers = _without(head.headers, UPGRADE)
        return ResponseHead(ACCEPTED, [*headers, (b"upgrade", chosen)] if chosen else headers)
    said = find(head.headers, STATUS)
    if head.status == _NOT_IMPLEMENTED and len(said) == 3 and said.isdigit() and said[:1] == b"2":
        return ResponseHead(int(said), _without(head.headers, STATUS))
    return head


def _without(headers: list[Header], *names: bytes) -> list[Header]:
    return [header for header in headers if header[0] not in names]
