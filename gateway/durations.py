"""Durations of requests as a metric has them: how many were as long as each bucket, and their sum. Pure."""

from __future__ import annotations

from bisect import bisect_left
from typing import Final

DURATION_BUCKETS_S: Final[tuple[float, ...]] = (
    0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 5.0, 10.0
)  # fmt: skip
DURATION_ROW: Final[int] = len(DURATION_BUCKETS_S) + 2
"""A row: the counts of the buckets and of what is above them all, then the sum in seconds."""


def add_duration(row: list[float], duration_s: float) -> None:
    """Adds one duration to a row."""
    row[bisect_left(DURATION_BUCKETS_S, duration_s)] += 1
    row[-1] += duration_s
