"""A service's latency in a hundred numbers."""

from __future__ import annotations

import random

import pytest
from hypothesis import given
from hypothesis import strategies as st

from gateway.request.latency_sketch import BUCKETS, ENOUGH, GROWTH, LEAST_S, MANY, LatencySketch


@given(st.lists(st.floats(2 * LEAST_S, 100.0), min_size=ENOUGH, max_size=MANY - 1), st.sampled_from([0.5, 0.95, 0.99]))
def test_a_quantile_is_right_to_within_a_bucket(durations: list[float], share: float) -> None:
    """Against the sorted list: never below it, and above it by a bucket's growth at most."""
    sketch = LatencySketch()
    for duration_s in durations:
        sketch.observe(duration_s)
    rank = next(i for i in range(len(durations)) if i + 1 >= share * len(durations))
    exact = sorted(durations)[rank]
    said = sketch.quantile(share)
    assert said is not None
    assert exact * 0.999 <= said <= exact * GROWTH * 1.001


def test_nothing_is_said_from_little() -> None:
    sketch = LatencySketch()
    for _ in range(ENOUGH - 1):
        sketch.observe(0.01)
    assert sketch.quantile(0.95) is None
    sketch.observe(0.01)
    assert sketch.quantile(0.95) == pytest.approx(0.01, rel=0.2)


def test_a_service_that_becomes_slower_is_noticed() -> None:
    """What was seen long ago fades."""
    sketch, rng = LatencySketch(), random.Random(1)
    for _ in range(10_000):
        sketch.observe(rng.uniform(0.001, 0.002))
    for _ in range(MANY):
        sketch.observe(rng.uniform(0.1, 0.2))
    said = sketch.quantile(0.5)
    assert said is not None
    assert said > 0.05


def test_extremes_have_their_place() -> None:
    """No duration breaks it: zero, and years."""
    sketch = LatencySketch()
    for _ in range(ENOUGH):
        sketch.observe(0.0)
        sketch.observe(1e9)
    assert sketch.quantile(0.25) == LEAST_S
    assert sketch.quantile(1.0) == pytest.approx(LEAST_S * GROWTH ** (BUCKETS - 1))
