"""What every codec can be told.

A codec belongs to one connection and does no I/O. Its driver calls `receive` with what it read, hands each event
on, then sends what `data_to_send` returns. Nothing that a peer sends makes a codec raise: a stream's fault is a
`Reset` event, a connection's fault sets `failure`, after which the driver sends what is left and closes. A limit that
costs the stream only is a `Refused` event.

Commands on a stream that is already gone (reset by the peer while the other side was still sending) do nothing:
the caller could not have known.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Sequence

from mypy_extensions import mypyc_attr

from gateway.codec.events import Event, Header, RequestHead, ResponseHead
from gateway.codec.limits import CodecFailure, Lent


@mypyc_attr(allow_interpreted_subclasses=True)
class Codec(ABC):
    """One connection's protocol engine, of either side. Client-only and server-only calls are marked."""

    @property
    @abstractmethod
    def failure(self) -> CodecFailure | None:
        """Why the peer broke the protocol or a limit. Whatever is in `data_to_send` goes out first (GOAWAY, 400)."""

    @property
    @abstractmethod
    def closing(self) -> bool:
        """Whether the connection shall be closed once `data_to_send` is empty: after a failure, after
        `connection: close`, after a GOAWAY when no stream is left."""

    @property
    @abstractmethod
    def paused(self) -> bool:
        """Whether the driver shall not read: bytes that are not consumed fill the window (HTTP/1.1, TCP), or a
        pipelined request waits for its turn. HTTP/2 never pauses, its windows do the work."""

    @property
    @abstractmethod
    def half_closed(self) -> bool:
        """Whether our sending side of the whole connection has ended and `data_to_send` gave everything: the driver
        then shuts the socket's sending side down. Raw bytes only: TCP, and an HTTP/1.1 connection that has become a
        tunnel. HTTP messages end inside the connection."""

    @property
    @abstractmethod
    def mid_head(self) -> bool:
        """Server: whether a part of a request's head has come, and the rest has not. On HTTP/2 that is a part of any
        frame, or of a header block."""

    @abstractmethod
    def expire_head(self) -> None:
        """Server: the rest of a head took too long (`mid_head`). Sets `failure`: the client is told in its protocol's
        words (408, GOAWAY), and the connection closes."""

    @property
    @abstractmethod
    def open_streams(self) -> int: ...

    @abstractmethod
    def receive(self, data: Lent) -> list[Event]:
        """Takes bytes from the peer. Returns the events in order, what came of one body as one `Data`. Never raises."""

    @abstractmethod
    def receive_eof(self) -> list[Event]:
        """The peer closed its sending side. Unfinished streams give `Reset`; a TCP codec gives `Data(end_stream)`;
        an HTTP/1.1 response without a length ends."""

    @abstractmethod
    def resume(self) -> list[Event]:
        """Events that became possible since the last call without new bytes: a pipelined request whose turn has come,
        perhaps inside the very `receive` that brought it, when its predecessor was answered at once. The driver calls
        it after every flush until it gives nothing; for nothing it costs next to nothing."""

    @abstractmethod
    def data_to_send(self) -> bytes:
        """Bytes for the transport, at most about 256 KiB at a call, b"" when there are none. Less than `ALL_BYTES` are
        all that there are. What the peer's windows do not let through stays queued inside."""

    @abstractmethod
    def send_request(self, head: RequestHead, end_stream: bool) -> int:
        """Client: begins a request, returns its stream. Only when `can_open`."""

    @property
    @abstractmethod
    def can_open(self) -> bool:
        """Client: whether a request may begin now (the peer's concurrency limit, GOAWAY, HTTP/1.1's one at a time)."""

    @abstractmethod
    def send_informational(self, stream_id: int, head: ResponseHead) -> None:
        """Server: a 1xx response."""

    @abstractmethod
    def send_response(self, stream_id: int, head: ResponseHead, end_stream: bool) -> None:
        """Server: the final response's head."""

    @abstractmethod
    def send_data(self, stream_id: int, data: bytes, end_stream: bool) -> None: ...

    @abstractmethod
    def send_trailers(self, stream_id: int, headers: Sequence[Header]) -> None:
        """Trailer fields; ends our side of the stream."""

    @abstractmethod
    def reset(self, stream_id: int, code: int) -> None:
        """Gives a stream up. On HTTP/1.1 and TCP that ends the connection; no event follows for the stream."""

    @abstractmethod
    def consumed(self, stream_id: int, size: int) -> None:
        """`size` bytes of this stream's `Data` went on to where they belong: the peer may send as many more."""

    @abstractmethod
    def queued(self, stream_id: int) -> int:
        """Body bytes of this stream that were given to `send_data` and not yet handed out by `data_to_send`."""

    @abstractmethod
    def ping(self, payload: bytes) -> bool:
        """Sends a liveness probe of 8 bytes; `PingAck` answers. False where the protocol has none."""

    @abstractmethod
    def drain(self) -> None:
        """No new streams from the peer: HTTP/2 sends the first GOAWAY (RFC 9113 section 6.8), HTTP/1.1 answers
        with `connection: close` from now on."""

    @abstractmethod
    def drained(self) -> None:
        """HTTP/2: the second GOAWAY, with the last stream taken; the connection closes when its streams have ended."""


class TunnelCodec(Codec):
    """Of a connection that many requests share."""

    output_bytes: int
    """What `data_to_send` gives at most at one call, about: 16 KiB to 256 KiB, which it is at first. What was given
    can't be overtaken any more. Less than a quarter of it are all bytes that there are."""
