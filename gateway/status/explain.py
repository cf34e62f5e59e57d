"""Why requests go where they go, as the status API shows it: what workers said, and what the controller knows. Pure."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from datetime import UTC, datetime

import msgspec

from discovery.address import HostPort
from discovery.health_state import EndpointStatus
from discovery.model import ServiceName
from federation.freshness import Freshness
from federation.report import PeerStatus
from federation.status.event_values import EventDocument
from federation.status.explain_values import (
    EjectedDocument,
    EndpointLoadDocument,
    EndpointStateDocument,
    ExplanationDocument,
    LimitsDocument,
    PlaceDocument,
    RetryBudgetDocument,
)
from federation.status.peer_values import ClusterDocument
from gateway.controller.explainer import Answers
from gateway.failover.explanation import (
    EndpointLoad,
    GroupExplanation,
    LimitsExplanation,
    LoadExplanation,
    RetryBudgetExplanation,
)
from gateway.status.explain_merge import Merged, MergedEjection, merge
from gateway.status.explain_summary import Circumstances, FailedCheck, cluster_problem, summarize


class Known(msgspec.Struct, frozen=True):
    """What the controller knows of a service. `now` is Unix seconds, `monotonic_now` the endpoints' clock."""

    cluster: str
    name: ServiceName
    port: str
    from_cluster: str
    now: float
    monotonic_now: float
    consumers: tuple[str, ...]
    endpoints: Sequence[EndpointStatus]
    peers: Sequence[PeerStatus]
    links: Sequence[ClusterDocument]
    events: tuple[EventDocument, ...]

    @property
    def from_peer(self) -> bool:
        return self.from_cluster != self.cluster

    @property
    def is_allowed(self) -> bool:
        return not self.from_peer or self.from_cluster in self.consumers or "*" in self.consumers


def describe_explanation(answers: Answers, known: Known) -> ExplanationDocument:
    """One document of all that was said."""
    merged = merge(answers.explanations) if answers.explanations else None
    load = merged.load if merged is not None else LoadExplanation()
    about = _circumstances(known)
    return ExplanationDocument(
        cluster=known.cluster,
        namespace=known.name.namespace,
        name=known.name.name,
        dns_name=known.name.fqdn,
        port=merged.port if merged is not None else known.port,
        from_cluster=known.from_cluster,
        summary=_summary(merged, answers, known, about),
        places=tuple(_describe_place(place, merged, about) for place in merged.places) if merged is not None else (),
        ejections=tuple(_describe_ejection(e, known.now) for e in merged.ejections) if merged is not None else (),
        endpoints=tuple(_describe_endpoint(status, known.monotonic_now) for status in known.endpoints),
        limits=tuple(map(_describe_limits, load.places)),
        endpoint_loads=tuple(map(_describe_endpoint_load, load.endpoints)),
        retry_budget=_describe_budget(load.budget) if load.budget is not None else None,
        panic=merged is not None and merged.panic,
        policy=merged.policy if merged is not None else "",
        consumers=known.consumers,
        workers_asked=len(answers.asked),
        workers_answered=len(answers.told),
        differences=tuple(_differences(merged, answers)),
        events=known.events,
    )


def _summary(merged: Merged | None, answers: Answers, known: Known, about: Circumstances) -> str:
    if not known.is_allowed:
        return f"requests of {known.from_cluster} are refused: {known.name} is not exported to it"
    if merged is not None:
        return summarize(merged, about)
    if not answers.told:
        which = f"none of {len(answers.asked)} workers answered" if answers.asked else "no worker runs"
        return f"{which}, so nobody knows where requests go"
    return "requests are refused: no worker knows the service"


def _circumstances(known: Known) -> Circumstances:
    failed = (status for status in known.endpoints if not status.healthy)
    return Circumstances(
        own_cluster=known.cluster,
        now=known.now,
        failed=tuple(FailedCheck(one.check, one.reason, max(0.0, known.monotonic_now - one.since)) for one in failed),
        silent={
            peer.cluster: f"{peer.freshness} for {peer.since_s:.0f} s"
            for peer in known.peers
            if peer.freshness in (Freshness.STALE, Freshness.WITHDRAWN)
        },
        link_problems={
            link.cluster: "; ".join(dict.fromkeys(gateway.error for gateway in link.data.gateways if gateway.error))
            for link in known.links
        },
    )


def _describe_place(group: GroupExplanation, merged: Merged | None, about: Circumstances) -> PlaceDocument:
    return PlaceDocument(
        cluster=group.cluster,
        zone=group.zone,
        rank=group.rank,
        why=group.why,
        healthy=group.healthy,
        total=group.total,
        ejected=group.ejected,
        tunnels=group.tunnels,
        rtt_ms=group.rtt_ms or None,
        availability=group.availability,
        share=group.share,
        next_share=group.next_share,
        problem=cluster_problem(group.cluster, merged, about) if merged is not None else "",
    )


def _describe_limits(one: LimitsExplanation) -> LimitsDocument:
    return LimitsDocument(one.where, one.requests, one.requests_limit, one.retries, one.retries_limit, one.refused)


def _describe_endpoint_load(one: EndpointLoad) -> EndpointLoadDocument:
    return EndpointLoadDocument(
        one.address, one.requests, one.connections, one.connections_limit, one.pending, one.pending_limit
    )


def _describe_budget(budget: RetryBudgetExplanation) -> RetryBudgetDocument:
    return RetryBudgetDocument(budget.active, budget.retrying, budget.share, budget.minimum_per_s)


def _describe_ejection(merged: MergedEjection, now: float) -> EjectedDocument:
    ejection = merged.ejection
    return EjectedDocument(
        where=ejection.where,
        until=datetime.fromtimestamp(ejection.until, UTC),
        for_s=round(max(0.0, ejection.until - now), 3),
        count=ejection.count,
        cause=ejection.cause,
        rate=ejection.rate,
        workers=merged.workers,
    )


def _describe_endpoint(status: EndpointStatus, now: float) -> EndpointStateDocument:
    endpoint = status.endpoint
    return EndpointStateDocument(
        address=str(HostPort(endpoint.address, next(iter(endpoint.ports.values()), 0))),
        zone=endpoint.zone,
        healthy=status.healthy,
        state=status.state,
        check=status.check,
        reason=status.reason,
        for_s=round(max(0.0, now - status.since), 3),
    )


def _differences(merged: Merged | None, answers: Answers) -> Iterable[str]:
    if merged is not None:
        yield from merged.differences
        for worker, told in sorted(answers.told.items()):
            if told is None:
                yield f"{worker} knows no such service yet"
    for worker in answers.asked:
        if worker not in answers.told:
            yield f"{worker} did not answer in time"
