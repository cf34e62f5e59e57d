"""Several workers' answers as one."""

from __future__ import annotations

import msgspec

from gateway.failover.events import Cause
from gateway.failover.explanation import (
    EjectionExplanation,
    EndpointLoad,
    Explanation,
    GroupExplanation,
    LimitsExplanation,
    LoadExplanation,
    RetryBudgetExplanation,
)
from gateway.status.explain_merge import merge

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
    east, west, eu = merged.places
    assert (east.share, west.tunnels, west.rtt_ms, eu.tunnels) == (1.0, 4, 0.5, 4)
    assert merged.differences == ()


def test_what_differs_is_said() -> None:
    """One worker's requests failed in east, and those of the other have not yet."""
    ejection = EjectionExplanation("127.0.0.1:9001", 100.0, 1, Cause.GATEWAY_ERRORS, 1.0)
    later = msgspec.structs.replace(ejection, until=105.0)
    half = (replaced(EAST, share=0.4, availability=0.3, ejected=2), replaced(WEST, share=0.6), EU)
    other = Explanation("shop/payments", "http", "east", half, (ejection,), panic=True)
    merged = merge({"w2": other, "w1": SAID})
    assert [place.share for place in merged.places] == [0.7, 0.3, 0.0]
    assert merged.places[0].ejected == 2
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
    assert [place.cluster for place in merged.places] == ["east", "west", "eu"]


def test_what_comes_next_is_the_mean_of_what_workers_foresee() -> None:
    later = msgspec.structs.replace(SAID, groups=(EAST, replaced(WEST, next_share=0.4), EU))
    merged = merge(
        {"w1": msgspec.structs.replace(SAID, groups=(EAST, replaced(WEST, next_share=1.0), EU)), "w2": later}
    )
    assert [place.next_share for place in merged.places] == [0.0, 0.7, 0.0]


def test_limits_add_up() -> None:
    """Each worker has its own; one of them may not have sent anything there yet."""
    one = LimitsExplanation("west", 3, 1024, 1, 1024, 5)
    busy = msgspec.structs.replace(SAID, load=LoadExplanation((one,)))
    merged = merge({"w1": busy, "w2": busy, "w3": SAID}).load
    assert merged == LoadExplanation((LimitsExplanation("west", 6, 2048, 2, 2048, 10),))


def test_what_endpoints_carry_adds_up() -> None:
    """Each worker has its own connections to an endpoint, and its own retry budget; the share is the same for all."""
    first = EndpointLoad("127.0.0.1:1", 3, 2, 4, 1, 8)
    second = EndpointLoad("127.0.0.1:2", 1, 1, 4, 0, 8)
    budget = RetryBudgetExplanation(10, 1, 0.2, 3.0)
    loads = (
        LoadExplanation(endpoints=(second, first), budget=budget),
        LoadExplanation(endpoints=(first,), budget=budget),
    )
    merged = merge({f"w{i}": msgspec.structs.replace(SAID, load=load) for i, load in enumerate(loads)}).load
    assert merged.endpoints == (EndpointLoad("127.0.0.1:1", 6, 4, 8, 2, 16), second)
    assert merged.budget == RetryBudgetExplanation(20, 2, 0.2, 6.0)
