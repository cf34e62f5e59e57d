"""What one connection may make us hold, and what a codec calls its failures."""

from __future__ import annotations

from typing import Final, TypeAlias

import msgspec

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
