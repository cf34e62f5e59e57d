"""What a person should look at, gathered from everywhere it is known. Pure."""

from __future__ import annotations

from collections.abc import Collection, Iterable, Iterator, Mapping, Sequence
from datetime import datetime, timedelta

from discovery.model import ServiceName
from federation.errors import RefusalCode
from federation.own_records import describe_namesake
from federation.record import MAX_SKEW_S
from federation.report import EtcdStatus, FederationStatus, PeerEtcdStatus, PeerStatus
from federation.service_view import ServiceView
from federation.status.peer_values import ClusterDocument
from federation.status.values import ProblemDocument
from gateway.control import Report

_NAMED = 8
"""How many of one kind are told one by one."""
_LATELY = timedelta(minutes=10)


def federation_problems(status: FederationStatus) -> Iterator[ProblemDocument]:
    """What etcd, the records in it and our own state on disk suffer from."""
    yield from _etcd_problems(status.etcd)
    yield from _peer_etcd_problems(status.peer_etcds)
    for peer in status.peers:
        for refusal in peer.refusals:
            yield ProblemDocument("record", f"{peer.cluster}/{refusal.path}", f"{refusal.code}: {refusal.detail}")
    for gateway in status.namesakes[:_NAMED]:
        text = f"{RefusalCode.UNKNOWN_KEY}: {describe_namesake(status.cluster)}"
        yield ProblemDocument("record", f"{status.cluster}/gateways/{gateway}", text)
    for key in status.stray_keys:
        yield ProblemDocument(
            "record", key, "it fits no form that a cluster writes, and is ignored; delete it from etcd"
        )
    yield from _vip_problems(status.vips_exhausted)
    for complaint in status.cache_complaints:
        yield ProblemDocument("state", "catalog", complaint)
    yield from root_problems(status.peers)
    yield from import_problems(status.peers)
    yield from clock_problems(status.peers)


def _vip_problems(exhausted: Sequence[str]) -> Iterator[ProblemDocument]:
    """The first few by name: there may be thousands."""
    text = "no virtual IP is left for it, so it has no address; name a larger gateway.vip_range"
    for name in exhausted[:_NAMED]:
        yield ProblemDocument("service", name, text)
    if len(exhausted) > _NAMED:
        subject, more = f"{len(exhausted) - _NAMED} more", text.replace("for it, so it has", "for them, so they have")
        yield ProblemDocument("service", subject, more)


def _etcd_problems(etcd: EtcdStatus) -> Iterator[ProblemDocument]:
    if not etcd.synced:
        yield ProblemDocument("etcd", "read", f"{etcd.problem}; what was known stays in use")
    if etcd.publish_problem:
        yield ProblemDocument("etcd", "write", f"{etcd.publish_problem}; peers do not see our changes until it works")


def _peer_etcd_problems(etcds: Iterable[PeerEtcdStatus]) -> Iterator[ProblemDocument]:
    for etcd in etcds:
        if not etcd.synced:
            text = f"{etcd.problem}; what was known stays in use"
            yield ProblemDocument("etcd", f"read {', '.join(etcd.clusters)}", text)


def root_problems(peers: Iterable[PeerStatus]) -> Iterator[ProblemDocument]:
    """Roots that imitate another peer's."""
    return (ProblemDocument("root", peer.cluster, text) for peer in peers for text in peer.roots_left_out)


def import_problems(peers: Iterable[PeerStatus]) -> Iterator[ProblemDocument]:
    """Peers that export more to us than we take of one."""
    for peer in peers:
        if peer.left_out:
            text = (
                f"it exports {peer.imported + peer.left_out} services to us and the oldest {peer.imported} are taken; "
                f"{peer.left_out} are left out, {peer.first_left_out} is the first; if that many are meant, raise "
                "imports.max_services or imports.max_endpoints"
            )
            yield ProblemDocument("import", peer.cluster, text)


