"""What status shows of roots, their replacement and what is revoked, and what of it a person should look at. Pure."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from datetime import UTC, datetime, timedelta

from federation.acknowledgement import PublicationState
from federation.members import PeerView
from federation.report import FederationStatus, PeerStatus
from federation.status.trust_values import (
    OwnRootDocument,
    PeerTrustDocument,
    RevokedDocument,
    RootDocument,
    RotationDocument,
    TrustDocument,
)
from federation.status.values import ProblemDocument
from gateway.status.peers import known_sequence
from trust.certificate import parse_certificate
from trust.fingerprint import fingerprint_of
from trust.keyring import Keyring
from trust.revocation import FOREVER, Revocations
from trust.rotation import READERS, Rotation, Stage
from trust.source import TrustSource
from trust.spiffe_id import gateway_id

EXPIRES_SOON = timedelta(days=30)
LAST_PART = 8
"""Of a short life it is the last eighth: SPIRE replaces a root that lives for a day when a sixth of it is left."""
PATIENCE_S = 30.0
"""A peer that runs acknowledges within a second; who has not after this long is named."""
_ROLES = {
    Stage.PREPARED: "next",
    Stage.ACTIVE: "previous",
    Stage.REPLACED: "revoked",
    Stage.SILENCED: "revoked",
}


def describe_root(der: bytes) -> RootDocument:
    certificate = parse_certificate(der)
    return RootDocument(fingerprint_of(der), certificate.not_valid_before_utc, certificate.not_valid_after_utc)


def describe_own_roots(authority: TrustSource) -> tuple[OwnRootDocument, ...]:
    """The one that signs first."""
    roles = {authority.root_der: "signing"}
    if isinstance(authority, Keyring):
        if authority.other_root is not None:
            roles[authority.other_root] = _ROLES[authority.rotation.stage]
    else:
        for der in authority.bundle(0).authorities:
            roles.setdefault(der, "believed")
    return tuple(_own_root(der, role) for der, role in roles.items())


def _own_root(der: bytes, role: str) -> OwnRootDocument:
    root = describe_root(der)
    return OwnRootDocument(root.fingerprint, role, root.not_before, root.not_after)


def describe_revoked(revoked: Revocations) -> RevokedDocument:
    """Gateways that go on with other certificates are not revoked themselves."""
    gateways = (
        gateway if until == FOREVER else f"{gateway} (its former certificates)"
        for gateway, until in revoked.gateways.items()
    )
    return RevokedDocument(tuple(sorted(gateways)), tuple(sorted(revoked.serials)))


def describe_rotation(rotation: Rotation, waiting_for: Sequence[str], state: PublicationState) -> RotationDocument:
    return RotationDocument(
        stage=rotation.stage,
        since=datetime.fromtimestamp(rotation.since, UTC) if rotation.since else None,
        forced=rotation.forced,
        waiting_for=tuple(waiting_for),
        not_acknowledged=dict(state.waiting_for),
    )


def describe_trust(
    authority: TrustSource,
    federation: FederationStatus,
    views: Mapping[str, PeerView],
    *,
    svid_lifetime_s: float,
    rotation: RotationDocument | None,
) -> TrustDocument:
    """What we say of ourselves, and what we believe of each peer."""
    return TrustDocument(
        trust_domain=authority.trust_domain,
        gateway_id=str(gateway_id(authority.trust_domain)),
        root=describe_root(authority.root_der),
        bundle_sequence=known_sequence(federation.bundle_sequence),
        record_keys=tuple(key.kid for key in authority.bundle(0).record_keys),
        svid_lifetime_s=svid_lifetime_s,
        peers=tuple(_describe_peer(peer, views.get(peer.cluster)) for peer in federation.peers),
        roots=describe_own_roots(authority),
        rotation=rotation,
        revoked=describe_revoked(authority.bundle(0).revoked),
    )


def _describe_peer(peer: PeerStatus, view: PeerView | None) -> PeerTrustDocument:
    return PeerTrustDocument(
        cluster=peer.cluster,
        trust_domain=peer.trust_domain,
        pinned_root=peer.root,
        bundle_sequence=known_sequence(peer.bundle_sequence),
        acknowledged_sequence=known_sequence(peer.acknowledged),
        roots=tuple(describe_root(der) for der in view.roots) if view is not None else (),
        record_keys=peer.record_keys,
        pin_is_current=peer.pin_is_current,
        revoked=describe_revoked(view.revoked if view is not None else Revocations()),
        bundle_url=peer.following.url if peer.following is not None else "",
    )


def rotation_problems(trust: TrustDocument, state: PublicationState, now: datetime) -> Iterator[ProblemDocument]:
    """Laggards, roots that end soon, pins that are out of date, and keys that were not brought here."""
    if state.behind:
        text = (
            f"another gateway of this cluster has said bundle {state.sequence}, whose keys are not here: what this one "
            "signs is refused when the rotation ends; bring that gateway's state_dir/trust here"
        )
        yield ProblemDocument("trust", "keys", text)
    rotation = trust.rotation
    if rotation is not None and rotation.stage in (Stage.PREPARED, Stage.SILENCED) and _is_late(rotation, now):
        for why in rotation.waiting_for:
            if why.startswith(READERS):
                continue  # That takes its time.
            yield ProblemDocument("trust", "rotation", f"stage {rotation.stage} waits for {why}")
    yield from _expiring("this cluster", [root for root in trust.roots if root.role == "signing"], now)
    for peer in trust.peers:
        yield from _expiring(peer.cluster, peer.roots, now)
        if not peer.pin_is_current:
            roots = " or ".join(root.fingerprint for root in peer.roots) or "its next one, when it has one"
            text = (
                f"it has replaced the root that peers.{peer.cluster}.root names, and was followed; write {roots} "
                "there, because a gateway without this one's state_dir refuses it"
            )
            yield ProblemDocument("trust", peer.cluster, text)


def _is_late(rotation: RotationDocument, now: datetime) -> bool:
    return rotation.since is not None and (now - rotation.since).total_seconds() > PATIENCE_S


def _expiring(
    subject: str, roots: Sequence[RootDocument | OwnRootDocument], now: datetime
) -> Iterator[ProblemDocument]:
    """Nothing is wrong with a root that ends beside one that lasts longer."""
    for root in sorted(roots, key=lambda root: root.not_after)[-1:]:
        if root.not_after - now < min(EXPIRES_SOON, (root.not_after - root.not_before) / LAST_PART):
            ends = "has ended" if root.not_after < now else "ends"
            text = f"its root {root.fingerprint} {ends} at {root.not_after:%Y-%m-%dT%H:%M:%SZ}: it has to be replaced"
            yield ProblemDocument(
                "trust", subject, f"{text} (isthmus trust rotate there, or where its roots come from)"
            )
