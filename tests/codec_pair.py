"""Two codecs and the bytes between them: what the codecs' contract suites drive."""

from __future__ import annotations

import random
from collections.abc import Sequence
from typing import TypeVar

from gateway.codec.events import Data, Event, Header, RequestHead, ResponseHead
from gateway.codec.http1.client import Http1ClientCodec
from gateway.codec.http1.server import Http1ServerCodec
from gateway.codec.http2.engine import http2_codec
from gateway.codec.interface import Codec
from gateway.codec.limits import CodecLimits
from gateway.codec.tcp import TcpClientCodec, TcpServerCodec

ENGINE_PAIRS = ("ngh2-ngh2", "ngh2-h2", "h2-ngh2", "h2-h2")
HTTP_PAIRS = ("http1", *ENGINE_PAIRS)
ALL_PAIRS = (*HTTP_PAIRS, "tcp")

LIMITS = CodecLimits(stream_window=65_536, connection_window=1_048_576)

E = TypeVar("E")


def request(method: bytes = b"GET", path: bytes = b"/", headers: Sequence[Header] = ()) -> RequestHead:
    """A request's head as every HTTP codec takes it."""
    return RequestHead(method, b"http", b"payments.shop:80", path, list(headers))


def connect(protocol: bytes = b"", method: bytes = b"") -> RequestHead:
    """A CONNECT: plain, or an extended one for `protocol`, which HTTP/1.1 asked for with `method`."""
    if protocol:
        return RequestHead(b"CONNECT", b"http", b"payments.shop:80", b"/chat", [], protocol, method)
    return RequestHead(b"CONNECT", b"", b"payments.shop:80", b"", [])


def response(status: int = 200, headers: Sequence[Header] = ()) -> ResponseHead:
    return ResponseHead(status, list(headers))


def make_client(kind: str, limits: CodecLimits = LIMITS) -> Codec:
    if kind == "http1":
        return Http1ClientCodec(limits=limits, rng=random.Random(1))
    if kind == "tcp":
        return TcpClientCodec(limits=limits)
    return http2_codec(kind, client=True, limits=limits)


def make_server(kind: str, limits: CodecLimits = LIMITS) -> Codec:
    if kind == "http1":
        return Http1ServerCodec(scheme=b"http", limits=limits)
    if kind == "tcp":
        return TcpServerCodec(authority=b"payments.shop:80", limits=limits)
    return http2_codec(kind, client=False, limits=limits)


class Pair:
    """A client's and a server's codec. `pump` does what their drivers would do."""

    def __init__(self, kind: str, limits: CodecLimits = LIMITS) -> None:
        client, _, server = kind.partition("-")
        self.client = make_client(client, limits)
        self.server = make_server(server or client, limits)
        self.at_client: list[Event] = []
        self.at_server: list[Event] = []
        self._closed: set[int] = set()

    def pump(self) -> None:
        """Moves bytes both ways until there are none. A closing side's peer sees the end of the connection."""
        while self._move(self.client, self.server, self.at_server) | self._move(
            self.server, self.client, self.at_client
        ):
            pass

    def _move(self, source: Codec, sink: Codec, events: list[Event]) -> bool:
        moved = False
        if not sink.paused:
            if data := source.data_to_send():
                events += sink.receive(data)
                moved = True
            elif (source.closing or source.half_closed) and id(source) not in self._closed:
                self._closed.add(id(source))
                events += sink.receive_eof()
                moved = True
        if more := sink.resume():
            events += more
            moved = True
        return moved

    def take_client(self) -> list[Event]:
        """What the client's codec said since the last call, after all bytes were moved."""
        self.pump()
        events, self.at_client = self.at_client, []
        return events

    def take_server(self) -> list[Event]:
        self.pump()
        events, self.at_server = self.at_server, []
        return events


def wants(codec: Codec, what: str) -> bool:
    """`closing`, `half_closed` or `can_open` as it is now: a checker would believe that a property never changes."""
    return bool(getattr(codec, what))


def only(events: Sequence[Event], kind: type[E]) -> list[E]:
    return [event for event in events if isinstance(event, kind)]


def body_of(events: Sequence[Event], stream_id: int | None = None) -> bytes:
    """The body bytes in these events, of one stream or of all."""
    return b"".join(event.data for event in only(events, Data) if stream_id in (None, event.stream_id))
