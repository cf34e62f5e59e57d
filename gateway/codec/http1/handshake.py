"""How HTTP/1.1 asks for an upgrade and accepts one (RFC 9110 section 7.8), a server's part and a client's."""

from __future__ import annotations

import random
from typing import Final

from gateway.codec.events import RequestHead, ResponseHead
from gateway.codec.headers import find
from gateway.codec.http1.head import Fields, RequestMessage
from gateway.codec.http1.message import BODY_EXPECTED, Fault, status_and_reason, write_fields
from gateway.codec.upgrade import ACCEPTED, may_ask, parse_protocols, same_protocol, write_protocols
from gateway.codec.websocket import ACCEPT_FIELD, KEY_FIELD, WEBSOCKET, accept_for, is_key, new_key

# Neither a request for an upgrade nor what accepts it has a body: one would be looked for among the tunnel's bytes.
_OF_BODIES: Final = (b"content-length", b"expect", b"te")


def take_upgrade(message: RequestMessage, value: bytes) -> None:
    """A request whose `upgrade` field is `value` becomes what HTTP/2 says as an extended CONNECT (RFC 8441 section 5),
    if it asks for anything that can be passed on. One with a body, or of HTTP/1.0, stays what it is: a server may
    ignore an upgrade. Raises `Fault`."""
    head = message.head
    protocols = parse_protocols(value)
    if not protocols or message.minor == 0 or message.has_body or not may_ask(head.method, head.path, protocols):
        return
    if WEBSOCKET in protocols:
        keys = [value for name, value in head.headers if name == KEY_FIELD]
        if len(keys) != 1 or not is_key(keys[0]):
            raise Fault(400, "malformed-upgrade", "a websocket upgrade needs one sec-websocket-key of 16 bytes")
        message.websocket_key = keys[0]
        head.headers = [header for header in head.headers if header[0] != KEY_FIELD]
    head.upgrade_method = head.method
    head.method = b"CONNECT"
    head.protocol = write_protocols(protocols)
    head.headers = [header for header in head.headers if header[0] != b"content-length"]


def write_acceptance(message: RequestMessage, head: ResponseHead) -> bytes:
    """The head that opens a tunnel to a client; b"" if the next hop says that it speaks what the client did not ask
    for."""
    dropped = (b"content-length", b"upgrade", ACCEPT_FIELD)
    fields = write_fields([header for header in head.headers if header[0] not in dropped])
    offered = message.head.protocol
    if not offered:
        return b"HTTP/1.1 %b\r\n%b\r\n" % (status_and_reason(head.status), fields)
    # Where one was offered there was no need to say which.
    chosen = same_protocol(offered, find(head.headers, b"upgrade") or offered.split(b", ")[0])
    if not chosen:
        return b""
    if chosen == WEBSOCKET:
        fields = b"%b: %b\r\n%b" % (ACCEPT_FIELD, accept_for(message.websocket_key), fields)
    return b"HTTP/1.1 101 Switching Protocols\r\nconnection: upgrade\r\nupgrade: %b\r\n%b\r\n" % (chosen, fields)


class Handshake:
    """One upgrade that a client asks for. `rng` makes the WebSocket's key."""

    def __init__(self, head: RequestHead, rng: random.Random) -> None:
        self._head = head
        self._key = new_key(rng) if WEBSOCKET in head.protocol.split(b", ") else b""

    def write_request(self) -> bytes:
        head = self._head
        method = head.upgrade_method or b"GET"
        fields = write_fields([header for header in head.headers if header[0] not in _OF_BODIES])
        extra = b"connection: upgrade\r\nupgrade: %b\r\n" % head.protocol
        if self._key:
            extra += b"%b: %b\r\n" % (KEY_FIELD, self._key)
        if method in BODY_EXPECTED:
            extra += b"content-length: 0\r\n"
        return b"%b %b HTTP/1.1\r\nhost: %b\r\n%b%b\r\n" % (method, head.path, head.authority, fields, extra)

    def read_acceptance(self, fields: Fields) -> ResponseHead:
        """The answer 101, which names what was chosen if there was a choice. Raises `Fault` if it accepts anything else
        than what was asked for."""
        chosen = same_protocol(self._head.protocol, fields.upgrade)
        if not chosen:
            raise Fault(502, "malformed-upgrade", "the server upgraded to what nobody asked for")
        headers = [header for header in fields.headers if header[0] not in _OF_BODIES]
        if chosen == WEBSOCKET:
            accepts = [value for name, value in headers if name == ACCEPT_FIELD]
            if accepts != [accept_for(self._key)]:
                raise Fault(502, "malformed-upgrade", "the server's answer does not prove a websocket")
            headers = [header for header in headers if header[0] != ACCEPT_FIELD]
        if chosen != self._head.protocol:
            headers.append((b"upgrade", chosen))
        return ResponseHead(ACCEPTED, headers)
