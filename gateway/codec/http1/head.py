"""What an HTTP/1.1 message's head says, for the codec that frames what follows it."""

from __future__ import annotations

import msgspec

from gateway.codec.events import Header, RequestHead


class Fields(msgspec.Struct):
    """A head's fields, with those that belong to the connection set apart."""

    headers: list[Header]
    hosts: list[bytes] = []
    connection: frozenset[bytes] = frozenset()
    upgrade: bytes = b""
    transfer_encoding: bytes = b""
    content_length: int | None = None
    expect: bytes = b""


class RequestMessage(msgspec.Struct):
    """A head, and what it says about the bytes around it."""

    head: RequestHead
    minor: int
    keep_alive: bool
    chunked: bool
    length: int
    expects_continue: bool
    websocket_key: bytes
    """What a WebSocket's acceptance proves to have been understood, if it asks for one."""

    @property
    def is_tunnel(self) -> bool:
        """Whether the bytes that follow are not a message: CONNECT, or an upgrade that was asked for."""
        return self.head.method == b"CONNECT"

    @property
    def has_body(self) -> bool:
        return self.chunked or self.length > 0
