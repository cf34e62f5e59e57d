"""The power of two choices: of two random places the one that is less loaded.

Nearly as good as the least loaded of all, at the cost of two look-ups (Mitzenmacher 2001); weighed as Finagle's and
Linkerd's balancers do, by the requests in progress times the peak-EWMA latency.
"""

from __future__ import annotations

import random
from collections.abc import Callable, Collection, Sequence
from typing import Final

from gateway.failover.latency import PeakEwma, load
from gateway.failover.target import LocalTarget, Target

# Latencies that differ by less say nothing: then the requests in progress decide alone. At low load there are none, and
# of two equal endpoints the one whose last answer was a little quicker would get everything.
_ALIKE: Final = 2.0

InProgress = Callable[[LocalTarget], int]
"""How many requests a target has now."""


class Candidate:
    """An endpoint that can be chosen."""

    __slots__ = ("latency", "ramp", "target")

    def __init__(self, target: LocalTarget, latency: PeakEwma, ramp: float = 1.0) -> None:
        self.target = target
        self.latency = latency
        self.ramp = ramp
        """How much of its share it gets: below 1 when it has just returned."""

    def __repr__(self) -> str:
        return f"<Candidate {self.target.address} {self.ramp:.0%} {self.latency!r}>"


def pick_of_two(
    candidates: Sequence[Candidate],
    tried: Collection[Target],
    in_progress: InProgress,
    rng: random.Random,
    now: float,
) -> LocalTarget | None:
    """The less loaded of two random candidates that are not among `tried`."""
    left = [candidate for candidate in candidates if candidate.target not in tried] if tried else candidates
    count = len(left)
    if count < 2:
        return left[0].target if left else None
    # Two distinct indices from two draws: `random.sample` costs several times as much.
    i = int(rng.random() * count)
    j = int(rng.random() * (count - 1))
    first, second = left[i], left[j + (j >= i)]
    if first.ramp < 1.0 and rng.random() >= first.ramp:
        return second.target
    if second.ramp < 1.0 and rng.random() >= second.ramp:
        return first.target
    return _less_loaded(first, second, in_progress, now)


def _less_loaded(first: Candidate, second: Candidate, in_progress: InProgress, now: float) -> LocalTarget:
    mine, theirs = in_progress(first.target), in_progress(second.target)
    cost, other_cost = first.latency.cost_s, second.latency.cost_s
    if cost <= _ALIKE * other_cost and other_cost <= _ALIKE * cost:
        return first.target if mine <= theirs else second.target
    less = load(first.latency.cost_at(now), mine) <= load(second.latency.cost_at(now), theirs)
    return first.target if less else second.target
