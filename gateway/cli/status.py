"""`isthmus status`: the gateway, its peers in three parts, and what a person should look at."""

from __future__ import annotations

import argparse
import sys
from collections.abc import Iterator, Sequence

import msgspec

from federation.status.peer_values import ClusterDocument
from federation.status.values import (
    DiversionDocument,
    ListenerDocument,
    PeerEtcdDocument,
    PendingDocument,
    ProblemDocument,
    StatusDocument,
)
from gateway.cli.exit_codes import NEGATIVE, OK
from gateway.cli.gateway_api import find_gateway
from gateway.cli.table import format_duration, format_table, printable


def execute(arguments: argparse.Namespace) -> int:
    api = find_gateway(arguments)
    body = api.get("/v1/status")
    status = api.read(body, StatusDocument)
    if arguments.output == "json":
        print(msgspec.json.format(body).decode())
    else:
        sys.stdout.write(format_status(status))
    healthy = status.ready and all(peer.ready for peer in status.peers)
    return NEGATIVE if arguments.check and not healthy else OK


def format_status(status: StatusDocument) -> str:
    return "\n".join(part for part in _format_parts(status) if part)


def _format_parts(status: StatusDocument) -> Iterator[str]:
    yield _format_gateway(status)
    yield _format_peers(status.peers)
    yield _format_pending(status.pending)
    yield _format_diversions(status.diversions)
    yield _format_problems(status.problems)


def _format_gateway(status: StatusDocument) -> str:
    place = "/".join(part for part in (status.region, status.zone) if part)
    ready = "ready" if status.ready else f"not ready: {'; '.join(status.not_ready_because)}"
    serving = sum(worker.ready for worker in status.workers)
    services = status.services
    lines = (
        ("cluster", f"{status.cluster} of federation {status.federation}" + (f", in {place}" if place else "")),
        ("gateway", f"{ready}, up {format_duration(status.uptime_s)}, version {status.version}"),
        ("trust", f"{status.trust_domain}, root {status.root}"),
        ("workers", f"{serving} of {status.workers_wanted} serve"),
        ("listens", _format_listeners(status.listeners)),
        ("etcd", _format_etcd(status)),
        *(("", _format_peer_etcd(etcd)) for etcd in status.peer_etcds),
        (
            "services",
            f"{services.total}, {services.reachable} reachable, {services.imported} imported, "
            f"{services.exported} exported",
        ),
    )
    return "".join(f"{name:<10}{text}\n" for name, text in lines)


def _format_listeners(listeners: Sequence[ListenerDocument]) -> str:
    """DNS once, and virtual IPs as a number: there may be thousands."""
    shown = [f"{ln.name.removesuffix('-udp')} {ln.address}" for ln in listeners if ln.kind not in ("vip", "dns-tcp")]
    virtual = sum(listener.kind == "vip" for listener in listeners)
    return ", ".join([*shown, f"virtual IPs on {virtual} {'port' if virtual == 1 else 'ports'}"] if virtual else shown)


def _format_etcd(status: StatusDocument) -> str:
    etcd = status.etcd
    where = ", ".join(endpoint.url for endpoint in etcd.endpoints)
    kind = " (private)" if etcd.private else ""
    if not etcd.connected:
        return f"not connected: {where}{kind}: {printable(etcd.error)}"
    return f"connected: {where}{kind}" + ("" if etcd.registered else ", this gateway is not registered yet")


def _format_peer_etcd(etcd: PeerEtcdDocument) -> str:
    where = f"{', '.join(endpoint.url for endpoint in etcd.endpoints)} for {', '.join(etcd.clusters)}"
    return f"connected: {where}" if etcd.connected else f"not connected: {where}: {printable(etcd.error)}"


def _format_peers(peers: Sequence[ClusterDocument]) -> str:
    if not peers:
        return "no peers are configured\n"
    heads = ("PEER", "STATUS", "CONTROL", "BUNDLE", "DATA", "TUNNELS", "RTT", "INBOUND", "SERVICES")
    return format_table(heads, (_peer_row(peer) for peer in peers))


def _peer_row(peer: ClusterDocument) -> tuple[str, ...]:
    control, data, services = peer.control, peer.data, peer.services
    return (
        peer.cluster,
        "ready" if peer.ready else "not ready",
        control.freshness if control.ok else f"not ok, {control.freshness}",
        "" if control.bundle_sequence is None else str(control.bundle_sequence),
        "ok" if data.ok else "not ok",
        f"{data.tunnels_ready}/{data.tunnels_wanted}",
        "" if data.rtt_ms is None else f"{data.rtt_ms:.1f} ms",
        str(data.inbound_connections),
        f"{services.reachable}/{services.offered} reachable",
    )


def _format_pending(pending: Sequence[PendingDocument]) -> str:
    """Who waits, with what its operator has to compare."""
    if not pending:
        return ""
    lines = (printable(f"{p.cluster} ({p.trust_domain}), root {p.root}: isthmus accept {p.cluster}") for p in pending)
    return "waiting to be accepted:\n" + "".join(f"  {line}\n" for line in lines)


def _format_diversions(diversions: Sequence[DiversionDocument]) -> str:
    """What does not go where it would if all were well."""
    if not diversions:
        return ""
    lines = (
        printable(
            f"{d.service}: {d.kind}: {d.message}"
            + (f", until {d.until:%H:%M:%S} UTC" if d.until else "")
            + (f" [{d.workers} workers]" if d.workers > 1 else "")
        )
        for d in diversions
    )
    return "diverted (isthmus explain says why):\n" + "".join(f"  {line}\n" for line in lines)


def _format_problems(problems: Sequence[ProblemDocument]) -> str:
    """Below each other, because a message is a sentence."""
    if not problems:
        return ""
    lines = (printable(f"{problem.kind} {problem.subject}: {problem.message}") for problem in problems)
    return "to look at:\n" + "".join(f"  {line}\n" for line in lines)
