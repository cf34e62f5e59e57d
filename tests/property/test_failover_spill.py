"""What holds of every division of load, whatever the health of the places."""

from __future__ import annotations

import msgspec
from hypothesis import given
from hypothesis import strategies as st

from gateway.failover.spill import Place, capped, spill

_PART = st.floats(0.0, 1.0, allow_nan=False, allow_subnormal=False).map(lambda part: round(part, 6))
_PLACES = st.builds(
    Place,
    availability=_PART,
    hosts=st.integers(0, 50).map(float),
    weight=st.integers(1, 100).map(float),
    damping=st.sampled_from([0.001, 0.1, 0.5, 1.0]),
)
_LEVELS = st.lists(st.lists(_PLACES, min_size=1, max_size=3), min_size=1, max_size=5)
_THRESHOLDS = st.sampled_from([0.0, 0.1, 0.5, 1.0])
_CAPS = st.sampled_from([0.01, 0.3, 0.5, 1.0])

Levels = list[list[Place]]


def flat(levels: list[list[float]]) -> list[float]:
    return [share for level in levels for share in level]


@given(_LEVELS, _THRESHOLDS)
def test_shares_sum_to_one(levels: Levels, threshold: float) -> None:
    """Or to nothing, when there is nowhere to go: no request is lost in the arithmetic, and none is sent twice."""
    result = spill(levels, threshold)
    total = sum(flat(result.shares))
    somewhere = any(place.hosts if result.total_panic else place.availability for level in levels for place in level)
    assert abs(total - (1.0 if somewhere else 0.0)) < 1e-6
    assert all(share >= 0.0 for share in flat(result.shares))


@given(_LEVELS, _THRESHOLDS)
def test_nothing_that_is_gone_gets_a_share_outside_panic(levels: Levels, threshold: float) -> None:
    """An ejected group has no availability."""
    result = spill(levels, threshold)
    for places, shares in zip(levels, result.shares, strict=True):
        for place, share in zip(places, shares, strict=True):
            assert result.total_panic or place.availability > 0.0 or share == 0.0


@given(_LEVELS, _THRESHOLDS)
def test_nothing_healthy_is_starved(levels: Levels, threshold: float) -> None:
    """As long as the levels before it do not carry everything, and in its own level always."""
    result = spill(levels, threshold)
    if result.total_panic:
        return
    carried = 0.0
    for places, shares in zip(levels, result.shares, strict=True):
        if carried < 1.0 - 1e-6:
            assert all(share > 0.0 for place, share in zip(places, shares, strict=True) if place.health > 1e-6)
        carried += sum(place.health for place in places)


@given(_LEVELS, _THRESHOLDS, st.data())
def test_who_gets_healthier_gets_no_less(levels: Levels, threshold: float, data: st.DataObject) -> None:
    """Monotone in health, outside panic."""
    i = data.draw(st.integers(0, len(levels) - 1))
    j = data.draw(st.integers(0, len(levels[i]) - 1))
    better = data.draw(st.floats(levels[i][j].availability, 1.0))
    improved = [list(level) for level in levels]
    improved[i][j] = msgspec.structs.replace(levels[i][j], availability=better)
    before, after = spill(levels, threshold), spill(improved, threshold)
    if not before.total_panic and not after.total_panic:
        assert after.shares[i][j] >= before.shares[i][j] - 1e-6


@given(_LEVELS, _CAPS)
def test_caps_lose_nothing_and_are_kept_where_there_is_room(levels: Levels, cap: float) -> None:
    """What is above its cap has no room behind it."""
    shares = flat(spill(levels, 0.0).shares)
    health = [place.health for level in levels for place in level]
    result = capped(shares, [cap] * len(shares), health)
    assert abs(sum(result) - sum(shares)) < 1e-6
    for i, share in enumerate(result):
        if share > cap + 1e-6:
            assert all(min(cap, health[j]) - result[j] < 1e-6 for j in range(i + 1, len(result)))


@given(_LEVELS, _CAPS, st.data())
def test_caps_leave_health_monotone(levels: Levels, cap: float, data: st.DataObject) -> None:
    """A place that gets healthier must not be given less because of a cap."""
    i = data.draw(st.integers(0, len(levels) - 1))
    j = data.draw(st.integers(0, len(levels[i]) - 1))
    improved = [list(level) for level in levels]
    improved[i][j] = msgspec.structs.replace(
        levels[i][j], availability=data.draw(st.floats(levels[i][j].availability, 1.0))
    )
    position = sum(len(level) for level in levels[:i]) + j
    results = []
    for state in (levels, improved):
        health = [place.health for level in state for place in level]
        results.append(capped(flat(spill(state, 0.0).shares), [cap] * len(health), health)[position])
    assert results[1] >= results[0] - 1e-6
