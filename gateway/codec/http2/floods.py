"""Cheap frames that cost the receiver: what h2 takes without end and nghttp2 refuses.

There is no clock here: each bound is a count that useful work pays back.
"""

from __future__ import annotations

from typing import Final

from gateway.codec.http2.frames import ACK, CONTINUATION, DATA, END_STREAM, HEADER_BYTES, PING, RST_STREAM, SETTINGS

RESETS: Final = 2_000
"""Streams that the peer reset and that none which ended well has paid for (CVE-2023-44487)."""
UNSENT_ACKS: Final = 1_000
"""Answers to PING and SETTINGS that the peer does not read (CVE-2019-9512, CVE-2019-9515)."""
CONTINUATIONS: Final = 8
"""CONTINUATION frames of one header block (CVE-2024-27316)."""
EMPTY_FRAMES: Final = 1_000
"""DATA frames in a row that carry nothing (CVE-2019-9518)."""


class FloodGuard:
    """Counts one connection's frames."""

    def __init__(self) -> None:
        self._resets = 0
        self._acks = 0
        self._continuations = 0
        self._empty = 0

    def count(self, kind: int, flags: int, size: int) -> str:
        """Takes note of a frame of `size` bytes with its header. Returns what there is too much of, or ""."""
        if kind == RST_STREAM:
            self._resets += 1
        elif kind in (PING, SETTINGS) and not flags & ACK:
            self._acks += 1
        elif kind == DATA:
            self._empty = self._empty + 1 if size == HEADER_BYTES and not flags & END_STREAM else 0
        self._continuations = self._continuations + 1 if kind == CONTINUATION else 0
        if self._resets > RESETS:
            return "too many streams were reset"
        if self._acks > UNSENT_ACKS:
            return "too many PING or SETTINGS wait for their answer"
        if self._continuations > CONTINUATIONS:
            return "a header block has too many CONTINUATION frames"
        if self._empty > EMPTY_FRAMES:
            return "too many DATA frames carry nothing"
        return ""

    def stream_ended(self) -> None:
        """A stream has ended well on both sides."""
        self._resets = max(0, self._resets - 1)

    def acknowledged(self) -> None:
        """What was owed is on its way."""
        self._acks = 0
