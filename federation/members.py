"""The peers: what each has said, how much that is still worth, and how we show it. Pure."""

from __future__ import annotations

import dataclasses
from collections.abc import Iterator, Mapping

import msgspec

from federation.freshness import Freshness, Lease, Link, PeerFreshness, Reason, Transition
from federation.peer_keys import PeerKeys
from federation.peer_state import PeerState
from federation.settings import EtcdSource, FederationSettings, Peer
from trust.bundle import Bundle
from trust.revocation import FOREVER, Revocations
from trust.shadowing import Shadow, find_shadows


class GatewayView(msgspec.Struct, frozen=True):
    """A peer's gateway to dial. `addresses` are `host:port`."""

    id: str
    addresses: tuple[str, ...]
    region: str
    zone: str


class PeerView(msgspec.Struct, frozen=True):
    """A peer as our gateway may use it: `roots` (DER) validate its gateways' certificates. Those that would stand in
    front of another peer's are not among them."""

    cluster: str
    trust_domain: str
    roots: tuple[bytes, ...]
    gateways: tuple[GatewayView, ...]
    freshness: Freshness
    reason: Reason
    revoked: Revocations = Revocations()
    """Certificates that `roots` bear out and that are refused all the same."""


class Member(msgspec.Struct):
    """One peer."""

    peer: Peer
    state: PeerState
    freshness: PeerFreshness


