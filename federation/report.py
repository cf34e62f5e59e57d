"""What the status API shows of this package: plain structs, whole and bounded."""

from __future__ import annotations

import msgspec

from federation.freshness import Freshness, Lease, Link, Reason
from federation.refusals import Refusal


class PeerTransition(msgspec.Struct, frozen=True):
    """A peer's freshness changed. `at` is Unix seconds."""

    cluster: str
    before: Freshness
    after: Freshness
    reason: Reason
    at: float


class GatewayStatus(msgspec.Struct, frozen=True):
    id: str
    addresses: tuple[str, ...]
    region: str
    zone: str
    version: str
    leased: bool


class BundleFollowing(msgspec.Struct, frozen=True):
    """How the bundle of a peer outside our etcd is followed."""

    url: str
    age_s: float | None
    """For how long the bundle was not confirmed; None: there is none."""
    problem: str
    """Why the last answer was not taken."""


class PeerStatus(msgspec.Struct, frozen=True):
    """The control part of a peer's status: what etcd and our tunnels say of it, and what of its word we refused."""

    cluster: str
    trust_domain: str
    root: str
    """The fingerprint that we pinned."""
    freshness: Freshness
    reason: Reason
    since_s: float
    """For how long it has been so."""
    lease: Lease
    link: Link
    away: bool
    """It has no bundle in etcd."""
    bundle_sequence: int
    """What we accepted; -1: none."""
    acknowledged: int
    """Which sequence of our bundle it says it accepted; -1: none."""
    gateways: tuple[GatewayStatus, ...]
    exports: int
    """How many services it exports, to whomever."""
    imported: int
    """How many of them are in our catalog."""
    refusals: tuple[Refusal, ...]
    refusal_counts: dict[str, int]
    record_keys: tuple[str, ...] = ()
    """Key IDs of the bundle that we believe."""
    pin_is_current: bool = True
    """Whether that bundle holds the root that we pinned."""
    left_out: int = 0
    """How many services it exports to us beyond what we take of one peer (`imports.max_services`)."""
    first_left_out: str = ""
    clock_skew_s: float | None = None
    """How far its clock is ahead of ours, negative: behind; None: not known yet."""
    clock_is_wrong: bool = False
    """Whether that is more than good clocks differ by. One of the two is."""
    etcd: tuple[str, ...] = ()
    """The URLs of the etcd that it is read in; empty: ours."""
    etcd_synced: bool = True
    """Whether that etcd is followed without a gap."""
    following: BundleFollowing | None = None
    """For a peer that is followed by URL, and in no etcd."""
    roots_left_out: tuple[str, ...] = ()
    """What is wrong with roots of its bundle that imitate another peer's."""


class EtcdStatus(msgspec.Struct, frozen=True):
    synced: bool
    problem: str
    endpoints: dict[str, str]
    """By URL: the last error, empty while it is connected."""
    publish_problem: str
    """Why our last write failed; empty when it did not."""
    leased: bool
    """Whether our gateway is registered."""
    writes: int
    """Transactions since the start."""


class PeerEtcdStatus(msgspec.Struct, frozen=True):
    """An etcd that only peers use: we read it."""

    clusters: tuple[str, ...]
    """The peers that are read in it."""
    synced: bool
    problem: str
    endpoints: dict[str, str]
    """By URL: the last error, empty while it is connected."""


class FederationStatus(msgspec.Struct, frozen=True):
    federation: str
    cluster: str
    trust_domain: str
    root: str
    """Our own fingerprint, for others to pin."""
    gateway_id: str
    bundle_sequence: int
    etcd: EtcdStatus
    peers: tuple[PeerStatus, ...]
    strangers: tuple[str, ...]
    """Clusters that write under this federation's name and are not our peers."""
    stray_keys: tuple[str, ...]
    """Keys that fit no form and belong to nobody."""
    services: int
    vips_exhausted: tuple[str, ...]
    cache_complaints: tuple[str, ...]
    transitions: tuple[PeerTransition, ...]
    """The last ones, the oldest first."""
    peer_etcds: tuple[PeerEtcdStatus, ...] = ()
    namesakes: tuple[str, ...] = ()
    """Gateways, by id, that are registered under our cluster's name and have other keys than it."""
