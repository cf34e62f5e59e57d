"""What is believed, as the status API shows it."""

from __future__ import annotations

from federation.beliefs import Beliefs
from federation.bundle_follower import BundleFollower
from federation.follower import Follower
from federation.followers import Followers
from federation.publisher import Publisher
from federation.report import BundleFollowing, EtcdStatus, FederationStatus, GatewayStatus, PeerEtcdStatus, PeerStatus
from trust.source import TrustSource


def view_status(
    beliefs: Beliefs,
    authority: TrustSource,
    followers: Followers,
    publisher: Publisher | None,
    now: float,
) -> FederationStatus:
    """Everything at once. It can be asked before `Federation.run` began."""
    others = followers.others.values()
    settings = beliefs.settings
    return FederationStatus(
        federation=settings.federation,
        cluster=settings.cluster,
        trust_domain=authority.trust_domain,
        root=authority.fingerprint,
        gateway_id=beliefs.own.gateway_id,
        bundle_sequence=beliefs.own.bundle_sequence,
        etcd=_view_etcd(beliefs, followers.home, publisher),
        peers=tuple(_view_peer(beliefs, cluster, followers, now) for cluster in sorted(beliefs.members)),
        strangers=tuple(sorted(beliefs.strangers)),
        stray_keys=tuple(sorted(beliefs.stray_keys)),
        services=len(beliefs.catalog.services),
        vips_exhausted=tuple(str(name) for name in sorted(beliefs.addresses.book.exhausted)),
        cache_complaints=tuple(beliefs.cache.complaints),
        transitions=tuple(beliefs.peers.transitions),
        namesakes=tuple(sorted(beliefs.own.namesakes)),
        peer_etcds=tuple(sorted((_view_peer_etcd(beliefs, other) for other in others), key=_by_clusters)),
    )


def _by_clusters(etcd: PeerEtcdStatus) -> tuple[str, ...]:
    return etcd.clusters


def _view_peer_etcd(beliefs: Beliefs, follower: Follower) -> PeerEtcdStatus:
    return PeerEtcdStatus(
        clusters=tuple(sorted(beliefs.members.read_in(follower.source))),
        synced=follower.link.synced,
        problem=follower.link.problem,
        endpoints=_view_endpoints(follower),
    )


def _view_endpoints(follower: Follower) -> dict[str, str]:
    if follower.client is None:
        return dict.fromkeys(follower.urls, "")
    return {state.url: state.error for state in follower.client.endpoints}


def _view_etcd(beliefs: Beliefs, home: Follower, publisher: Publisher | None) -> EtcdStatus:
    problem = publisher.problem or publisher.lease_problem if publisher is not None else ""
    return EtcdStatus(
        synced=home.link.synced,
        problem=home.link.problem,
        endpoints=_view_endpoints(home),
        publish_problem=problem,
        leased=beliefs.own.publication.lease != 0,
        writes=publisher.batches if publisher is not None else 0,
    )


def _view_following(bundle: BundleFollower) -> BundleFollowing:
    return BundleFollowing(bundle.url, bundle.age_s, bundle.problem)


def _view_peer(
    beliefs: Beliefs,
    cluster: str,
    followers: Followers,
    now: float,
) -> PeerStatus:
    member = beliefs.members[cluster]
    source, bundle = member.peer.etcd, followers.bundles.get(cluster)
    follower = followers.home if source is None else followers.others.get(source)
    left_out, first = beliefs.catalog.left_out(cluster)
    state, freshness = member.state, member.freshness
    return PeerStatus(
        cluster=cluster,
        trust_domain=member.peer.trust_domain,
        root=member.peer.root,
        freshness=freshness.state,
        reason=freshness.reason,
        since_s=now - freshness.since,
        lease=freshness.lease,
        link=freshness.link,
        away=state.away,
        bundle_sequence=state.keys.sequence,
        acknowledged=state.acks.get(beliefs.settings.cluster, -1),
        gateways=tuple(
            GatewayStatus(
                id=known.value.id,
                addresses=known.value.addresses,
                region=known.value.region,
                zone=known.value.zone,
                version=known.value.version,
                leased=known.leased,
            )
            for _, known in sorted(state.gateways.items())
        )
        or tuple(GatewayStatus(address, (address,), "", "", "", False) for address in member.peer.gateways),
        exports=len(state.exports),
        imported=beliefs.catalog.shared_by(cluster),
        refusals=state.refusals.current(),
        record_keys=tuple(sorted(state.keys.key_ids)),
        pin_is_current=not member.peer.root or state.keys.bundle is None or state.keys.holds_root(member.peer.root),
        refusal_counts={str(code): count for code, count in state.refusals.counts.items()},
        left_out=left_out,
        first_left_out=str(first) if first is not None else "",
        clock_skew_s=state.clock.ahead_s,
        clock_is_wrong=state.clock.is_bad,
        etcd=source.access.endpoints if source is not None else (),
        etcd_synced=follower is not None and follower.link.synced,
        following=_view_following(bundle) if bundle is not None else None,
        roots_left_out=tuple(str(shadow) for shadow in beliefs.members.shadows if shadow.owner == cluster),
    )
