"""The status API's documents: what `/v1/...` answers, and what `isthmus -o json` prints.

Names are snake_case with units, times are ISO 8601 in UTC, `null` means unknown. A document only ever gains fields.
"""

from __future__ import annotations

from datetime import datetime

import msgspec

from federation.status.peer_values import ClusterDocument
from federation.status.service_values import ServiceCountsDocument

CLUSTER_HEADER = "isthmus-cluster"
"""The header of every answer with the name of the cluster whose gateway gives it."""


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


class ProblemDocument(msgspec.Struct, frozen=True):
    """Something that a person should look at. `subject` is what it is about, `message` says what and what to do."""

    kind: str
    """`configuration`, `upgrade`, `trust`, `state`, `worker`, `listener`, `etcd`, `record`, `service`, `peer`,
    `connection`, `conflict`, `import`, `root`, `clock`, `request` or `invitation`."""
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
