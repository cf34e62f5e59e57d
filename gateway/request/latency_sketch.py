"""How long a service's requests take, roughly and lately: enough to say when one of them is late. Pure.

Durations are counted in buckets that grow by a fifth, so a quantile is right to within a tenth. When there are many
counts all are halved: what was seen long ago fades, and a service that has become slower is noticed after about as many
requests again.
"""

from __future__ import annotations

import math
from typing import Final

LEAST_S: Final = 0.000_1
GROWTH: Final = 1.2
BUCKETS: Final = 96
"""The last one begins at some 54 minutes."""
ENOUGH: Final = 20
"""With fewer durations nothing is said."""
MANY: Final = 1_000
_LOG_GROWTH: Final = math.log(GROWTH)


class LatencySketch:
    """The durations of one service's requests."""

    __slots__ = ("_counts", "_total")

    def __init__(self) -> None:
        self._counts = [0] * BUCKETS
        self._total = 0

    def observe(self, duration_s: float) -> None:
        growths = math.log(max(duration_s, LEAST_S) / LEAST_S) / _LOG_GROWTH
        self._counts[min(BUCKETS - 1, math.ceil(growths))] += 1
        self._total += 1
        if self._total >= MANY:
            self._counts = [count // 2 for count in self._counts]
            self._total = sum(self._counts)

    def quantile(self, share: float) -> float | None:
        """The seconds that `share` (0 to 1) of the durations did not exceed, rounded up to a bucket's end."""
        if self._total < ENOUGH:
            return None
        wanted, seen = share * self._total, 0
        for i, count in enumerate(self._counts):
            seen += count
            if seen >= wanted:
                return LEAST_S * GROWTH**i
        return LEAST_S * GROWTH**BUCKETS
