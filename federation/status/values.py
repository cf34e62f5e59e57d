"""The status API's documents: what `/v1/...` answers, and what `isthmus -o json` prints.

Names are snake_case with units, times are ISO 8601 in UTC, `null` means unknown. A document only ever gains fields.
"""

from __future__ import annotations

from datetime import datetime

import msgspec


class ListenerDocument(msgspec.Struct, frozen=True):
    """A socket that this gateway listens on. `address` is the real one, also where any free port was asked for."""

    name: str
    kind: str
    """`mesh`, `http`, `dns-udp`, `dns-tcp`, `bundle`, `status`, or `vip` for a service's virtual IP."""
    address: str


class WorkerDocument(msgspec.Struct, frozen=True):
    """A worker process. `ready`: it has reported that it serves."""

    id: str
    pid: int
    version: str
    ready: bool
    tunnels_ready: int


class EtcdEndpointDocument(msgspec.Struct, frozen=True):
    """One etcd server. `error` is the last one, empty while it is connected or was not tried."""

    url: str
    error: str


class EtcdDocument(msgspec.Struct, frozen=True):
    """The etcd that holds the federation's records. `connected`: it was read, and is followed without a gap."""

    connected: bool
    error: str
    """Why it is not connected."""
    registered: bool
    """Whether this gateway's registration holds a lease there."""
    write_error: str
    """Why the last write failed; empty when it did not."""
    private: bool
    """Started by this gateway, because its configuration names no other."""
    endpoints: tuple[EtcdEndpointDocument, ...]


class PeerEtcdDocument(msgspec.Struct, frozen=True):
    """An etcd besides our own in which peers' records are read. `clusters` are those peers."""

    clusters: tuple[str, ...]
    connected: bool
    error: str
    """Why it is not connected."""
    endpoints: tuple[EtcdEndpointDocument, ...]


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


class PortDocument(msgspec.Struct, frozen=True):
    name: str
    port: int
    protocol: str


class ZoneDocument(msgspec.Struct, frozen=True):
    """How many of a zone's endpoints their owner calls healthy. An empty name is an unknown zone."""

    zone: str
    healthy: int
    total: int


class ShareDocument(msgspec.Struct, frozen=True):
    """One cluster's share of a service. `healthy` and `total` are null where the cluster did not say."""

    cluster: str
    local: bool
    ports: tuple[str, ...]
    healthy: int | None
    total: int | None
    zones: tuple[ZoneDocument, ...]
    freshness: str
    reachable: bool
    """Whether a request could go there now."""
    exported_at: datetime | None
    """When it was exported first; null for what is not exported."""


class ConflictDocument(msgspec.Struct, frozen=True):
    """What `cluster` exports disagrees with an older export, and lost. `reason` is MCS's own (KEP-1645)."""

    cluster: str
    reason: str
    message: str


class EndpointDocument(msgspec.Struct, frozen=True):
    """A local endpoint and its health. `reason` is the last check's result."""

    address: str
    ports: dict[str, int]
    zone: str
    healthy: bool
    state: str
    reason: str


class ServiceDocument(msgspec.Struct, frozen=True):
    """A service as this cluster may use it."""

    namespace: str
    name: str
    dns_name: str
    vip: str
    ports: tuple[PortDocument, ...]
    reachable: bool
    imported: bool
    """Whether another cluster serves it for us."""
    exported_to: tuple[str, ...]
    """The clusters that may use ours; `*` is every peer."""
    clusters: tuple[ShareDocument, ...]
    conflicts: tuple[ConflictDocument, ...]
    endpoints: tuple[EndpointDocument, ...]


class ServicesDocument(msgspec.Struct, frozen=True):
    """`/v1/services`: the services that `cluster` may use, by name."""

    cluster: str
    services: tuple[ServiceDocument, ...]


class ServiceCountsDocument(msgspec.Struct, frozen=True):
    total: int
    reachable: int
    imported: int
    exported: int


class ProblemDocument(msgspec.Struct, frozen=True):
    """Something that a person should look at. `subject` is what it is about, `message` says what and what to do."""

    kind: str
    """`configuration`, `trust`, `state`, `worker`, `listener`, `etcd`, `record`, `service`, `peer`, `connection`,
    `conflict`, `import`, `root`, `clock`, `request` or `invitation`."""
    subject: str
    message: str


class TransitionDocument(msgspec.Struct, frozen=True):
    """A peer's freshness changed."""

    cluster: str
    before: str
    after: str
    reason: str
    at: datetime


class PendingDocument(msgspec.Struct, frozen=True):
    """A cluster that redeemed an invitation of ours and waits for `isthmus accept`."""

    cluster: str
    trust_domain: str
    root: str
    """The fingerprint of its root: compare it with what its operator sees."""
    invitation: str
    redeemed_at: datetime


class DiversionDocument(msgspec.Struct, frozen=True):
    """A service that does not go where it would if all were well, as far as workers have told."""

    service: str
    kind: str
    """`ejected`, `spilled`, `failed-over`, `exhausted` or `panic`: as the event that told of it."""
    where: str
    """What is ejected, or where requests go instead."""
    cause: str
    message: str
    since: datetime
    until: datetime | None
    """When an ejection ends."""
    shares: dict[str, float]
    """0 to 1 by cluster, where it was told."""
    workers: int
    """How many workers say so."""


