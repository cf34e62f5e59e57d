"""Locality-aware choice: which cluster, and which endpoint in it, gets the next attempt. Pure.

Groups are tried in DESIGN section 8's order: own zone, own cluster, same region, `failover.order`, then by name.
Inside the own cluster the choice is power-of-two-choices on requests in progress (Mitzenmacher 2001: nearly as good
as the least loaded of all, at the cost of two look-ups).
"""

from __future__ import annotations

import random
from collections.abc import Callable, Collection, Mapping, Sequence

from discovery.address import HostPort
from discovery.model import Endpoint
from gateway.failover.target import LocalTarget, RemoteTarget, Target
from gateway.snapshot import LocalResource, PeerResource, RemoteShare, ServiceResource


def order_remotes(
    remotes: Sequence[RemoteShare], local: LocalResource, peers: Mapping[str, PeerResource]
) -> list[RemoteShare]:
    """The other clusters of a service, the preferred first. What is stale or wholly unhealthy comes last."""

    def preference(share: RemoteShare) -> tuple[bool, bool, bool, int, str]:
        regions = {gateway.locality.region for gateway in peers[share.cluster].gateways} - {""}
        near = local.locality.region in regions
        names = regions | {share.cluster}
        rank = next((i for i, name in enumerate(local.failover_order) if name in names), len(local.failover_order))
        return (not share.healthy, share.stale, not near, rank, share.cluster)

    return sorted((share for share in remotes if share.cluster in peers), key=preference)


class Candidates:
    """The targets of one service's port in order, computed once for each change of the snapshot."""

    def __init__(
        self, service: ServiceResource, port: str, local: LocalResource, peers: Mapping[str, PeerResource]
    ) -> None:
        self.zone_targets: list[LocalTarget] = []
        self.cluster_targets: list[LocalTarget] = []
        self.unhealthy_targets: list[LocalTarget] = []
        for entry in service.endpoints:
            if port not in entry.endpoint.ports:
                continue
            target = LocalTarget(endpoint_address(entry.endpoint, port), service.tls)
            if not entry.healthy:
                self.unhealthy_targets.append(target)
            elif entry.endpoint.zone in ("", local.locality.zone):
                self.zone_targets.append(target)
            else:
                self.cluster_targets.append(target)
        remotes = [share for share in service.remotes if port in share.ports]
        self.remote_targets = [RemoteTarget(share.cluster) for share in order_remotes(remotes, local, peers)]

    def choose(
        self,
        tried: Collection[Target],
        *,
        from_peer: bool,
        load: Callable[[LocalTarget], int],
        reachable: Callable[[RemoteTarget], bool],
        rng: random.Random,
    ) -> Target | None:
        """The next target that is not among `tried`, or None.

        A request from a peer goes to a healthy local endpoint or nowhere (no transit, so no loop; the caller has
        better places to go than an unhealthy one of ours). For our own workloads an unhealthy endpoint is the last
        resort: a health check may be wrong, and nothing else is left.
        """
        for group in (self.zone_targets, self.cluster_targets):
            if target := pick_of_two(group, tried, load, rng):
                return target
        if from_peer:
            return None
        for remote in self.remote_targets:
            if remote not in tried and reachable(remote):
                return remote
        return pick_of_two(self.unhealthy_targets, tried, load, rng)


def pick_of_two(
    group: Sequence[LocalTarget],
    tried: Collection[Target],
    load: Callable[[LocalTarget], int],
    rng: random.Random,
) -> LocalTarget | None:
    """The less loaded of two random members that are not among `tried`."""
    left = [target for target in group if target not in tried] if tried else group
    if len(left) < 2:
        return left[0] if left else None
    # Two distinct indices from two draws: `random.sample` costs several times as much.
    i = int(rng.random() * len(left))
    j = int(rng.random() * (len(left) - 1))
    first, second = left[i], left[j + (j >= i)]
    return first if load(first) <= load(second) else second


def endpoint_address(endpoint: Endpoint, port: str) -> str:
    return str(HostPort(endpoint.address, endpoint.ports[port]))
