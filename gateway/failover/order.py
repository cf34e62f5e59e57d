"""The groups of places that a service has, the preferred first (DESIGN section 8).

A group is one zone of our own cluster, or another cluster, whose gateways know best which of its zones is near them.
Own zone, own cluster, same region, `failover.order`, round-trip time, name; what is stale comes last. A service's own
policy may say otherwise.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Mapping

import msgspec

from discovery.address import HostPort
from discovery.model import Endpoint, Locality
from gateway.failover.policy import Affinity, ServicePolicy
from gateway.failover.target import LocalTarget
from gateway.snapshot import LocalResource, PeerResource, RemoteShare, ServiceResource


class Member(msgspec.Struct, frozen=True):
    """An endpoint of a group in our own cluster."""

    target: LocalTarget
    healthy: bool
    """As our own health checks say."""


class Group(msgspec.Struct, frozen=True):
    """Places that are as near as each other.

    Groups of one level and cluster are one place for the division of load, which their sublevels then divide further.
    """

    cluster: str
    zone: str
    level: int
    sublevel: int
    weight: float
    """Of the cluster, against the others of its level."""
    why: str
    """Why it stands where it stands, for people."""
    members: tuple[Member, ...] = ()
    """Of our own cluster's groups."""
    share: RemoteShare | None = None
    """Of another cluster's."""

    @property
    def name(self) -> str:
        return f"{self.cluster}/{self.zone}" if self.zone else self.cluster

    @property
    def published(self) -> tuple[int, int]:
        """Endpoints that the owner calls healthy, and all. 0 of 0 if it does not say."""
        if self.share is None:
            return sum(member.healthy for member in self.members), len(self.members)
        return sum(zone.healthy for zone in self.share.zones), sum(zone.total for zone in self.share.zones)


class _Rank(msgspec.Struct, frozen=True, order=True):
    """How another cluster stands against others: less is nearer."""

    stale: bool
    far: bool
    position: int
    rtt_step: int
    name: str


def order_groups(
    service: ServiceResource,
    port: str,
    policy: ServicePolicy,
    local: LocalResource,
    peers: Mapping[str, PeerResource],
    rtt_step: Callable[[str], int],
) -> tuple[Group, ...]:
    """All groups of one port of a service, the preferred first. `rtt_step`: a cluster's class of round-trip time."""
    order = local.failover.order if policy.order is None else policy.order
    own = [*_own_groups(service, port, local)]
    remotes = sorted(
        (
            (_rank(share, order, local.locality, peers, rtt_step), share)
            for share in service.remotes
            if port in share.ports and share.cluster in peers
        ),
        key=lambda ranked: ranked[0],
    )
    others = [_remote_group(share, _why(rank, order)) for rank, share in remotes]
    if policy.pin:
        pinned = [msgspec.structs.replace(group, why="pin") for group in [*own, *others] if group.cluster == policy.pin]
        return _levels([pinned])
    fresh = [[group] for group in others if group.share is not None and not group.share.stale]
    stale = [[group] for group in others if group.share is not None and group.share.stale]
    if policy.affinity is Affinity.NONE:
        return _levels([_alike([*own, *(group for level in fresh for group in level)]), *stale])
    clusters = [*fresh, own] if policy.affinity is Affinity.REMOTE else [own, *fresh]
    if policy.weights:
        return _levels([*_by_weight(clusters, policy.weights), *stale])
    if policy.affinity is Affinity.REMOTE:
        return _levels([*clusters, *stale])
    # The own zone and the rest of the cluster are levels of their own.
    zones = [[group for group in own if group.sublevel == sublevel] for sublevel in (0, 1)]
    return _levels([*zones, *fresh, *stale])


def _own_groups(service: ServiceResource, port: str, local: LocalResource) -> Iterator[Group]:
    zones: dict[str, list[Member]] = {}
    for entry in service.endpoints:
        if port in entry.endpoint.ports:
            # An endpoint whose zone nobody knows is as near as any.
            zone = entry.endpoint.zone or local.locality.zone
            zones.setdefault(zone, []).append(
                Member(LocalTarget(endpoint_address(entry.endpoint, port), service.tls), entry.healthy)
            )
    for zone, members in sorted(zones.items(), key=lambda item: (item[0] != local.locality.zone, item[0])):
        near = zone == local.locality.zone
        yield Group(local.cluster, zone, 0, not near, 1.0, "own zone" if near else "own cluster", tuple(members))


def _remote_group(share: RemoteShare, why: str) -> Group:
    return Group(share.cluster, "", 0, 0, 1.0, why, share=share)


def _rank(
    share: RemoteShare,
    order: tuple[str, ...],
    here: Locality,
    peers: Mapping[str, PeerResource],
    rtt_step: Callable[[str], int],
) -> _Rank:
    regions = {gateway.locality.region for gateway in peers[share.cluster].gateways} - {""}
    names = regions | {share.cluster}
    position = next((i for i, name in enumerate(order) if name in names), len(order))
    return _Rank(share.stale, here.region not in regions, position, rtt_step(share.cluster), share.cluster)


def _why(rank: _Rank, order: tuple[str, ...]) -> str:
    if rank.stale:
        return "stale"
    if not rank.far:
        return "same region"
    if rank.position < len(order):
        return f"failover.order {rank.position + 1}"
    return "round-trip time"


def _levels(levels: Iterable[Iterable[Group]]) -> tuple[Group, ...]:
    """Numbers the levels that are not empty."""
    filled = [[*level] for level in levels]
    numbered = enumerate(level for level in filled if level)
    return tuple(msgspec.structs.replace(group, level=i) for i, level in numbered for group in level)


def _alike(groups: Iterable[Group]) -> list[Group]:
    """One level, in which each cluster weighs as much as it has endpoints."""
    weights: dict[str, float] = {}
    alike = [*groups]
    for group in alike:
        weights[group.cluster] = weights.get(group.cluster, 0.0) + max(1, group.published[1])
    return [
        msgspec.structs.replace(group, weight=weights[group.cluster], sublevel=0, why="affinity none")
        for group in alike
    ]


def _by_weight(clusters: Iterable[list[Group]], weights: Mapping[str, int]) -> list[list[Group]]:
    """A first level of those that have a weight, and behind it the others in their order."""
    first: list[Group] = []
    behind: list[list[Group]] = []
    for groups in clusters:
        weight = weights.get(groups[0].cluster, 0) if groups else 0
        if weight:
            first += [msgspec.structs.replace(group, weight=float(weight), why=f"weight {weight}") for group in groups]
        else:
            behind.append(groups)
    return [first, *behind]


def endpoint_address(endpoint: Endpoint, port: str) -> str:
    return str(HostPort(endpoint.address, endpoint.ports[port]))
