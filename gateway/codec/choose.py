"""Which codec a connection gets, by what it is for."""

from __future__ import annotations

import random
from typing import Final

import msgspec

from discovery.model import Protocol
from gateway.codec.http1.client import Http1ClientCodec
from gateway.codec.http1.server import Http1ServerCodec
from gateway.codec.http2.engine import http2_codec
from gateway.codec.interface import Codec, TunnelCodec
from gateway.codec.limits import CodecLimits
from gateway.codec.sniff import SniffingServerCodec
from gateway.codec.tcp import TcpClientCodec, TcpServerCodec

LIMITS: Final = CodecLimits()
_HTTP: Final = Protocol.HTTP
_TCP: Final = Protocol.TCP
# A tunnel is shared by all of a peer's workloads: however many of them are slow, it never waits for them. Past this
# much it is worn out, and another is opened in its place.
MESH_LIMITS: Final = msgspec.structs.replace(LIMITS, widest_window=1 << 30)


def mesh_codec(http2: str, *, client: bool) -> TunnelCodec:
    """A tunnel's either end. `http2` is the configured engine: "auto", "ngh2" or "h2"."""
    return http2_codec(http2, client=client, limits=MESH_LIMITS)


def listener_codec(http2: str, *, tcp_authority: bytes = b"") -> Codec:
    """What a local workload speaks: raw TCP where the virtual IP is for that (with the authority that it stands
    for), else HTTP/1.1 or HTTP/2, as its first bytes tell."""
    if tcp_authority:
        return TcpServerCodec(authority=tcp_authority, limits=LIMITS)
    return SniffingServerCodec(
        http1=Http1ServerCodec(scheme=b"http", limits=LIMITS),
        http2=lambda: http2_codec(http2, client=False, limits=LIMITS),
    )


def endpoint_codec(http2: str, protocol: Protocol, rng: random.Random) -> Codec:
    """What a local endpoint is spoken to with. `rng` makes WebSocket keys."""
    if protocol is _TCP:
        return TcpClientCodec(limits=LIMITS)
    if protocol is _HTTP:
        return Http1ClientCodec(limits=LIMITS, rng=rng)
    return http2_codec(http2, client=True, limits=LIMITS)
