"""What is believed, as the status API shows it."""

from __future__ import annotations

from federation.beliefs import Beliefs
from federation.etcd.client import EtcdClient
from federation.publisher import Publisher
from federation.report import EtcdStatus, FederationStatus, GatewayStatus, PeerStatus
from federation.subscriber import Subscriber
from trust.authority import Authority


def view_status(
    beliefs: Beliefs,
    authority: Authority,
    etcd: EtcdClient | None,
    subscriber: Subscriber | None,
    publisher: Publisher | None,
    now: float,
) -> FederationStatus:
    """Everything at once. Without the drivers, as it is before `Federation.run` began."""
    settings = beliefs.settings
    return FederationStatus(
        federation=settings.federation,
        cluster=settings.cluster,
        trust_domain=authority.trust_domain,
        root=authority.fingerprint,
        gateway_id=beliefs.own.gateway_id,
        bundle_sequence=beliefs.own.bundle_sequence,
        etcd=_view_etcd(beliefs, etcd, subscriber, publisher),
        peers=tuple(_view_peer(beliefs, cluster, now) for cluster in sorted(beliefs.members)),
        strangers=tuple(sorted(beliefs.strangers)),
        stray_keys=tuple(sorted(beliefs.stray_keys)),
        services=len(beliefs.catalog.services),
        vips_exhausted=tuple(str(name) for name in sorted(beliefs.vips.exhausted)),
        cache_complaints=tuple(beliefs.cache.complaints),
        transitions=tuple(beliefs.transitions),
    )


def _view_etcd(
    beliefs: Beliefs, etcd: EtcdClient | None, subscriber: Subscriber | None, publisher: Publisher | None
) -> EtcdStatus:
    problem = publisher.problem or publisher.lease_problem if publisher is not None else ""
    return EtcdStatus(
        synced=subscriber is not None and subscriber.link.synced,
        problem=subscriber.link.problem if subscriber is not None else "not started yet",
        endpoints={state.url: state.error for state in etcd.endpoints} if etcd is not None else {},
        publish_problem=problem,
        leased=beliefs.own.publication.lease != 0,
        writes=publisher.batches if publisher is not None else 0,
    )


def _view_peer(beliefs: Beliefs, cluster: str, now: float) -> PeerStatus:
    member = beliefs.members[cluster]
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
        ),
        exports=len(state.exports),
        imported=beliefs.catalog.shared_by(cluster),
        refusals=state.refusals.current(),
        refusal_counts={str(code): count for code, count in state.refusals.counts.items()},
    )
