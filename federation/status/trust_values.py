"""What the status API says of trust: roots, their replacement, and what is revoked."""

from __future__ import annotations

from datetime import datetime

import msgspec


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
    """The sequence of our bundle that the peer says it accepted; a peer with a `bundle_url` has no way to say it."""
    roots: tuple[RootDocument, ...]
    record_keys: tuple[str, ...] = ()
    pin_is_current: bool = True
    """Whether that bundle holds the pinned root. If not, the peer was followed to another one: pin that."""
    revoked: RevokedDocument = RevokedDocument((), ())
    bundle_url: str = ""
    """Where its bundle is followed, for a peer that is in no etcd."""


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