def clock_problems(peers: Iterable[PeerStatus]) -> Iterator[ProblemDocument]:
    """Clocks that differ by more than good ones do."""
    for peer in peers:
        if peer.clock_is_wrong and peer.clock_skew_s is not None:
            size = f"{abs(peer.clock_skew_s):.0f} s {'ahead of' if peer.clock_skew_s > 0 else 'behind'} ours"
            text = f"its clock is {size}; compare both with NTP: from {MAX_SKEW_S:.0f} s ahead on, records are refused"
            yield ProblemDocument("clock", peer.cluster, text)


def peer_problems(peers: Iterable[ClusterDocument]) -> Iterator[ProblemDocument]:
    return (ProblemDocument("peer", peer.cluster, peer.problem) for peer in peers if not peer.ready)


def conflict_problems(views: Iterable[ServiceView]) -> Iterator[ProblemDocument]:
    for view in views:
        for conflict in view.conflicts:
            text = f"{conflict.reason} of {conflict.cluster}: {conflict.message}"
            yield ProblemDocument("conflict", str(view.name), text)


def configuration_problems(reload_problem: str) -> Iterator[ProblemDocument]:
    """A changed configuration that was refused: each of its lines."""
    return (ProblemDocument("configuration", "reload refused", line) for line in reload_problem.splitlines())


def upgrade_problems(problem: str) -> Iterator[ProblemDocument]:
    """An upgrade that was refused."""
    if problem:
        yield ProblemDocument("upgrade", "upgrade refused", problem)


def trust_problems(problem: str) -> Iterator[ProblemDocument]:
    """What keeps this cluster's own identity from being renewed."""
    if problem:
        yield ProblemDocument("trust", "renewal", problem)


def join_problems(refused: Mapping[str, str], files: Mapping[str, str]) -> Iterator[ProblemDocument]:
    """Requests to join that are refused, by cluster, and what is wrong with invitations."""
    for cluster, why in sorted(refused.items()):
        yield ProblemDocument("request", cluster, f"its request to join is refused: {why}")
    for subject, why in sorted(files.items()):
        yield ProblemDocument("invitation", subject, why)


def listener_problems(problems: Mapping[str, str], waiting: Collection[str], limit: int) -> Iterator[ProblemDocument]:
    """Sockets that can't be opened, and how many wait because there are as many as the files allow."""
    for name, text in sorted(problems.items()):
        yield ProblemDocument("listener", name, text)
    if waiting:
        text = (
            f"{len(waiting)} ports of virtual IPs are not listened on, {next(iter(waiting))} is the first: {limit} "
            "are, half of the files that a process may have open; raise that limit (ulimit -n, LimitNOFILE), or reach "
            "these services by gateway.http"
        )
        yield ProblemDocument("listener", "virtual IPs", text)


def frozen_problems(frozen: Mapping[str, str]) -> Iterator[ProblemDocument]:
    """Workers that stood still and were replaced since this controller began."""
    return (ProblemDocument("worker", worker, text) for worker, text in sorted(frozen.items()))


def endpoint_problems(problems: Mapping[ServiceName, str]) -> Iterator[ProblemDocument]:
    """CA files of services' endpoints that can't be used."""
    return (ProblemDocument("service", str(name), text) for name, text in sorted(problems.items()))


def worker_problems(serving: int, wanted: int) -> Iterator[ProblemDocument]:
    if serving < wanted:
        text = f"{serving} of {wanted} serve; the others are being started, and the log says why they ended"
        yield ProblemDocument("worker", "workers", text)


def connection_problems(
    reports: Sequence[Report], counts: Mapping[tuple[str, ...], float], now: datetime
) -> Iterator[ProblemDocument]:
    """Connections that were refused lately by kind, each with the last one. `counts` is by listener and reason. A peer
    that comes before it is believed is refused a few times, which is nobody's trouble an hour later."""
    recent = f"{now - _LATELY:%Y-%m-%dT%H:%M:%SZ}"
    last: dict[str, str] = {}
    for report in reports:
        for kind, seen in report.refusals.items():
            # What was seen begins with its time, so that the greatest is the last.
            last[kind] = max(last.get(kind, ""), seen)
    for (listener, reason), count in sorted(counts.items()):
        kind = f"{listener}: {reason}"
        if last.get(kind, "") >= recent:
            yield ProblemDocument("connection", kind, f"{count:.0f} refused; the last: {last[kind]}")
