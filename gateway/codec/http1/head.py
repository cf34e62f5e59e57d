"""What an HTTP/1.1 message's head says, for the codec that frames what follows it."""

from __future__ import annotations

from typing import Final

from gateway.codec.events import Header, RequestHead

_NONE: Final[frozenset[bytes]] = frozenset()


class Fields:
    """A head's fields, with those that belong to the connection set apart."""

    __slots__ = ("connection", "content_length", "expect", "headers", "hosts", "transfer_encoding", "upgrade")

    def __init__(self, headers: list[Header]) -> None:
        self.headers = headers
        self.hosts: list[bytes] = []
        self.connection = _NONE
        self.upgrade = b""
        self.transfer_encoding = b""
        self.content_length: int | None = None
        self.expect = b""


class RequestMessage:
    """A head, and what it says about the bytes around it."""

    __slots__ = ("chunked", "expects_continue", "head", "keep_alive", "length", "minor", "websocket_key")

    def __init__(
        self, head: RequestHead, minor: int, *, keep_alive: bool, chunked: bool, length: int, expects_continue: bool
    ) -> None:
        self.head = head
        self.minor = minor
        self.keep_alive = keep_alive
        self.chunked = chunked
        self.length = length
        self.expects_continue = expects_continue
        self.websocket_key = b""
        """What a WebSocket's acceptance proves to have been understood, if it asks for one."""

    @property
    def is_tunnel(self) -> bool:
        """Whether the bytes that follow are not a message: CONNECT, or an upgrade that was asked for."""
        return self.head.method == b"CONNECT"

    @property
    def has_body(self) -> bool:
        return self.chunked or self.length > 0
