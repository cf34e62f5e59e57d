"""How a service's load is divided between places: Envoy's priority arithmetic, as pure numbers.

A place that is 71 % available still takes everything, because it is taken to have 1.4 times the capacity that it needs;
below that a part of the load spills to the next level, in proportion. When all levels together can not carry the load,
and a place is less available than the panic threshold, its health is disregarded: most of its health checks are then
more likely wrong than right, and what is left of it would break under the load of all. A place of which nothing at all
is left has no hosts here (`divide`): unlike Envoy, which then sends to hosts that are all known to be dead.

Source: Envoy's documentation, "Priority levels" and "Panic threshold". Envoy counts in whole percents; this does not.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple

import msgspec

OVERPROVISIONING = 1.4
# Sums of fractions miss 1 by so much at most.
_ROUNDING = 1e-9


class Place(msgspec.Struct, frozen=True):
    """One cluster, or one zone, that can take a part of the load."""

    availability: float
    """0 to 1."""
    hosts: float = 1.0
    """What it counts for when health is disregarded; 0 if it can't be reached at all."""
    weight: float = 1.0
    """Against the other places of its level."""
    damping: float = 1.0
    """0 to 1: it has just come back, and shall get less than it could take. Panic does not follow from that."""

    @property
    def health(self) -> float:
        """How much of the whole load it can carry, 0 to 1."""
        return min(1.0, OVERPROVISIONING * self.availability * self.damping)

    @property
    def undamped_health(self) -> float:
        return min(1.0, OVERPROVISIONING * self.availability)


class Spill(NamedTuple):
    """Each place's share, level by level, and whether its health is disregarded. Shares sum to 1, or are all 0."""

    shares: list[list[float]]
    panic: list[list[bool]]

    @property
    def total_panic(self) -> bool:
        return all(place for level in self.panic for place in level)


def spill(levels: Sequence[Sequence[Place]], panic_threshold: float) -> Spill:
    """Divides the load between levels of places, the preferred level first.

    >>> spill([[Place(0.5)], [Place(1.0)]], 0.5).shares
    [[0.7], [0.3]]
    """
    enough = sum(place.undamped_health for level in levels for place in level) >= 1.0 - _ROUNDING
    panic = [[not enough and place.availability < panic_threshold for place in level] for level in levels]
    if all(place for level in panic for place in level):
        return Spill(_by_hosts(levels), panic)
    health = [sum(place.health for place in level) for level in levels]
    total = min(1.0, sum(health))
    left, shares = 1.0, []
    for level, sum_health in zip(levels, health, strict=True):
        load = min(left, sum_health / total) if total else 0.0
        left -= load
        shares.append(_by_weight(level, load))
    return Spill(_exact(shares), panic)


def _by_weight(level: Sequence[Place], load: float) -> list[float]:
    """Within a level, as Envoy's locality weights: each by its weight and by what it can carry."""
    weights = [place.weight * place.health for place in level]
    total = sum(weights)
    return [load * weight / total if total else 0.0 for weight in weights]


def _by_hosts(levels: Sequence[Sequence[Place]]) -> list[list[float]]:
    """Nobody is well enough: everybody gets as much as they have hosts, whatever these look like."""
    return _exact([[place.hosts for place in level] for level in levels])


def _exact(shares: list[list[float]]) -> list[list[float]]:
    total = sum(share for level in shares for share in level)
    return [[share / total if total else 0.0 for share in level] for level in shares]


def capped(shares: Sequence[float], caps: Sequence[float], health: Sequence[float]) -> list[float]:
    """Shares of which none is above its cap, as far as others have room.

    What is cut off goes to the places behind, each up to its own cap and to what it can carry; what finds no room there
    stays where it was, since a request that is answered is worth more than a cap that is kept.

    >>> capped([0.0, 1.0, 0.0], [1.0, 0.6, 1.0], [0.0, 1.0, 1.0])
    [0.0, 0.6, 0.4]
    """
    result = list(shares)
    for i, cap in enumerate(caps):
        for j in range(i + 1, len(result)):
            moved = min(result[i] - cap, min(caps[j], health[j]) - result[j])
            if moved > 0:
                result[i] -= moved
                result[j] += moved
    return result
