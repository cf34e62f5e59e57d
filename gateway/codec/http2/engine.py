"""Which engine speaks HTTP/2: ngh2 (libnghttp2) where it has a wheel, h2 everywhere else.

Both give the same events for the same traffic (tests/conformance/codec, tests/property/test_codec_engines.py), except
that

what the peer does                        | ngh2                     | h2
----------------------------------------- | ------------------------ | -----------------------------------------
a content-length that is repeated, no     | resets the stream        | ends the connection: h2 counts by itself,
number, or not kept by DATA               |                          | and RFC 9113 section 5.4.2 lets it
trailers without END_STREAM, or a second  | resets the stream        | ends the connection
final response                            |                          |
more DATA than a stream's window          | resets the stream        | ends the connection
more streams than we take, before it has  | REFUSED_STREAM, of which | ends the connection: h2 holds it to
acknowledged our SETTINGS                 | ngh2 says nothing to us  | settings that it may not have seen
a header block in pieces, wrong from the  | resets at the first      | resets at the last piece
start                                     | piece                    |
a field with forbidden characters         | resets, INTERNAL_ERROR   | resets, PROTOCOL_ERROR
a new stream after our last GOAWAY        | ignores it               | REFUSED_STREAM
floods of resets, of empty DATA           | counted by time, with    | counted against useful work, since codecs
                                          | libnghttp2's own clock;  | have no clock
                                          | of resets it says        |
                                          | INTERNAL_ERROR           |
half a DATA frame, then we reset          | lost to the connection's | given back
                                          | window: see `widen`      |
"""

from __future__ import annotations

from typing import Final

from gateway.codec.interface import TunnelCodec
from gateway.codec.limits import CodecLimits

ENGINES: Final = ("ngh2", "h2")


def http2_codec(kind: str, *, client: bool, limits: CodecLimits) -> TunnelCodec:
    """A codec of either role. `kind` is "auto", "ngh2" or "h2"; "auto" takes ngh2 when it can be imported.

    The engines are imported here and not above because ngh2 does not exist for every interpreter.
    """
    if kind == "auto":
        kind = available_engines()[0]
    if kind == "ngh2":
        from gateway.codec.http2.ngh2_codec import Ngh2Codec

        return Ngh2Codec(client=client, limits=limits)
    if kind == "h2":
        from gateway.codec.http2.h2_codec import H2Codec

        return H2Codec(client=client, limits=limits)
    raise ValueError(f'"{kind}" is no HTTP/2 engine: take auto, ngh2 or h2')


def available_engines() -> tuple[str, ...]:
    """The engines that can be imported here, the preferred one first."""
    try:
        import ngh2  # noqa: F401
    except ImportError:
        return ("h2",)
    return ENGINES
