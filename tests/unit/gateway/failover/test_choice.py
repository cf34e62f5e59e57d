"""Which of several endpoints: in progress and latency, by two choices."""

from __future__ import annotations

import random
from collections import Counter

import pytest

from gateway.failover.choice import Candidate, pick_of_two
from gateway.failover.latency import DECAY_S, PeakEwma
from gateway.failover.target import LocalTarget

NOW = 50.0


def candidate(port: int, latency_s: float = 0.0, ramp: float = 1.0) -> Candidate:
    latency = PeakEwma()
    if latency_s:
        latency.observe(latency_s, NOW)
    return Candidate(LocalTarget(f"h:{port}"), latency, ramp)


def counts(candidates: list[Candidate], in_progress: dict[str, int] | None = None) -> Counter[str]:
    rng, busy = random.Random(7), in_progress or {}
    picked: Counter[str] = Counter()
    for _ in range(3000):
        target = pick_of_two(candidates, (), lambda target: busy.get(target.address, 0), rng, NOW)
        assert target is not None
        picked[target.address] += 1
    return picked


def test_equal_endpoints_get_equal_parts() -> None:
    """Also at low load, where nothing is in progress, and their latencies differ by a little: whoever answered a
    little quicker last must not get everything (Istio 31549)."""
    picked = counts([candidate(1, 0.0010), candidate(2, 0.0013), candidate(3, 0.0016), candidate(4, 0.0019)])
    assert all(abs(n / 750 - 1) < 0.1 for n in picked.values())


def test_the_busier_one_of_two_is_passed_over() -> None:
    picked = counts([candidate(1, 0.001), candidate(2, 0.001), candidate(3, 0.001)], {"h:1": 5})
    assert "h:1" not in picked


def test_a_slow_endpoint_is_passed_over_until_the_others_are_as_busy() -> None:
    """Ten times as slow is as bad as ten in progress."""
    slow, quick = candidate(1, 0.010), candidate(2, 0.001)
    assert counts([slow, quick]) == {"h:2": 3000}
    assert counts([slow, quick], {"h:2": 8}) == {"h:2": 3000}
    assert counts([slow, quick], {"h:2": 10}) == {"h:1": 3000}


def test_a_new_endpoint_is_asked_once_before_more_is_sent_there() -> None:
    """Nothing is known of it: a hundred requests at once would find out too late."""
    new, known = candidate(1), candidate(2, 0.001)
    assert counts([new, known]) == {"h:1": 3000}
    assert counts([new, known], {"h:1": 1}) == {"h:2": 3000}


def test_what_has_just_returned_gets_a_part() -> None:
    picked = counts([candidate(1, 0.001, ramp=0.2), candidate(2, 0.001)])
    assert 0.05 < picked["h:1"] / 3000 < 0.2


def test_what_was_tried_is_left_out() -> None:
    one, two = candidate(1), candidate(2)
    rng = random.Random(1)
    assert pick_of_two([one, two], [one.target], lambda target: 0, rng, NOW) == two.target
    assert pick_of_two([one], [one.target], lambda target: 0, rng, NOW) is None
    assert pick_of_two([], (), lambda target: 0, rng, NOW) is None


def test_a_peak_is_taken_at_once_and_forgotten_slowly() -> None:
    """Finagle's PeakEwma: a slower answer counts in full, a quicker one by how long ago the last was."""
    latency = PeakEwma()
    latency.observe(0.010, 0.0)
    latency.observe(0.100, 1.0)
    assert latency.cost_s == 0.100
    latency.observe(0.010, 1.0)
    assert latency.cost_s == 0.100
    latency.observe(0.010, 1.0 + DECAY_S)
    assert latency.cost_s == pytest.approx(0.010 + 0.090 * 0.36788, rel=1e-4)


def test_silence_is_forgiven() -> None:
    """Else a place that was slow once would never be asked again."""
    latency = PeakEwma()
    latency.observe(1.0, 0.0)
    assert latency.cost_at(0.0) == 1.0
    assert latency.cost_at(5 * DECAY_S) < 0.01


def test_failures_do_not_look_quick() -> None:
    """An endpoint that refuses at once answers sooner than any that works."""
    latency = PeakEwma()
    latency.observe(0.004, 0.0)
    for _ in range(4):
        latency.observe_failure(0.0001, 30.0)
    assert latency.cost_s == 0.004
    never = PeakEwma()
    never.observe_failure(0.0001, 0.0)
    assert never.cost_s > 0.0


def test_a_penalty_doubles_and_has_an_end() -> None:
    """Whoever it falls on must be worth a try again some day."""
    latency = PeakEwma()
    latency.observe(0.004, 0.0)
    latency.penalize(0.0)
    assert latency.cost_s == pytest.approx(0.008)
    latency.penalize(0.0, worst_s=0.050)
    assert latency.cost_s == pytest.approx(0.100)
    for _ in range(40):
        latency.penalize(0.0)
    assert latency.cost_s == 10.0