class StatusDocument(msgspec.Struct, frozen=True):
    """`/v1/status`: the whole picture."""

    federation: str
    cluster: str
    region: str
    zone: str
    trust_domain: str
    root: str
    """The fingerprint of this cluster's root certificate: what its peers pin."""
    version: str
    started_at: datetime
    uptime_s: float
    ready: bool
    """As `/readyz`: this gateway serves. It says nothing of its peers."""
    not_ready_because: tuple[str, ...]
    workers_wanted: int
    workers: tuple[WorkerDocument, ...]
    listeners: tuple[ListenerDocument, ...]
    etcd: EtcdDocument
    peers: tuple[ClusterDocument, ...]
    services: ServiceCountsDocument
    problems: tuple[ProblemDocument, ...]
    transitions: tuple[TransitionDocument, ...]
    """The last changes of peers' freshness, the oldest first."""
    strangers: tuple[str, ...]
    """Clusters that write under this federation's name and are not among our peers: nothing of theirs is believed."""
    peer_etcds: tuple[PeerEtcdDocument, ...] = ()
    pending: tuple[PendingDocument, ...] = ()
    """Clusters that wait to be accepted, the first first."""
    diversions: tuple[DiversionDocument, ...] = ()
    """Ejections, spills and failovers that hold now, at most 200; `/v1/explain` asks the workers about one service."""


class ItemDocument(msgspec.Struct, frozen=True):
    """One thing that a configuration says, as `isthmus plan` compares it."""

    kind: str
    """`setting`, `listener`, `peer`, `service`, `endpoint` or `access`."""
    name: str
    facts: dict[str, str]


class ConfigurationDocument(msgspec.Struct, frozen=True):
    """`/v1/configuration`: what the configuration says that this gateway runs with, defaults included."""

    cluster: str
    items: tuple[ItemDocument, ...]


class RootDocument(msgspec.Struct, frozen=True):
    """A trust domain's root certificate."""

    fingerprint: str
    not_before: datetime
    not_after: datetime


class OwnRootDocument(msgspec.Struct, frozen=True):
    """A root of this cluster's. `role`: `signing`, `next` (in the bundle, signs soon), `previous` (in the bundle until
    what it signed has ended), `revoked` (not in the bundle any more), or `believed` where the CA is not our own."""

    fingerprint: str
    role: str
    not_before: datetime
    not_after: datetime


class RotationDocument(msgspec.Struct, frozen=True):
    """How far the replacement of the root is."""

    stage: str
    """`steady`, `prepared`, `active`, `replaced` or `silenced` (docs/operations.md)."""
    since: datetime | None
    forced: bool
    waiting_for: tuple[str, ...]
    """What the next stage waits for, each with why."""
    not_acknowledged: dict[str, str]
    """Peers, and gateways of this cluster, that do not go by the current bundle, and why."""


class RevokedDocument(msgspec.Struct, frozen=True):
    """What a trust domain has revoked besides roots: gateways by id, certificates by serial number."""

    gateways: tuple[str, ...]
    serials: tuple[str, ...]


class PeerTrustDocument(msgspec.Struct, frozen=True):
    """A peer's trust domain: the root that our configuration pins, and the bundle that was believed because of it."""

    cluster: str
    trust_domain: str
    pinned_root: str
    bundle_sequence: int | None
    acknowledged_sequence: int | None
    """The sequence of our bundle that the peer says it accepted."""
    roots: tuple[RootDocument, ...]
    record_keys: tuple[str, ...] = ()
    pin_is_current: bool = True
    """Whether that bundle holds the pinned root. If not, the peer was followed to another one: pin that."""
    revoked: RevokedDocument = RevokedDocument((), ())


class TrustDocument(msgspec.Struct, frozen=True):
    """`/v1/trust`: who this cluster is, and whom it believes. Nothing here is secret."""

    trust_domain: str
    gateway_id: str
    """The SPIFFE ID of this cluster's gateways."""
    root: RootDocument
    """Its fingerprint is what other clusters pin under `peers`."""
    bundle_sequence: int | None
    record_keys: tuple[str, ...]
    """Key IDs (RFC 7638 thumbprints)."""
    svid_lifetime_s: float
    peers: tuple[PeerTrustDocument, ...]
    roots: tuple[OwnRootDocument, ...] = ()
    rotation: RotationDocument | None = None
    """Null where the CA is not this cluster's own."""
    revoked: RevokedDocument = RevokedDocument((), ())


class LivenessDocument(msgspec.Struct, frozen=True):
    """`/livez`: the controller runs its event loop."""

    live: bool


class ReadinessDocument(msgspec.Struct, frozen=True):
    """`/readyz`: at least one worker serves. A missing peer or etcd does not make a gateway unready."""

    ready: bool
    reasons: tuple[str, ...]


class ErrorDocument(msgspec.Struct, frozen=True):
    """What comes with every status code from 400 on."""

    error: str
