"""How much of a tunnel's bytes its socket is given ahead of what the link takes. Pure.

What the kernel has, or OpenSSL has encrypted, can't be overtaken: a small answer, or a PING's, waits behind it. A fast
link takes a quarter of a megabyte in a millisecond. One that takes 200 kB a second needs more than a second, and by
then the gateway at the other end is suspected of being silent. So a link is given little, until it takes more.
"""

from __future__ import annotations

from typing import Final

from gateway.codec.output import OUTPUT_BYTES

LEAST_BYTES: Final = 16_384
AHEAD_S: Final = 0.05
"""So long a link takes for one piece, and for as much that the kernel may hold unsent beside it."""
LOOK_S: Final = 0.1
"""A link that carries much is looked at so often."""
BUSY_S: Final = 0.02
"""Over less time than this nothing is measured: the kernel counts it in steps of up to 10 ms."""


class Pace:
    """The measure of one connection: what the far end has acknowledged, by the time in which there was anything to
    send. One that carries little is given as little, which costs nothing: it is what goes out in a moment anyway."""

    __slots__ = ("_acked_bytes", "_busy_s", "_look_at", "piece_bytes")

    def __init__(self) -> None:
        self.piece_bytes = LEAST_BYTES
        """What is given at a time."""
        self._look_at = float("-inf")
        self._acked_bytes = 0
        self._busy_s = 0.0

    def is_due(self, now: float) -> bool:
        """Much was sent, or is left: whether to measure what the link took. Seconds of one clock."""
        if now < self._look_at:
            return False
        self._look_at = now + LOOK_S
        return True

    def measured(self, taken: tuple[int, float] | None) -> bool:
        """The bytes and the seconds, both since the connection began; None where the kernel does not count them, so
        that nothing is known. Returns whether `piece_bytes` is another one by that."""
        before = self.piece_bytes
        if taken is None:
            self.piece_bytes, self._look_at = OUTPUT_BYTES, float("inf")
            return self.piece_bytes != before
        acked_bytes, busy_s = taken
        elapsed_s = busy_s - self._busy_s
        if elapsed_s < BUSY_S:
            return False
        self.piece_bytes = _piece_bytes(AHEAD_S * (acked_bytes - self._acked_bytes) / elapsed_s)
        self._acked_bytes, self._busy_s = acked_bytes, busy_s
        return self.piece_bytes != before


def _piece_bytes(limit: float) -> int:
    """In steps, so that it seldom changes."""
    piece_bytes = LEAST_BYTES
    while piece_bytes < OUTPUT_BYTES and 2 * piece_bytes <= limit:
        piece_bytes *= 2
    return piece_bytes
