"""What the peers say, as far as we believe it, and what follows: the catalog, the journals, who is to be told. Pure.

What became different gathers in `changes` until somebody takes it.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Callable, Iterable, Iterator

from discovery.model import ServiceName
from federation.addresses import ServiceAddresses
from federation.cache import CachedCluster, CatalogCache
from federation.catalog import Catalog
from federation.changes import Changes
from federation.freshness import Transition
from federation.members import Members
from federation.paths import Kind
from federation.peer_events import (
    BundleChanged,
    Dropped,
    ExportChanged,
    ExportsRestored,
    GatewaysChanged,
    ListingWanted,
    PeerChange,
    PeerEvent,
    Refused,
    Stored,
)
from federation.peer_memory import BelievedBundle, recall_bundle
from federation.report import PeerTransition
from trust.bundle import Bundle

_MAX_TRANSITIONS = 128


class PeerBeliefs:
    """Of the peers in `members`. `now` is monotonic seconds, `wall` Unix seconds; `acknowledged` is called with each
    peer that says whose bundles it believes."""

    def __init__(
        self,
        federation: str,
        members: Members,
        catalog: Catalog,
        addresses: ServiceAddresses,
        cache: CatalogCache,
        acknowledged: Callable[[str], None],
    ) -> None:
        self.members = members
        self.changes = Changes()
        self.transitions: deque[PeerTransition] = deque(maxlen=_MAX_TRANSITIONS)
        self._federation = federation
        self._catalog = catalog
        self._addresses = addresses
        self._cache = cache
        self._acknowledged = acknowledged

    def take_changes(self) -> Changes:
        taken, self.changes = self.changes, Changes()
        return taken

    def recall(self, cluster: str, believed: BelievedBundle, now: float, wall: float) -> None:
        """The bundle that we believed of a peer. Do it before `restore`."""
        peer = self.members[cluster].peer
        bundle = recall_bundle(
            believed,
            federation=self._federation,
            cluster=cluster,
            trust_domain=peer.trust_domain,
            pin=peer.root,
        )
        if bundle is not None:
            changes = self.members[cluster].state.recall(bundle, believed.record.encode())
            self._take(cluster, changes, now, wall)

    def remember(self, cluster: str) -> BelievedBundle | None:
        """What to keep on disk of the bundle that we believe of a peer."""
        if cluster not in self.members or (raw := self.members[cluster].state.bundle_record) is None:
            return None
        peer = self.members[cluster].peer
        return BelievedBundle(peer.trust_domain, peer.root, raw.decode())

    def restore(self, cluster: str, cached: CachedCluster, now: float, wall: float) -> Iterator[int]:
        """What a peer said, as far as it can be verified still: little by little, so that others can have a turn in
        between; gives how many records each step took. Those that are no peers now are passed over."""
        if cluster not in self.members:
            return
        state = self.members[cluster].state
        for change in state.restore(cached.entries, cached.buried, wall):
            if cluster not in self.members or self.members[cluster].state is not state:
                return  # It was removed meanwhile.
            self._take(cluster, (change,), now, wall)
            yield len(change.exports) if isinstance(change, ExportsRestored) else 1

    def observe_link(self, cluster: str, up: bool, now: float, wall: float) -> None:
        """Unknown clusters are passed over: a worker may still close the tunnels of a peer that was removed."""
        if cluster in self.members:
            self.transitioned(cluster, self.members.observe_link(cluster, up, now), wall)

    def follow(self, cluster: str, bundle: Bundle | None, heard: bool, now: float, wall: float) -> None:
        """What a peer's bundle endpoint said; `heard`: it answered well just now."""
        if cluster in self.members:
            changed, transition = self.members.follow(cluster, bundle, heard, now)
            if changed:
                self.changes.peers |= {cluster} | self.members.review_roots()
            self.transitioned(cluster, transition, wall)

    def tick(self, now: float, wall: float) -> None:
        for cluster, transition in self.members.tick(now).items():
            self.transitioned(cluster, transition, wall)

    def apply(self, cluster: str, event: PeerEvent, now: float, wall: float) -> None:
        self._take(cluster, self.members[cluster].state.apply(event, wall), now, wall)

    def _take(self, cluster: str, changes: Iterable[PeerChange], now: float, wall: float) -> None:
        for change in changes:
            match change:
                case ExportChanged(name, value):
                    self.note(self._catalog.apply_export(cluster, name, value))
                case ExportsRestored(exports):
                    self.note(self._catalog.apply_exports(cluster, exports))
                case BundleChanged():
                    self.changes.bundles.add(cluster)
                    self.changes.peers |= {cluster} | self.members.review_roots()
                case GatewaysChanged():
                    self.changes.peers.add(cluster)
                    self.transitioned(cluster, self.members.observe_lease(cluster, now), wall)
                case Stored(path, raw, key_id, sequence, export):
                    self._cache.put(cluster, path, raw, key_id, sequence, export)
                    if path.kind is Kind.ACK:
                        self._acknowledged(cluster)
                case Dropped(path, sequence):
                    self._cache.drop(cluster, path, sequence)
                case Refused():
                    self.changes.refused.append((cluster, change))
                case ListingWanted():
                    self.changes.list_again.add(self.members[cluster].peer.etcd)

    def transitioned(self, cluster: str, transition: Transition | None, wall: float) -> None:
        if transition is None:
            return
        seen = PeerTransition(cluster, transition.before, transition.after, transition.reason, wall)
        self.transitions.append(seen)
        self.changes.transitions.append(seen)
        self.changes.peers.add(cluster)
        self.note(self._catalog.apply_freshness(cluster, transition.after))

    def note(self, names: set[ServiceName]) -> None:
        """These services are different now."""
        self.changes.services |= self._addresses.follow(names)
