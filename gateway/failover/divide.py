"""From groups, and what is known of them, to a plan."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from itertools import groupby

from gateway.failover.order import Group
from gateway.failover.plan import GroupState, Plan
from gateway.failover.spill import Place, Spill, capped, spill


def divide(
    groups: Sequence[Group],
    measure: Callable[[Group], GroupState],
    *,
    panic_threshold: float,
    max_share: float,
    own_cluster: str,
) -> Plan:
    """The plan for requests that may go to all of `groups`. `max_share` limits each cluster but our own."""
    states = [measure(group) for group in groups]
    _give_up_hope(states)
    levels = [_by_cluster(level) for level in _runs(states, lambda state: state.group.level)]
    load = spill([[_place(cluster) for cluster in level] for level in levels], panic_threshold)
    clusters = [cluster for level in levels for cluster in level]
    shares = _limited(clusters, load, max_share, own_cluster)
    panic = [place for level in load.panic for place in level]
    for cluster, share, panics in zip(clusters, shares, panic, strict=True):
        _divide_cluster(cluster, share, panics)
    return Plan(states, last_resort=panic_threshold > 0.0)


def _give_up_hope(states: Sequence[GroupState]) -> None:
    """Panic is for health that is in doubt: where a part of the checks fail, they may be wrong. Where those of all
    endpoints of our own cluster fail, there is nothing left that would answer, and a fast refusal says so. Another
    cluster without a healthy endpoint counts for nothing by itself."""
    own = [state for state in states if state.group.share is None]
    if any(state.published for state in own):
        return
    for state in own:
        state.hopeless, state.hosts = True, 0.0


def _runs(states: Sequence[GroupState], key: Callable[[GroupState], int]) -> list[list[GroupState]]:
    return [[*run] for _, run in groupby(states, key=key)]


def _by_cluster(level: Sequence[GroupState]) -> list[list[GroupState]]:
    clusters: dict[str, list[GroupState]] = {}
    for state in level:
        clusters.setdefault(state.group.cluster, []).append(state)
    return [*clusters.values()]


def _place(states: Sequence[GroupState]) -> Place:
    """Groups of one cluster, as one place. They count by the number of their endpoints."""
    if len(states) == 1:
        state = states[0]
        return Place(state.availability, state.hosts, state.group.weight, state.damping)
    hosts = sum(state.hosts for state in states)
    available = sum(state.availability * state.hosts for state in states)
    damped = sum(state.availability * state.damping * state.hosts for state in states)
    availability, damping = available / hosts if hosts else 0.0, damped / available if available else 1.0
    return Place(availability, hosts, states[0].group.weight, damping)


def _limited(clusters: Sequence[Sequence[GroupState]], load: Spill, max_share: float, own: str) -> list[float]:
    shares = [share for level in load.shares for share in level]
    if max_share >= 1.0 or load.total_panic:
        return shares
    caps = [1.0 if states[0].group.cluster == own else max_share for states in clusters]
    return capped(shares, caps, [_place(states).health for states in clusters])


def _divide_cluster(states: Sequence[GroupState], share: float, panics: bool) -> None:
    """Divides a cluster's share between its zones: by nearness, and of what is equally near by health."""
    for state in states:
        state.panic = panics
    if len(states) == 1:
        states[0].share = share
        return
    if panics:
        hosts = sum(state.hosts for state in states)
        for state in states:
            state.share = share * state.hosts / hosts if hosts else 0.0
        return
    sublevels = _runs(states, lambda state: state.group.sublevel)
    places = [
        [Place(state.availability, state.hosts, state.hosts, state.damping) for state in run] for run in sublevels
    ]
    for run, part in zip(sublevels, spill(places, panic_threshold=0.0).shares, strict=True):
        for state, fraction in zip(run, part, strict=True):
            state.share = share * fraction
