"""What several workers say of one service, as one answer. Pure.

Each worker decides by its own tunnels and its own requests, so they may differ for a while; what differs is said.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import msgspec

from gateway.failover.explanation import EjectionExplanation, Explanation, GroupExplanation
from gateway.failover.spill import OVERPROVISIONING

_SAME_SHARE = 0.02
"""Shares that differ by less are the same, to a person."""


class MergedPlace(msgspec.Struct, frozen=True):
    """A group, as all workers see it together: sums of tunnels, means of shares and availability."""

    group: GroupExplanation
    next_share: float


class MergedEjection(msgspec.Struct, frozen=True):
    """An ejection with the latest end, and how many workers have it."""

    ejection: EjectionExplanation
    workers: int


class Merged(msgspec.Struct, frozen=True):
    places: tuple[MergedPlace, ...]
    ejections: tuple[MergedEjection, ...]
    panic: bool
    policy: str
    port: str
    differences: tuple[str, ...]


def merge(explanations: Mapping[str, Explanation]) -> Merged:
    """`explanations` are by worker, at least one. The order of groups is that of the first worker."""
    workers = sorted(explanations)
    said = [explanations[worker] for worker in workers]
    groups = tuple(_merge_group(key, said) for key in _places(said))
    after = next_shares(groups)
    return Merged(
        places=tuple(MergedPlace(group, share) for group, share in zip(groups, after, strict=True)),
        ejections=tuple(_merge_ejections(said)),
        panic=any(explanation.panic for explanation in said),
        policy=said[0].policy,
        port=said[0].port,
        differences=tuple(
            difference for worker in workers[1:] for difference in _differences(workers[0], worker, explanations)
        ),
    )


def next_shares(groups: Sequence[GroupExplanation]) -> list[float]:
    """Each group's share if the first that gets requests died: as ranks spill, the nearer first, each as much as 1.4
    times its availability carries; all by what is available, if that is not enough for all."""
    dead = next((index for index, group in enumerate(groups) if group.share > 0), None)
    able = [0.0 if i == dead else min(1.0, OVERPROVISIONING * group.availability) for i, group in enumerate(groups)]
    if sum(able) < 1.0:
        return [health / sum(able) if any(able) else 0.0 for health in able]
    shares, left = [0.0] * len(groups), 1.0
    for rank in sorted({group.rank for group in groups}):
        members = [i for i, group in enumerate(groups) if group.rank == rank]
        health = sum(able[i] for i in members)
        load = min(left, health)
        for i in members:
            shares[i] = round(load * able[i] / health, 4) if health else 0.0
        left -= load
    return shares


def _places(said: Sequence[Explanation]) -> list[tuple[str, str]]:
    keys: dict[tuple[str, str], None] = {}
    for explanation in said:
        keys.update(dict.fromkeys((group.cluster, group.zone) for group in explanation.groups))
    return [*keys]


def _merge_group(key: tuple[str, str], said: Sequence[Explanation]) -> GroupExplanation:
    views = [group for explanation in said for group in explanation.groups if (group.cluster, group.zone) == key]
    rtts = [group.rtt_ms for group in views if group.rtt_ms > 0]
    return msgspec.structs.replace(
        views[0],
        ejected=max(group.ejected for group in views),
        tunnels=sum(group.tunnels for group in views),
        rtt_ms=min(rtts, default=0.0),
        availability=round(sum(group.availability for group in views) / len(said), 4),
        share=round(sum(group.share for group in views) / len(said), 4),
    )


def _merge_ejections(said: Sequence[Explanation]) -> list[MergedEjection]:
    found: dict[str, list[EjectionExplanation]] = {}
    for explanation in said:
        for ejection in explanation.ejections:
            found.setdefault(ejection.where, []).append(ejection)
    return [MergedEjection(max(same, key=_until), len(same)) for _, same in sorted(found.items())]


def _until(ejection: EjectionExplanation) -> float:
    return ejection.until


def _differences(first: str, other: str, explanations: Mapping[str, Explanation]) -> list[str]:
    ours, theirs = explanations[first], explanations[other]
    shares, others = _shares(ours), _shares(theirs)
    differing = [
        f"{other} sends {others.get(name, 0.0):.0%} to {name}, {first} {shares.get(name, 0.0):.0%}"
        for name in dict.fromkeys((*shares, *others))
        if abs(shares.get(name, 0.0) - others.get(name, 0.0)) > _SAME_SHARE
    ]
    ejected, others_ejected = ({e.where for e in said.ejections} for said in (ours, theirs))
    differing += [f"{other} has not ejected {where}, {first} has" for where in sorted(ejected - others_ejected)]
    differing += [f"{other} has ejected {where}, {first} has not" for where in sorted(others_ejected - ejected)]
    if ours.panic != theirs.panic:
        differing.append(f"{other if theirs.panic else first} disregards health, the other does not")
    return differing


def _shares(explanation: Explanation) -> dict[str, float]:
    return {place_name(group): group.share for group in explanation.groups}


def place_name(group: GroupExplanation) -> str:
    return f"{group.cluster}/{group.zone}" if group.zone else group.cluster
