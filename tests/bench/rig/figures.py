"""The arithmetic of a comparison: samples of several rounds, their medians, and how many times better one side is."""

from __future__ import annotations

import statistics
from collections.abc import Mapping, Sequence

import msgspec

OURS = "isthmus"


class Figure(msgspec.Struct, frozen=True):
    """Something that is measured of each contender, and counts in the comparison."""

    name: str
    """Its key in the JSON object, with the unit: `requests_per_s_32`."""
    title: str
    """Its column in the table."""
    higher_is_better: bool
    resolution: float = 0.0
    """A value below this is noise, and counts as this: a time added over direct may come out below 0."""


class Sample(msgspec.Struct, frozen=True):
    """What one round saw of one contender."""

    values: dict[str, float]
    """By the figures' names."""
    cpu_s: dict[str, float] = {}
    """CPU seconds of each of its processes, by role."""


class Measured(msgspec.Struct, frozen=True):
    """All rounds of one contender."""

    name: str
    version: str
    samples: list[Sample]

    def medians(self) -> dict[str, float]:
        """Of each figure over the rounds."""
        names = self.samples[0].values
        return {name: statistics.median(sample.values[name] for sample in self.samples) for name in names}

    def cpu_shares(self) -> dict[str, float]:
        """The part of its CPU that each role took in all rounds together, 1 in sum; empty if it took none."""
        by_role: dict[str, float] = {}
        for sample in self.samples:
            for role, cpu_s in sample.cpu_s.items():
                by_role[role] = by_role.get(role, 0.0) + cpu_s
        total = sum(by_role.values())
        return {role: cpu_s / total for role, cpu_s in by_role.items()} if total else {}


def advantage(figure: Figure, ours: float, theirs: float) -> float:
    """How many times better `ours` is than `theirs`: above 1 is better, whichever way the figure counts."""
    ours, theirs = max(ours, figure.resolution), max(theirs, figure.resolution)
    better, worse = (ours, theirs) if figure.higher_is_better else (theirs, ours)
    if worse == 0:
        return 1.0 if better == 0 else float("inf")
    return better / worse


def advantages(figures: Sequence[Figure], ours: Mapping[str, float], theirs: Mapping[str, float]) -> dict[str, float]:
    """Of each figure, by name."""
    return {figure.name: advantage(figure, ours[figure.name], theirs[figure.name]) for figure in figures}


def worst_ratio(figures: Sequence[Figure], ours: Mapping[str, float], theirs: Mapping[str, float]) -> float:
    """The bench's one number against a peer: the figure in which we do worst."""
    return min(advantages(figures, ours, theirs).values())
