"""What every codec can be told.

A codec belongs to one connection and does no I/O. Its driver calls `receive` with what it read, hands each event
on, then sends what `data_to_send` returns. Nothing that a peer sends makes a codec raise: a stream's fault is a
`Reset` event, a connection's fault sets `failure`, after which the driver sends what is left and closes. A limit that
costs the stream only is a `Refused` event.

Commands on a stream that is already gone (reset by the peer while the other side was still sending) do nothing:
the caller could not have known.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Final, Protocol, TypeAlias

import msgspec

from gateway.codec.events import Event, Header, RequestHead, ResponseHead

Lent: TypeAlias = bytes | memoryview
"""Bytes that are there for one call only: whoever keeps some of them makes bytes of its own."""


class CodecLimits(msgspec.Struct, frozen=True, kw_only=True):
    """Bounds on what one connection may make us hold. The defaults are what a gateway uses."""

    header_bytes: int = 65_536
    header_count: int = 128
    concurrent_streams: int = 1_000
    """HTTP/2: how many streams the peer may have open."""
    stream_window: int = 262_144
    """Bytes of one stream's body that may be on the way or held here before `consumed` gives them back."""
    connection_window: int = 16_777_216
    """HTTP/2: the same for the connection. Bytes held by slow streams do not count against it, so that one slow
    reader never stops the others; up to `widest_window`, where the whole connection waits for them."""
    widest_window: int = 67_108_864
    frame_bytes: int = 65_536
    """HTTP/2: the largest frame accepted."""


ALL_BYTES: Final = 65_536
"""See `Codec.data_to_send`."""

FLOOD: Final = "flood"
STREAM_LIMIT: Final = "stream-limit"
PROTOCOL: Final = "protocol-error"
MALFORMED: Final = "malformed-message"
SLOW_HEAD: Final = "slow-head"
NOT_HTTP: Final = "not-http"
"""Codes of a failure that is no answer of HTTP/1.1's, which has its own."""


class CodecFailure(msgspec.Struct):
    """Why a connection can't go on. `code` is bounded (it labels a metric, and docs/reference/reasons.md explains it),
    `detail` is for people."""

    code: str
    detail: str


class Codec(Protocol):
    """One connection's protocol engine, of either side. Client-only and server-only calls are marked."""

    @property
    def failure(self) -> CodecFailure | None:
        """Why the peer broke the protocol or a limit. Whatever is in `data_to_send` goes out first (GOAWAY, 400)."""
        ...

    @property
    def closing(self) -> bool:
        """Whether the connection shall be closed once `data_to_send` is empty: after a failure, after
        `connection: close`, after a GOAWAY when no stream is left."""
        ...

    @property
    def paused(self) -> bool:
        """Whether the driver shall not read: bytes that are not consumed fill the window (HTTP/1.1, TCP), or a
        pipelined request waits for its turn. HTTP/2 never pauses, its windows do the work."""
        ...

    @property
    def half_closed(self) -> bool:
        """Whether our sending side of the whole connection has ended and `data_to_send` gave everything: the driver
        then shuts the socket's sending side down. Raw bytes only: TCP, and an HTTP/1.1 connection that has become a
        tunnel. HTTP messages end inside the connection."""
        ...

    @property
    def mid_head(self) -> bool:
        """Server: whether a part of a request's head has come, and the rest has not. On HTTP/2 that is a part of any
        frame, or of a header block."""
        ...

    def expire_head(self) -> None:
        """Server: the rest of a head took too long (`mid_head`). Sets `failure`: the client is told in its protocol's
        words (408, GOAWAY), and the connection closes."""
        ...

    @property
    def open_streams(self) -> int: ...

    def receive(self, data: Lent) -> list[Event]:
        """Takes bytes from the peer. Returns the events in order, what came of one body as one `Data`. Never raises."""
        ...

    def receive_eof(self) -> list[Event]:
        """The peer closed its sending side. Unfinished streams give `Reset`; a TCP codec gives `Data(end_stream)`;
        an HTTP/1.1 response without a length ends."""
        ...

    def resume(self) -> list[Event]:
        """Events that became possible since the last call without new bytes: a pipelined request whose turn has come,
        perhaps inside the very `receive` that brought it, when its predecessor was answered at once. The driver calls
        it after every flush until it gives nothing; for nothing it costs next to nothing."""
        ...

    def data_to_send(self) -> bytes:
        """Bytes for the transport, at most about 256 KiB at a call, b"" when there are none. Less than `ALL_BYTES` are
        all that there are. What the peer's windows do not let through stays queued inside."""
        ...

    def send_request(self, head: RequestHead, end_stream: bool) -> int:
        """Client: begins a request, returns its stream. Only when `can_open`."""
        ...

    @property
    def can_open(self) -> bool:
        """Client: whether a request may begin now (the peer's concurrency limit, GOAWAY, HTTP/1.1's one at a time)."""
        ...

    def send_informational(self, stream_id: int, head: ResponseHead) -> None:
        """Server: a 1xx response."""
        ...

    def send_response(self, stream_id: int, head: ResponseHead, end_stream: bool) -> None:
        """Server: the final response's head."""
        ...

    def send_data(self, stream_id: int, data: bytes, end_stream: bool) -> None: ...

    def send_trailers(self, stream_id: int, headers: Sequence[Header]) -> None:
        """Trailer fields; ends our side of the stream."""
        ...

    def reset(self, stream_id: int, code: int) -> None:
        """Gives a stream up. On HTTP/1.1 and TCP that ends the connection; no event follows for the stream."""
        ...

    def consumed(self, stream_id: int, size: int) -> None:
        """`size` bytes of this stream's `Data` went on to where they belong: the peer may send as many more."""
        ...

    def queued(self, stream_id: int) -> int:
        """Body bytes of this stream that were given to `send_data` and not yet handed out by `data_to_send`."""
        ...

    def ping(self, payload: bytes) -> bool:
        """Sends a liveness probe of 8 bytes; `PingAck` answers. False where the protocol has none."""
        ...

    def drain(self) -> None:
        """No new streams from the peer: HTTP/2 sends the first GOAWAY (RFC 9113 section 6.8), HTTP/1.1 answers
        with `connection: close` from now on."""
        ...

    def drained(self) -> None:
        """HTTP/2: the second GOAWAY, with the last stream taken; the connection closes when its streams have ended."""
        ...
