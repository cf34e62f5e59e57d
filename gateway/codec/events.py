"""What a codec says: the same events, whatever the protocol below.

Header names are lower-case bytes. Connection-specific fields (RFC 9110 section 7.6.1: `connection` and what it
names, `keep-alive`, `proxy-connection`, `te` other than `trailers`, `transfer-encoding`, `upgrade`) and `host` never
appear in `headers`: the codec has used them. Several of these are made for every request. They are never part of a
cycle, so that, compiled, the garbage collector does not follow them; and each writes its `__init__` out, as one that
`dataclass` makes stays interpreted.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Final, TypeAlias

from mypy_extensions import mypyc_attr

Header: TypeAlias = tuple[bytes, bytes]


@mypyc_attr(acyclic=True)
@dataclass(init=False)
class RequestHead:
    """A request's control data and fields. For a plain CONNECT, `path` and `scheme` are empty.

    A request that asks for an upgrade is a CONNECT too (RFC 8441), with a path and a scheme. `protocol` is what it
    asks for: b"websocket", or several in the order of preference, b"SPDY/3.1, foo"; else empty. `upgrade_method` is
    the method with which HTTP/1.1 asked; HTTP/2 has none for it.
    """

    method: bytes
    scheme: bytes
    authority: bytes
    path: bytes
    headers: list[Header]
    protocol: bytes
    upgrade_method: bytes

    def __init__(
        self,
        method: bytes,
        scheme: bytes,
        authority: bytes,
        path: bytes,
        headers: list[Header],
        protocol: bytes = b"",
        upgrade_method: bytes = b"",
    ) -> None:
        self.method = method
        self.scheme = scheme
        self.authority = authority
        self.path = path
        self.headers = headers
        self.protocol = protocol
        self.upgrade_method = upgrade_method


@mypyc_attr(acyclic=True)
@dataclass(init=False)
class ResponseHead:
    """With status 101, the answer that accepts an upgrade. Only then there may be an `upgrade` field: it says what was
    chosen, where there was a choice."""

    status: int
    headers: list[Header]

    def __init__(self, status: int, headers: list[Header]) -> None:
        self.status = status
        self.headers = headers


@mypyc_attr(acyclic=True)
@dataclass(init=False)
class Request:
    """A request has begun on a server's connection."""

    stream_id: int
    head: RequestHead
    end_stream: bool

    def __init__(self, stream_id: int, head: RequestHead, end_stream: bool) -> None:
        self.stream_id = stream_id
        self.head = head
        self.end_stream = end_stream


@mypyc_attr(acyclic=True)
@dataclass(init=False)
class Response:
    """The final response's head has come on a client's connection."""

    stream_id: int
    head: ResponseHead
    end_stream: bool

    def __init__(self, stream_id: int, head: ResponseHead, end_stream: bool) -> None:
        self.stream_id = stream_id
        self.head = head
        self.end_stream = end_stream


@mypyc_attr(acyclic=True)
@dataclass(init=False)
class Informational:
    """A 1xx response other than 101, which is a `Response`."""

    stream_id: int
    head: ResponseHead

    def __init__(self, stream_id: int, head: ResponseHead) -> None:
        self.stream_id = stream_id
        self.head = head


@mypyc_attr(acyclic=True)
@dataclass(init=False)
class Data:
    """Body bytes. They count against flow control until `Codec.consumed` gives them back. `data` may be empty
    when `end_stream` is set."""

    stream_id: int
    data: bytes
    end_stream: bool

    def __init__(self, stream_id: int, data: bytes, end_stream: bool) -> None:
        self.stream_id = stream_id
        self.data = data
        self.end_stream = end_stream


@mypyc_attr(acyclic=True)
@dataclass(init=False)
class Trailers:
    """Trailer fields; they end the stream's receiving side."""

    stream_id: int
    headers: list[Header]

    def __init__(self, stream_id: int, headers: list[Header]) -> None:
        self.stream_id = stream_id
        self.headers = headers


@mypyc_attr(acyclic=True)
@dataclass(init=False)
class Reset:
    """A stream ended before its message was whole: the peer reset it, sent something malformed on it, or closed the
    connection. `code` is an HTTP/2 error code. `unprocessed` says that the peer provably did nothing with it
    (REFUSED_STREAM, or above a GOAWAY's last stream: RFC 9113 section 8.7). Nothing more comes for that stream."""

    stream_id: int
    code: int
    unprocessed: bool

    def __init__(self, stream_id: int, code: int, unprocessed: bool = False) -> None:
        self.stream_id = stream_id
        self.code = code
        self.unprocessed = unprocessed


@mypyc_attr(acyclic=True)
@dataclass(init=False)
class Refused:
    """Server: the codec turned a stream away for what came on it, and its connection goes on. Whoever was told of a
    `Request` is told by a `Reset` too. `code` and `detail` are those of a `CodecFailure`."""

    stream_id: int
    code: str
    detail: str

    def __init__(self, stream_id: int, code: str, detail: str) -> None:
        self.stream_id = stream_id
        self.code = code
        self.detail = detail


@mypyc_attr(acyclic=True)
@dataclass(init=False)
class Writable:
    """The peer opened its window: `queued()` of this stream (0: of any stream) may fall at the next flush."""

    stream_id: int

    def __init__(self, stream_id: int) -> None:
        self.stream_id = stream_id


@mypyc_attr(acyclic=True)
@dataclass(init=False)
class GoAway:
    """The peer wants no new streams. `Reset(unprocessed=True)` follows for each of ours above its last one."""

    last_stream_id: int
    code: int
    debug: bytes
    """What it says of why (RFC 9113 section 6.8): not to be trusted, a frame long at most."""

    def __init__(self, last_stream_id: int, code: int, debug: bytes = b"") -> None:
        self.last_stream_id = last_stream_id
        self.code = code
        self.debug = debug


@mypyc_attr(acyclic=True)
@dataclass(init=False)
class PingAck:
    payload: bytes

    def __init__(self, payload: bytes) -> None:
        self.payload = payload


Event: TypeAlias = Request | Response | Informational | Data | Trailers | Reset | Refused | Writable | GoAway | PingAck


class ErrorCode:
    """HTTP/2 error codes (RFC 9113 section 7), used for every protocol's resets."""

    NO_ERROR: Final = 0x0
    PROTOCOL_ERROR: Final = 0x1
    INTERNAL_ERROR: Final = 0x2
    FLOW_CONTROL_ERROR: Final = 0x3
    REFUSED_STREAM: Final = 0x7
    CANCEL: Final = 0x8
    CONNECT_ERROR: Final = 0xA
    ENHANCE_YOUR_CALM: Final = 0xB
    INADEQUATE_SECURITY: Final = 0xC
