"""What the status API says of peers: each in three parts, what etcd tells, what tunnels tell, and its services."""

from __future__ import annotations

import msgspec


class GatewayDocument(msgspec.Struct, frozen=True):
    """A gateway of a peer, as the peer registered it. Not `leased`: etcd no longer knows it, and it is still tried."""

    id: str
    addresses: tuple[str, ...]
    region: str
    zone: str
    version: str
    leased: bool


class TunnelDocument(msgspec.Struct, frozen=True):
    """The tunnels of all workers to one gateway of a peer. `rtt_ms` is the last probe's, the best of the workers."""

    gateway: str
    address: str
    ready: int
    wanted: int
    rtt_ms: float | None
    error: str = ""


class ControlDocument(msgspec.Struct, frozen=True):
    """What we know of a peer through etcd. `ok`: etcd answers, a gateway's lease lives, and its bundle is believed."""

    ok: bool
    freshness: str
    """`fresh`, `suspect`, `stale` (used last) or `withdrawn` (not used)."""
    freshness_reason: str
    freshness_for_s: float
    """For how long it has been so."""
    lease: str
    """`live`, `lost`, or `unknown` while etcd can't be asked."""
    bundle_sequence: int | None
    acknowledged_sequence: int | None
    """The sequence of our bundle that the peer says it accepted."""
    gateways: tuple[GatewayDocument, ...]
    refused_records: int
    etcd: tuple[str, ...] = ()
    """Where the peer's records are read (`peers.<cluster>.etcd`); empty: in this cluster's own etcd."""
    etcd_connected: bool = True
    """Whether that etcd was read, and is followed without a gap."""
    bundle_url: str = ""
    """Where the bundle of a peer outside the federation's etcd is followed; empty for all others."""
    bundle_age_s: float | None = None
    """For how long that bundle was not confirmed; null: there is none."""
    clock_skew_s: float | None = None
    """How far the peer's clock is ahead of this cluster's, negative where it is behind, by its last record."""


class DataDocument(msgspec.Struct, frozen=True):
    """What our tunnels to a peer say. `ok`: at least one is ready, and has answered a probe."""

    ok: bool
    tunnels_ready: int
    tunnels_wanted: int
    rtt_ms: float | None
    spiffe_ids: tuple[str, ...]
    """Who answered, as validated from the certificates."""
    inbound_connections: int
    """The peer's own connections to us that are open."""
    gateways: tuple[TunnelDocument, ...]
    serials: tuple[str, ...] = ()
    """The serial numbers of the certificates at the other end of our tunnels, as `isthmus trust revoke` takes them."""


class PeerServicesDocument(msgspec.Struct, frozen=True):
    """How many services a peer offers us, and how many of those can be reached there now."""

    offered: int
    reachable: int


class ClusterDocument(msgspec.Struct, frozen=True):
    """A peer cluster, in three parts. `ready` needs both paths, control and data: neither alone makes a link good."""

    cluster: str
    trust_domain: str
    ready: bool
    problem: str
    """Why it is not ready, for a person; empty if it is."""
    control: ControlDocument
    data: DataDocument
    services: PeerServicesDocument


class ClustersDocument(msgspec.Struct, frozen=True):
    """`/v1/clusters`: the peers of `cluster`."""

    cluster: str
    clusters: tuple[ClusterDocument, ...]
