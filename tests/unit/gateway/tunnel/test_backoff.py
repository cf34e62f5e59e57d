"""When tunnels are dialled again."""

from __future__ import annotations

import random

import pytest

from gateway.tunnel.backoff import Backoff
from gateway.tunnel.gateway_tunnels import RECONNECT_FIRST_S, RECONNECT_LIMIT_S, STABLE_S

SLOTS = 400
"""Fifty peers with four workers each, and two tunnels of each worker."""


def arrival_s(away_s: float, rng: random.Random) -> float:
    """When a slot first finds a gateway that was away for so long, in seconds after it is back."""
    backoff = Backoff(RECONNECT_FIRST_S, RECONNECT_LIMIT_S, STABLE_S)
    at_s = backoff.next_s(STABLE_S + 1, rng)
    while at_s < away_s:
        at_s += backoff.next_s(0.0, rng)
    return at_s - away_s


@pytest.mark.parametrize("away_s", [1.0, 3.0, 10.0, 60.0])
def test_peers_08_a_gateway_that_returns_is_not_stormed(away_s: float) -> None:
    """All lost it in the same moment. No tenth of a second brings more than a third of them, nor any millisecond more
    than a handful, and the last is there within the longest wait (Cilium 30797, Istio 58047)."""
    rng = random.Random(1)
    arrivals = [arrival_s(away_s, rng) for _ in range(SLOTS)]
    tenths = [sum(at <= other < at + 0.1 for other in arrivals) for at in arrivals]
    assert max(tenths) <= SLOTS / 3
    assert max(sum(at <= other < at + 0.001 for other in arrivals) for at in arrivals) <= 8
    assert max(arrivals) <= RECONNECT_LIMIT_S


def test_waits_double_to_their_limit_and_begin_anew_after_a_steady_tunnel() -> None:
    """Each is at least half of its time, so that nobody is hammered at."""
    backoff, rng = Backoff(1.0, 5.0, 10.0), random.Random(1)
    for time_s in (2.0, 4.0, 5.0, 5.0):
        assert time_s / 2 <= backoff.next_s(0.0, rng) <= time_s
    assert backoff.next_s(10.1, rng) <= 1.0
    assert 1.0 <= backoff.next_s(9.9, rng) <= 2.0
