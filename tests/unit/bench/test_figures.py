"""The arithmetic behind a ratio. A wrong direction here would call a loss a win."""

from __future__ import annotations

import pytest

from tests.bench.rig.figures import Figure, Measured, Sample, advantage, worst_ratio

THROUGHPUT = Figure("per_s", "requests/s", higher_is_better=True)
CPU = Figure("cpu_us", "CPU µs", higher_is_better=False)


def test_more_throughput_is_better() -> None:
    assert advantage(THROUGHPUT, ours=200, theirs=100) == 2


def test_less_cpu_is_better() -> None:
    assert advantage(CPU, ours=200, theirs=100) == 0.5


@pytest.mark.parametrize(("ours", "theirs", "expected"), [(-3.0, 10.0, 10.0), (10.0, -3.0, 0.1), (-3.0, -9.0, 1.0)])
def test_below_the_resolution_there_is_only_noise(ours: float, theirs: float, expected: float) -> None:
    """A percentile through gateways can come out lower than direct; a ratio of that would be negative, or huge."""
    added = Figure("p99", "p99 added", higher_is_better=False, resolution=1.0)
    assert advantage(added, ours, theirs) == pytest.approx(expected)


def test_nothing_at_all_divides_by_nothing() -> None:
    """CPU is counted in ticks, so that a very short run can have none."""
    assert advantage(CPU, ours=0, theirs=0) == 1
    assert advantage(CPU, ours=0, theirs=5) == float("inf")
    assert advantage(CPU, ours=5, theirs=0) == 0


def test_the_worst_figure_is_the_ratio() -> None:
    """Winning in throughput must not hide what it costs."""
    ours, theirs = {"per_s": 300.0, "cpu_us": 150.0}, {"per_s": 100.0, "cpu_us": 100.0}
    assert worst_ratio([THROUGHPUT, CPU], ours, theirs) == pytest.approx(100 / 150)


def test_medians_are_taken_figure_by_figure() -> None:
    """One slow round of three changes nothing."""
    samples = [Sample({"per_s": per_s, "cpu_us": cpu_us}) for per_s, cpu_us in ((10, 7), (900, 8), (11, 1000))]
    assert Measured("isthmus", "1", samples).medians() == {"per_s": 11, "cpu_us": 8}


def test_cpu_shares_weigh_rounds_by_what_they_took() -> None:
    samples = [Sample({}, {"east": 1.0, "west": 1.0}), Sample({}, {"east": 6.0, "west": 0.0})]
    assert Measured("isthmus", "1", samples).cpu_shares() == {"east": 0.875, "west": 0.125}


def test_without_cpu_there_are_no_shares() -> None:
    assert Measured("isthmus", "1", [Sample({"megabytes": 5})]).cpu_shares() == {}
