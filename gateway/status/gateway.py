"""What status shows of this gateway itself: its workers, listeners, the etcds that it reads, and who waits to join."""

from __future__ import annotations

from collections.abc import Iterable
from datetime import UTC, datetime

from federation.invitation import Invitation, Joiner
from federation.report import EtcdStatus, PeerEtcdStatus
from federation.status.values import (
    EtcdDocument,
    EtcdEndpointDocument,
    ListenerDocument,
    PeerEtcdDocument,
    PendingDocument,
    WorkerDocument,
)
from gateway.controller.worker_link import WorkerLink
from gateway.transport.listeners import Listeners


def describe_workers(links: Iterable[WorkerLink]) -> tuple[WorkerDocument, ...]:
    return tuple(
        WorkerDocument(
            id=link.id,
            pid=link.pid,
            version=link.version,
            ready=link.report is not None and link.report.ready,
            tunnels_ready=sum(tunnel.ready for tunnel in link.report.tunnels) if link.report is not None else 0,
        )
        for link in links
    )


def describe_listeners(listeners: Listeners) -> tuple[ListenerDocument, ...]:
    """Those that the workers serve."""
    return tuple(
        ListenerDocument(name, spec.kind, listeners.address(name)) for name, (spec, _) in listeners.sockets.items()
    )


def describe_etcd(etcd: EtcdStatus, *, private: bool) -> EtcdDocument:
    return EtcdDocument(
        connected=etcd.synced,
        error=etcd.problem,
        registered=etcd.leased,
        write_error=etcd.publish_problem,
        private=private,
        endpoints=tuple(EtcdEndpointDocument(url, error) for url, error in sorted(etcd.endpoints.items())),
    )


def describe_peer_etcd(etcd: PeerEtcdStatus) -> PeerEtcdDocument:
    return PeerEtcdDocument(
        clusters=etcd.clusters,
        connected=etcd.synced,
        error=etcd.problem,
        endpoints=tuple(EtcdEndpointDocument(url, error) for url, error in sorted(etcd.endpoints.items())),
    )


def describe_pending(invitation: Invitation, joiner: Joiner) -> PendingDocument:
    redeemed_at = datetime.fromtimestamp(joiner.redeemed_at, UTC)
    return PendingDocument(joiner.cluster, joiner.trust_domain, joiner.root, invitation.id, redeemed_at)
