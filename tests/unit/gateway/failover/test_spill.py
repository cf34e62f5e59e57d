"""Envoy's arithmetic, held against the examples that Envoy's documentation publishes."""

from __future__ import annotations

import pytest

from gateway.failover.spill import Place, capped, spill


def shares(*availabilities: float, threshold: float = 0.5) -> list[float]:
    return [level[0] for level in spill([[Place(part)] for part in availabilities], threshold).shares]


def panics(*availabilities: float, threshold: float = 0.5) -> list[bool]:
    return [level[0] for level in spill([[Place(part)] for part in availabilities], threshold).panic]


@pytest.mark.parametrize(
    ("available", "expected"),
    [
        ((1.0, 1.0), (1.0, 0.0)),
        ((0.72, 1.0), (1.0, 0.0)),
        ((0.71, 1.0), (0.99, 0.01)),
        ((0.50, 1.0), (0.70, 0.30)),
        ((0.25, 1.0), (0.35, 0.65)),
        ((0.0, 1.0), (0.0, 1.0)),
        ((1.0, 1.0, 1.0), (1.0, 0.0, 0.0)),
        ((0.72, 0.72, 0.0), (1.0, 0.0, 0.0)),
        ((0.71, 0.71, 0.0), (0.99, 0.01, 0.0)),
        ((0.50, 0.50, 0.0), (0.70, 0.30, 0.0)),
        ((0.25, 1.0, 1.0), (0.35, 0.65, 0.0)),
        ((0.25, 0.25, 1.0), (0.35, 0.35, 0.30)),
        ((0.25, 0.25, 0.20), (0.36, 0.36, 0.28)),
    ],
)
def test_priority_levels_as_documented(available: tuple[float, ...], expected: tuple[float, ...]) -> None:
    """Envoy's page "Priority levels": P=0 and its followers. Envoy rounds to whole percents."""
    # In the last row all are below the panic threshold, which that page leaves aside.
    assert shares(*available, threshold=0.0) == pytest.approx(expected, abs=0.011)


@pytest.mark.parametrize(
    ("available", "expected", "panic"),
    [
        ((0.72, 0.72), (1.0, 0.0), (False, False)),
        ((0.71, 0.71), (0.99, 0.01), (False, False)),
        ((0.50, 0.60), (0.70, 0.30), (False, False)),
        ((0.25, 1.0), (0.35, 0.65), (False, False)),
        ((0.25, 0.25), (0.50, 0.50), (True, True)),
        ((0.05, 0.65), (0.07, 0.93), (True, False)),
    ],
)
def test_panic_as_documented(
    available: tuple[float, ...], expected: tuple[float, ...], panic: tuple[bool, ...]
) -> None:
    """Envoy's page "Panic threshold": only where all levels together can not carry the load."""
    assert shares(*available) == pytest.approx(expected, abs=0.011)
    assert tuple(panics(*available)) == panic


def test_in_total_panic_each_gets_as_much_as_it_has_hosts() -> None:
    """Envoy's documentation: with all levels in panic, health is disregarded altogether."""
    result = spill([[Place(0.2, hosts=6)], [Place(0.1, hosts=2)]], 0.5)
    assert result.shares == [[0.75], [0.25]]
    assert result.total_panic


def test_what_can_not_be_reached_gets_nothing_even_in_panic() -> None:
    """Without a tunnel there is no way to send a request."""
    assert spill([[Place(0.0, hosts=0)], [Place(0.1, hosts=2)]], 0.5).shares == [[0.0], [1.0]]
    assert spill([[Place(0.0, hosts=0)], []], 0.5).shares == [[0.0], []]


def test_without_panic_nothing_is_left_when_nobody_is_well() -> None:
    assert shares(0.0, 0.0, threshold=0.0) == [0.0, 0.0]
    assert panics(0.0, 0.0, threshold=0.0) == [False, False]


def test_weights_divide_a_level_and_fail_over_within_it() -> None:
    """Admiral 134: failover is lost once weights are declared. Here the others of the level take over."""
    east, west, eu = Place(1.0, weight=90), Place(1.0, weight=10), Place(1.0)
    assert spill([[east, west], [eu]], 0.5).shares == [[0.9, 0.1], [0.0]]
    dead = Place(0.0, weight=90)
    assert spill([[dead, west], [eu]], 0.5).shares == [[0.0, 1.0], [0.0]]
    assert spill([[dead, Place(0.5, weight=10)], [eu]], 0.5).shares == [[0.0, pytest.approx(0.7)], [pytest.approx(0.3)]]
    half = Place(0.5, weight=90)
    assert spill([[half, west], [eu]], 0.5).shares[0] == pytest.approx([63 / 73, 10 / 73])


def test_a_place_that_has_just_come_back_is_no_reason_for_panic() -> None:
    """It is well, and shall only get its share little by little; alone it gets everything all the same."""
    back = Place(1.0, damping=0.1)
    assert spill([[back], [Place(1.0)]], 0.5).shares == [[pytest.approx(0.14)], [pytest.approx(0.86)]]
    alone = spill([[back]], 0.5)
    assert (alone.shares, alone.panic) == ([[1.0]], [[False]])


def test_what_is_above_a_cap_goes_to_the_next() -> None:
    assert capped([0.0, 1.0, 0.0], [1.0, 0.6, 0.6], [0.0, 1.0, 1.0]) == [0.0, 0.6, 0.4]


def test_what_finds_no_room_stays() -> None:
    """A cap is a wish; a request that is answered is worth more."""
    assert capped([0.0, 1.0], [1.0, 0.6], [0.0, 1.0]) == [0.0, 1.0]
    assert capped([0.0, 1.0, 0.0], [1.0, 0.6, 0.6], [0.0, 1.0, 0.1]) == pytest.approx([0.0, 0.9, 0.1])
    assert capped([0.0, 1.0, 0.0, 0.0], [1.0, 0.3, 0.3, 0.3], [0.0, 1.0, 1.0, 0.0]) == pytest.approx(
        [0.0, 0.7, 0.3, 0.0]
    )
