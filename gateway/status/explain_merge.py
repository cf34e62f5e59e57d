"""What several workers say of one service, as one answer. Pure.

Each worker decides by its own tunnels and its own requests, so they may differ for a while; what differs is said.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence

import msgspec

from gateway.failover.explanation import (
    EjectionExplanation,
    EndpointLoad,
    Explanation,
    GroupExplanation,
    LimitsExplanation,
    LoadExplanation,
    RetryBudgetExplanation,
)

_SAME_SHARE = 0.02
"""Shares that differ by less are the same, to a person."""


class MergedEjection(msgspec.Struct, frozen=True):
    """An ejection with the latest end, and how many workers have it."""

    ejection: EjectionExplanation
    workers: int


class Merged(msgspec.Struct, frozen=True):
    places: tuple[GroupExplanation, ...]
    """As all workers see them together: sums of tunnels, means of shares and availability."""
    ejections: tuple[MergedEjection, ...]
    load: LoadExplanation
    """Sums over the workers: each has its own."""
    panic: bool
    policy: str
    port: str
    differences: tuple[str, ...]


def merge(explanations: Mapping[str, Explanation]) -> Merged:
    """`explanations` are by worker, at least one. The order of groups is that of the first worker."""
    workers = sorted(explanations)
    said = [explanations[worker] for worker in workers]
    return Merged(
        places=tuple(_merge_group(key, said) for key in _places(said)),
        ejections=tuple(_merge_ejections(said)),
        load=_merge_load([explanation.load for explanation in said]),
        panic=any(explanation.panic for explanation in said),
        policy=said[0].policy,
        port=said[0].port,
        differences=tuple(
            difference for worker in workers[1:] for difference in _differences(workers[0], worker, explanations)
        ),
    )


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
        reachable=min(group.reachable for group in views),
        availability=round(sum(group.availability for group in views) / len(said), 4),
        damping=min(group.damping for group in views),
        held_s=max(group.held_s for group in views),
        share=round(sum(group.share for group in views) / len(said), 4),
        next_share=round(sum(group.next_share for group in views) / len(said), 4),
    )


def _merge_ejections(said: Sequence[Explanation]) -> list[MergedEjection]:
    found: dict[str, list[EjectionExplanation]] = {}
    for explanation in said:
        for ejection in explanation.ejections:
            found.setdefault(ejection.where, []).append(ejection)
    return [MergedEjection(max(same, key=_until), len(same)) for _, same in sorted(found.items())]


def _merge_load(loads: Sequence[LoadExplanation]) -> LoadExplanation:
    return LoadExplanation(
        places=tuple(_merge_limits([place for load in loads for place in load.places])),
        endpoints=tuple(_merge_endpoints([endpoint for load in loads for endpoint in load.endpoints])),
        budget=_merge_budgets([load.budget for load in loads if load.budget is not None]),
    )


def _merge_limits(places: Sequence[LimitsExplanation]) -> Iterator[LimitsExplanation]:
    for where in dict.fromkeys(place.where for place in places):
        same = [place for place in places if place.where == where]
        yield LimitsExplanation(
            where,
            requests=sum(one.requests for one in same),
            requests_limit=sum(one.requests_limit for one in same),
            retries=sum(one.retries for one in same),
            retries_limit=sum(one.retries_limit for one in same),
            refused=sum(one.refused for one in same),
        )


def _merge_endpoints(endpoints: Sequence[EndpointLoad]) -> Iterator[EndpointLoad]:
    """An endpoint that is spoken to in two protocols has two pools, each with the limit."""
    by_address: dict[str, list[EndpointLoad]] = {}
    for endpoint in endpoints:
        by_address.setdefault(endpoint.address, []).append(endpoint)
    for address, same in sorted(by_address.items()):
        yield EndpointLoad(
            address,
            requests=sum(one.requests for one in same),
            connections=sum(one.connections for one in same),
            connections_limit=sum(one.connections_limit for one in same),
            pending=sum(one.pending for one in same),
            pending_limit=sum(one.pending_limit for one in same),
        )


def _merge_budgets(budgets: Sequence[RetryBudgetExplanation]) -> RetryBudgetExplanation | None:
    if not budgets:
        return None
    return RetryBudgetExplanation(
        active=sum(one.active for one in budgets),
        retrying=sum(one.retrying for one in budgets),
        share=budgets[0].share,
        minimum_per_s=sum(one.minimum_per_s for one in budgets),
    )


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