class Members:
    """The peers by cluster name. `now` is monotonic seconds."""

    def __init__(self, settings: FederationSettings, now: float) -> None:
        self._settings = settings
        self._members: dict[str, Member] = {}
        self._heard: set[EtcdSource | None] = set()
        self.shadows: list[Shadow] = []
        """Roots of peers that are left out, because they imitate another peer's."""
        self.configure(settings, now)

    def __contains__(self, cluster: str) -> bool:
        return cluster in self._members

    def __getitem__(self, cluster: str) -> Member:
        return self._members[cluster]

    def __iter__(self) -> Iterator[str]:
        return iter(tuple(self._members))

    def configure(self, settings: FederationSettings, now: float) -> tuple[set[str], set[str], set[str]]:
        """Takes changed settings; returns which peers are gone, which are new, and which are read in another etcd from
        now on. One whose trust domain or root is another now is gone and new, unless the bundle that is believed of it
        holds that root; one that only moved is believed on."""
        self._settings = settings
        gone = {name for name, member in self._members.items() if not _same(settings.peers.get(name), member)}
        for name in gone:
            del self._members[name]
        for name, member in self._members.items():
            # A pin that follows a root which was replaced: what is believed of the peer stays.
            member.state.keys.root = settings.peers[name].root
            member.peer = dataclasses.replace(member.peer, root=settings.peers[name].root)
        moved = {name for name, member in self._members.items() if settings.peers[name].etcd != member.peer.etcd}
        for name in moved:
            self._members[name].peer = settings.peers[name]
            self._members[name].state.live = False
        new = settings.peers.keys() - self._members.keys()
        for name in new:
            self._members[name] = self._admit(name, settings, now)
        for member in self._members.values():
            member.freshness.set_limits(settings.stale_after_s, settings.withdraw_after_s)
        self._heard &= {None, *(peer.etcd for peer in settings.peers.values())}
        return gone, set(new), moved

    def _admit(self, name: str, settings: FederationSettings, now: float) -> Member:
        peer = settings.peers[name]
        state = PeerState(name, self._settings.federation, PeerKeys(peer.trust_domain, peer.root))
        freshness = PeerFreshness(now, stale_after_s=settings.stale_after_s, withdraw_after_s=settings.withdraw_after_s)
        return Member(peer, state, freshness)

    def read_in(self, source: EtcdSource | None) -> list[str]:
        """The peers whose records are taken from this etcd (None: ours), and from no other."""
        return [name for name, member in self._members.items() if member.peer.reads(source)]

    def follow(self, cluster: str, bundle: Bundle | None, heard: bool, now: float) -> tuple[bool, Transition | None]:
        """A peer's bundle endpoint was asked: what is believed of it now, and whether it answered well. Returns whether
        the bundle is another than before."""
        member = self._members[cluster]
        changed = bundle is not None and member.state.keys.follow(bundle)
        lease = Lease.LIVE if heard else Lease.UNKNOWN
        return changed, member.freshness.observe_lease(lease, now)

    def observe_etcd(self, source: EtcdSource | None, heard: bool, now: float) -> dict[str, Transition]:
        """This etcd was listed and is being watched (`heard`), or is away."""
        if heard:
            self._heard.add(source)
        else:
            self._heard.discard(source)
        for name in self.read_in(source):
            self._members[name].state.live = heard
        return self._collect({name: self.observe_lease(name, now) for name in self.read_in(source)})

    def listing_goes_on(self, source: EtcdSource | None, now: float) -> None:
        """More of this etcd was read, which may take long: whoever is read there is not silent for that."""
        for name in self.read_in(source):
            self._members[name].freshness.listen(now)

    def observe_lease(self, cluster: str, now: float) -> Transition | None:
        """A peer's gateways changed, or our sight of its etcd did."""
        member = self._members[cluster]
        seen = Lease.LIVE if member.state.has_lease else Lease.LOST
        return member.freshness.observe_lease(seen if member.peer.etcd in self._heard else Lease.UNKNOWN, now)

    def observe_link(self, cluster: str, up: bool, now: float) -> Transition | None:
        return self._members[cluster].freshness.observe_link(Link.UP if up else Link.DOWN, now)

    def tick(self, now: float) -> dict[str, Transition]:
        return self._collect({name: self._members[name].freshness.tick(now) for name in self})

    def review_roots(self) -> set[str]:
        """A bundle changed, or a peer came or went: returns whose roots are others by that."""
        before = set(self.shadows)
        bundles = {name: member.state.keys.bundle for name, member in self._members.items()}
        roots = {name: bundle.authorities for name, bundle in bundles.items() if bundle is not None}
        pinned = {name: member.peer.root for name, member in self._members.items()}
        self.shadows = find_shadows(roots, pinned)
        return {shadow.owner for shadow in before ^ set(self.shadows)} & self._members.keys()

    def next_deadline(self) -> float | None:
        deadlines = (member.freshness.next_deadline() for member in self._members.values())
        return min((deadline for deadline in deadlines if deadline is not None), default=None)

    def view(self, cluster: str) -> PeerView:
        member = self._members[cluster]
        bundle = member.state.keys.bundle
        left_out = {shadow.der for shadow in self.shadows if shadow.owner == cluster}
        named = tuple(GatewayView(address, (address,), "", "") for address in member.peer.gateways)
        gateways = named or tuple(
            GatewayView(known.value.id, known.value.addresses, known.value.region, known.value.zone)
            for _, known in sorted(member.state.gateways.items())
            if bundle is None or bundle.revoked.gateways.get(known.value.id) != FOREVER
        )
        return PeerView(
            cluster=cluster,
            trust_domain=member.peer.trust_domain,
            roots=tuple(der for der in bundle.authorities if der not in left_out) if bundle is not None else (),
            gateways=gateways,
            freshness=member.freshness.state,
            reason=member.freshness.reason,
            revoked=bundle.revoked if bundle is not None else Revocations(),
        )

    def views(self) -> Mapping[str, PeerView]:
        return {name: self.view(name) for name in self}

    @staticmethod
    def _collect(transitions: Mapping[str, Transition | None]) -> dict[str, Transition]:
        return {name: transition for name, transition in transitions.items() if transition is not None}


def _same(now: Peer | None, before: Member) -> bool:
    if now is None or _identity(now) != _identity(before.peer):
        return False
    return now.root == before.peer.root or before.state.keys.holds_root(now.root)


def _identity(peer: Peer) -> tuple[object, ...]:
    return peer.trust_domain, peer.endpoint, peer.gateways
