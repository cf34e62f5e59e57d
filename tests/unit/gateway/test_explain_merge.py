"""Several workers' answers as one."""

from __future__ import annotations

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st

from gateway.explain_merge import merge, next_shares
from gateway.failover.events import Cause
from gateway.failover.explanation import EjectionExplanation, Explanation, GroupExplanation

EAST = GroupExplanation("east", "a", 0, "own zone", 3, 3, availability=1.0, share=1.0)
WEST = GroupExplanation("west", "", 1, "same region", 2, 2, tunnels=2, rtt_ms=1.5, availability=1.0)
EU = GroupExplanation("eu", "", 2, "failover.order 1", 2, 2, tunnels=2, rtt_ms=20.0, availability=1.0)
SAID = Explanation("shop/payments", "http", "east", (EAST, WEST, EU))


def replaced(group: GroupExplanation, **changes: object) -> GroupExplanation:
    return msgspec.structs.replace(group, **changes)


def test_workers_that_agree_are_one_answer() -> None:
    """Tunnels are each worker's own, and add up; shares are of all requests."""
    faster = msgspec.structs.replace(SAID, groups=(EAST, replaced(WEST, rtt_ms=0.5), EU))
    merged = merge({"w1": SAID, "w2": faster})
    east, west, eu = (place.group for place in merged.places)
    assert (east.share, west.tunnels, west.rtt_ms, eu.tunnels) == (1.0, 4, 0.5, 4)
    assert merged.differences == ()


def test_what_differs_is_said() -> None:
    """One worker's requests failed in east, and those of the other have not yet."""
    ejection = EjectionExplanation("127.0.0.1:9001", 100.0, 1, Cause.GATEWAY_ERRORS, 1.0)
    later = msgspec.structs.replace(ejection, until=105.0)
    half = (replaced(EAST, share=0.4, availability=0.3, ejected=2), replaced(WEST, share=0.6), EU)
    other = Explanation("shop/payments", "http", "east", half, (ejection,), panic=True)
    merged = merge({"w2": other, "w1": SAID})
    assert [place.group.share for place in merged.places] == [0.7, 0.3, 0.0]
    assert merged.places[0].group.ejected == 2
    assert merged.differences == (
        "w2 sends 40% to east/a, w1 100%",
        "w2 sends 60% to west, w1 0%",
        "w2 has ejected 127.0.0.1:9001, w1 has not",
        "w2 disregards health, the other does not",
    )
    [one] = merge({"w1": other, "w2": msgspec.structs.replace(other, ejections=(later,))}).ejections
    assert (one.ejection.until, one.workers) == (105.0, 2)


def test_a_worker_that_knows_of_fewer_places_does_not_hide_them() -> None:
    """It has not got the last change of the catalog yet."""
    merged = merge({"w1": msgspec.structs.replace(SAID, groups=(EAST,)), "w2": SAID})
    assert [place.group.cluster for place in merged.places] == ["east", "west", "eu"]


@pytest.mark.parametrize(
    ("availabilities", "shares", "after"),
    [
        ((1.0, 1.0, 1.0), (1.0, 0.0, 0.0), [0.0, 1.0, 0.0]),
        ((1.0, 0.5, 1.0), (1.0, 0.0, 0.0), [0.0, 0.7, 0.3]),
        ((0.0, 1.0, 1.0), (0.0, 1.0, 0.0), [0.0, 0.0, 1.0]),
        ((1.0, 0.25, 0.25), (1.0, 0.0, 0.0), [0.0, 0.5, 0.5]),
        ((1.0, 0.0, 0.0), (1.0, 0.0, 0.0), [0.0, 0.0, 0.0]),
        ((0.0, 0.0, 0.0), (0.0, 0.0, 0.0), [0.0, 0.0, 0.0]),
    ],
)
def test_what_comes_next(availabilities: tuple[float, ...], shares: tuple[float, ...], after: list[float]) -> None:
    """As spill goes from one rank to the next."""
    groups = [
        replaced(group, availability=availability, share=share)
        for group, availability, share in zip((EAST, WEST, EU), availabilities, shares, strict=True)
    ]
    assert next_shares(groups) == pytest.approx(after)


@given(st.lists(st.tuples(st.integers(0, 3), st.floats(0, 1), st.floats(0, 1)), max_size=6))
def test_what_comes_next_is_all_or_nothing(groups: list[tuple[int, float, float]]) -> None:
    """Shares sum to 1 unless nothing is left, and what died gets nothing."""
    described = [replaced(EAST, rank=rank, availability=a, share=s) for rank, a, s in sorted(groups)]
    after = next_shares(described)
    dead = next((i for i, group in enumerate(described) if group.share > 0), None)
    left = any(group.availability for i, group in enumerate(described) if i != dead)
    assert sum(after) == pytest.approx(1.0 if left else 0.0, abs=0.001)
    assert dead is None or after[dead] == 0.0
