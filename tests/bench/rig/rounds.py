"""Alternating rounds: what one contender gets, the next gets right after it, so that a busy machine is busy for all."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence

import msgspec

from gateway.demo.waiting import pause
from tests.bench.rig.contender import Contender, spent
from tests.bench.rig.figures import Measured, Sample

_SETTLE_S = 0.1
"""After the load: what is still under way in the gateways belongs to it."""


class Work(msgspec.Struct, frozen=True):
    """What one piece of load did."""

    units: float
    """Requests, connections or megabytes: what CPU is divided by."""
    units_per_s: float


def alternate(contenders: Sequence[Contender], rounds: int, sample: Callable[[Contender], Sample]) -> list[Measured]:
    """Takes `rounds` samples of each, in turns; who begins changes from round to round."""
    samples: dict[str, list[Sample]] = {contender.name: [] for contender in contenders}
    for number in range(rounds):
        first = number % len(contenders)
        for contender in [*contenders[first:], *contenders[:first]]:
            samples[contender.name].append(sample(contender))
    return [Measured(contender.name, contender.version, samples[contender.name]) for contender in contenders]


def with_cpu(contender: Contender, work: Callable[[], Work]) -> tuple[Work, dict[str, float]]:
    """Does it, and says how many CPU seconds each of the contender's processes took meanwhile."""
    before = contender.cpu_s()
    done = work()
    pause(_SETTLE_S)
    return done, spent(before, contender.cpu_s())


def joined(samples: Sequence[Sample]) -> Sample:
    """Several pieces of load as one round: all their figures, and their CPU together."""
    cpu_s: dict[str, float] = {}
    values: dict[str, float] = {}
    for sample in samples:
        values.update(sample.values)
        cpu_s = _added(cpu_s, sample.cpu_s)
    return Sample(values, cpu_s)


def _added(one: Mapping[str, float], other: Mapping[str, float]) -> dict[str, float]:
    return {role: one.get(role, 0.0) + other.get(role, 0.0) for role in {**one, **other}}
