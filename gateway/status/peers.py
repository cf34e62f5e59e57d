"""A peer's status in three parts, put together from what etcd, our tunnels and the catalog say. Pure."""

from __future__ import annotations

from collections.abc import Iterable, Sequence

from federation.freshness import Lease
from federation.report import BundleFollowing, PeerStatus
from federation.status.peer_values import (
    ClusterDocument,
    ControlDocument,
    DataDocument,
    GatewayDocument,
    PeerServicesDocument,
    TunnelDocument,
)
from gateway.control import Report, Tunnel


def describe_peer(peer: PeerStatus, reports: Sequence[Report], services: PeerServicesDocument) -> ClusterDocument:
    """One peer. `reports` are the last ones of all workers."""
    control = _describe_control(peer)
    data = _describe_data(peer.cluster, reports)
    # Without a named gateway a peer that is followed by URL only calls us.
    calls_only = peer.following is not None and not peer.gateways
    problems = [*_control_problems(peer), *(() if calls_only else _data_problems(peer, data, reports))]
    return ClusterDocument(
        cluster=peer.cluster,
        trust_domain=peer.trust_domain,
        ready=control.ok and (data.ok or calls_only),
        problem="; ".join(problems),
        control=control,
        data=data,
        services=services,
    )


def linked_clusters(reports: Iterable[Report]) -> frozenset[str]:
    """The peers that some worker has a tunnel to that answers."""
    return frozenset(tunnel.cluster for report in reports for tunnel in report.tunnels if _answers(tunnel))


def _answers(tunnel: Tunnel) -> bool:
    """With TLS 1.3 our handshake ends before the peer has judged our certificate: only a probe's answer shows that the
    peer took us in."""
    return tunnel.ready > 0 and tunnel.rtt_ms > 0


def known_sequence(sequence: int) -> int | None:
    """Sequences start at 0; -1 stands for none."""
    return sequence if sequence >= 0 else None


def _describe_control(peer: PeerStatus) -> ControlDocument:
    return ControlDocument(
        ok=not any(_control_problems(peer)),
        freshness=peer.freshness,
        freshness_reason=peer.reason,
        freshness_for_s=round(peer.since_s, 3),
        lease=peer.lease,
        bundle_sequence=known_sequence(peer.bundle_sequence),
        acknowledged_sequence=known_sequence(peer.acknowledged),
        gateways=tuple(
            GatewayDocument(g.id, g.addresses, g.region, g.zone, g.version, g.leased) for g in peer.gateways
        ),
        refused_records=len(peer.refusals),
        etcd=peer.etcd,
        etcd_connected=peer.etcd_synced,
        bundle_url=peer.following.url if peer.following is not None else "",
        bundle_age_s=_rounded(peer.following.age_s) if peer.following is not None else None,
        clock_skew_s=round(peer.clock_skew_s, 3) if peer.clock_skew_s is not None else None,
    )


def _control_problems(peer: PeerStatus) -> Iterable[str]:
    if peer.following is not None:
        yield from _following_problems(peer.following)
    elif not peer.etcd_synced:
        which = f"its etcd ({', '.join(peer.etcd)})" if peer.etcd else "etcd"
        yield f"control: {which} can't be followed; what was known stays in use"
    elif peer.bundle_sequence < 0 and peer.refusals:
        refusal = peer.refusals[0]
        yield f"control: what it wrote is refused: {refusal.code}: {refusal.detail}"
    elif peer.bundle_sequence >= 0 and not peer.record_keys:
        # Its last bundle is a goodbye, which expires in etcd after a day.
        yield f"control: it has left the federation; remove peers.{peer.cluster} here, unless it is to come back"
    elif peer.away:
        which = f"the etcd that peers.{peer.cluster}.etcd names" if peer.etcd else "etcd"
        yield (
            f"control: no trust bundle of it is in {which}: it has not joined, or uses another etcd, prefix or "
            "federation"
        )
    elif peer.bundle_sequence < 0:
        yield "control: its trust bundle was not read yet"
    elif peer.lease is not Lease.LIVE:
        yield "control: none of its gateways holds a lease: it is down, or cut off from etcd"


def _rounded(value: float | None) -> float | None:
    return round(value, 3) if value is not None else None


def _following_problems(following: BundleFollowing) -> Iterable[str]:
    if following.age_s is None:
        yield f"control: no bundle of it was fetched yet: {following.problem or 'it is being asked'}"
    elif following.problem:
        yield f"control: its bundle is {following.age_s:.0f} s old and stays in use: {following.problem}"


def _describe_data(cluster: str, reports: Sequence[Report]) -> DataDocument:
    gateways: dict[str, list[Tunnel]] = {}
    for report in reports:
        for tunnel in report.tunnels:
            if tunnel.cluster == cluster:
                gateways.setdefault(tunnel.gateway, []).append(tunnel)
    described = tuple(_describe_tunnels(gateway, tunnels) for gateway, tunnels in sorted(gateways.items()))
    rtts = [tunnel.rtt_ms for tunnel in described if tunnel.rtt_ms is not None]
    ready = [tunnel for tunnels in gateways.values() for tunnel in tunnels if tunnel.ready]
    return DataDocument(
        ok=any(_answers(tunnel) for tunnel in ready),
        tunnels_ready=sum(tunnel.ready for tunnel in described),
        tunnels_wanted=sum(tunnel.wanted for tunnel in described),
        rtt_ms=min(rtts, default=None),
        spiffe_ids=tuple(sorted({tunnel.peer_id for tunnel in ready})),
        serials=tuple(sorted({serial for tunnel in ready for serial in tunnel.serials})),
        inbound_connections=sum(report.inbound.get(cluster, 0) for report in reports),
        gateways=described,
    )


def _describe_tunnels(gateway: str, tunnels: Sequence[Tunnel]) -> TunnelDocument:
    """All workers' tunnels to one gateway. An error that was overcome is none."""
    rtts = [tunnel.rtt_ms for tunnel in tunnels if _answers(tunnel)]
    errors = [tunnel.error for tunnel in tunnels if tunnel.ready < tunnel.wanted and tunnel.error]
    return TunnelDocument(
        gateway=gateway,
        address=next((tunnel.address for tunnel in tunnels if tunnel.address), ""),
        ready=sum(tunnel.ready for tunnel in tunnels),
        wanted=sum(tunnel.wanted for tunnel in tunnels),
        rtt_ms=min(rtts, default=None),
        error=next(iter(errors), ""),
    )


def _data_problems(peer: PeerStatus, data: DataDocument, reports: Sequence[Report]) -> Iterable[str]:
    if data.ok:
        return
    errors = [tunnel.error for tunnel in data.gateways if tunnel.error]
    if not peer.gateways:
        yield "data: no gateway of it is known, so there is nothing to connect to"
    elif not reports:
        yield "data: no worker has reported yet"
    else:
        state = "has answered a probe yet" if data.tunnels_ready else "is ready"
        yield f"data: no tunnel {state}" + (f": {'; '.join(errors)}" if errors else "")
