"""Happenings as sentences for people. Pure."""

from __future__ import annotations

import enum
from collections.abc import Iterable, Mapping
from typing import NamedTuple

from discovery.address import HostPort
from discovery.health_state import EndpointHealthChanged
from discovery.model import ServiceName
from federation.freshness import Freshness
from federation.report import PeerTransition
from federation.service_view import ExportView, ServiceView
from gateway.events.cause_text import describe_cause
from gateway.events.event_log import Happening
from gateway.failover.events import Cause, EventKind, FailoverEvent


class ControllerKind(enum.StrEnum):
    """What the controller sees itself. What workers see is in `gateway.failover.events.EventKind`."""

    ENDPOINT_UNHEALTHY = "endpoint-unhealthy"
    ENDPOINT_HEALTHY = "endpoint-healthy"
    CLUSTER_UNHEALTHY = "cluster-unhealthy"
    """A cluster has no healthy endpoint of a service any more."""
    CLUSTER_HEALTHY = "cluster-healthy"
    LINK_UP = "link-up"
    LINK_DOWN = "link-down"
    FRESHNESS = "freshness"
    EXPORT_ADDED = "export-added"
    EXPORT_WITHDRAWN = "export-withdrawn"
    EXPORT_CHANGED = "export-changed"

    __hash__ = str.__hash__
    """As its text compares, and without a call of Python's: a peer that comes brings thousands of them."""


EVENT_KINDS: tuple[str, ...] = (*map(str, EventKind), *map(str, ControllerKind))

_FAILOVER = {
    EventKind.EJECTED: "{where} gets no requests for a while",
    EventKind.RETURNED: "{where} gets requests again, few at first",
    EventKind.SPILLED: "the preferred place can not carry all, a part goes to {where}",
    EventKind.FAILED_OVER: "{lost} gets nothing any more, {where} takes over",
    EventKind.RECOVERED: "all goes to {where} again",
    EventKind.PANIC: "so little is healthy that health is disregarded",
    EventKind.PANIC_ENDED: "enough is healthy again to go by health",
    EventKind.OVERFLOWED: "{where} is asked for more than a limit allows, which is refused",
    EventKind.EXHAUSTED: "{lost} gets nothing any more and no place is left, requests are refused",
}


def from_failover(event: FailoverEvent) -> Happening:
    what = _FAILOVER[event.kind].format(where=event.where or "the service", lost=event.lost or "the preferred place")
    # That time has passed needs no words: nothing else brings a place back.
    cause = "" if event.cause is Cause.TIME_OVER else f": {describe_cause(event.cause)}"
    message = f"{what}{cause}{describe_numbers(event.numbers)}"
    return Happening(event.at, event.kind, event.service, event.where, event.cause, message, dict(event.numbers))


def from_endpoint(change: EndpointHealthChanged, at: float, for_s: float) -> Happening:
    """`for_s` is how long the results that decided it go back."""
    kind = ControllerKind.ENDPOINT_HEALTHY if change.healthy else ControllerKind.ENDPOINT_UNHEALTHY
    endpoint = change.endpoint
    where = str(HostPort(endpoint.address, min(endpoint.ports.values(), default=0)))
    state = "healthy" if change.healthy else "unhealthy"
    if change.results:
        times = "time" if change.results == 1 else "times in a row"
        outcome = "passed" if change.healthy else f"failed ({change.reason})"
        message = f"{where} is {state}: its {change.check} check {outcome} {change.results} {times}"
    else:
        message = f"{where} is {state}: {change.reason}"
    numbers = {"results": float(change.results), "for_s": round(for_s, 3)} if change.results else {}
    return Happening(at, kind, str(change.service), where, change.reason, message, numbers)


def from_link(cluster: str, up: bool, errors: Iterable[str], at: float) -> Happening:
    if up:
        return Happening(at, ControllerKind.LINK_UP, "", cluster, "tunnels", f"a tunnel to {cluster} is ready")
    told = "; ".join(sorted(set(filter(None, errors))))
    message = f"no tunnel to {cluster} is ready" + (f": {told}" if told else "")
    return Happening(at, ControllerKind.LINK_DOWN, "", cluster, "tunnels", message)


def from_transition(seen: PeerTransition) -> Happening:
    message = f"what {seen.cluster} said is {seen.after}, was {seen.before} ({seen.reason})"
    return Happening(seen.at, ControllerKind.FRESHNESS, "", seen.cluster, seen.reason, message)


class ExportChange(NamedTuple):
    """What a cluster offers of a service changed; `was` or `now` is None where it does not offer it."""

    kind: ControllerKind
    name: ServiceName
    cluster: str
    was: ExportView | None
    now: ExportView | None


def changed_exports(before: ServiceView | None, after: ServiceView | None) -> list[ExportChange]:
    """What is worth an event between two views of a service, by cluster."""
    view = after or before
    if view is None:
        return []
    name = view.name
    if before is None:
        return [ExportChange(ControllerKind.EXPORT_ADDED, name, now.cluster, None, now) for now in view.exports]
    was = {export.cluster: export for export in before.exports}
    now = {export.cluster: export for export in after.exports} if after else {}
    found = []
    for cluster in sorted(was.keys() | now.keys()):
        kind = _kind(was.get(cluster), now.get(cluster))
        if kind is not None:
            found.append(ExportChange(kind, name, cluster, was.get(cluster), now.get(cluster)))
    return found


def from_exports(changes: Iterable[ExportChange], at: float, limit: int) -> list[Happening]:
    """One for each, but one for all where more than `limit` are of one kind and cluster: a peer that comes brings its
    whole catalog."""
    groups: dict[tuple[ControllerKind, str], list[ExportChange]] = {}
    for change in changes:
        groups.setdefault((change.kind, change.cluster), []).append(change)
    listed: list[Happening] = []
    for (kind, cluster), group in groups.items():
        if len(group) <= limit:
            listed += [_from_export(change, at) for change in group]
        else:
            message = f"{len(group)} services of {cluster}: {kind}"
            listed.append(Happening(at, kind, "", cluster, "export", message, {"services": float(len(group))}))
    return listed


def _from_export(change: ExportChange, at: float) -> Happening:
    message = f"{change.cluster} {_describe_export(change.kind, change.now)}"
    return Happening(at, change.kind, str(change.name), change.cluster, "export", message, _count(change.now))


def _kind(was: ExportView | None, now: ExportView | None) -> ControllerKind | None:
    if now is None:
        return ControllerKind.EXPORT_WITHDRAWN
    if was is None:
        return ControllerKind.EXPORT_ADDED
    if was.ports != now.ports:
        return ControllerKind.EXPORT_CHANGED
    if was.zones and now.zones and _is_healthy(was) != _is_healthy(now):
        return ControllerKind.CLUSTER_HEALTHY if _is_healthy(now) else ControllerKind.CLUSTER_UNHEALTHY
    return None


def _describe_export(kind: ControllerKind, now: ExportView | None) -> str:
    if now is None:
        return "offers it no longer"
    if kind is ControllerKind.EXPORT_ADDED:
        return f"offers it{_healthy_text(now)}"
    if kind is ControllerKind.EXPORT_CHANGED:
        ports = ", ".join(f"{port.name}:{port.port}/{port.protocol}" for port in now.ports)
        return f"offers it with other ports: {ports or 'none'}"
    if kind is ControllerKind.CLUSTER_HEALTHY:
        return f"has healthy endpoints again{_healthy_text(now)}"
    return f"has no healthy endpoint any more{_healthy_text(now)}"


def describe_numbers(numbers: Mapping[str, float]) -> str:
    """` (time 30 s, share.west 70%)`; empty if there are none. Names end in their unit (`_s`, `_ms`), shares and rates
    are shown in per cent."""
    shown = ", ".join(_describe_number(name, value) for name, value in numbers.items())
    return f" ({shown})" if shown else ""


def _describe_number(name: str, value: float) -> str:
    for suffix, unit in (("_ms", " ms"), ("_s", " s")):
        if name.endswith(suffix):
            return f"{name.removesuffix(suffix).replace('_', ' ')} {value:g}{unit}"
    if name.startswith("share.") or name.endswith(("share", "rate", "availability")):
        return f"{name.removeprefix('share.').replace('_', ' ')} {value:.0%}"
    return f"{name.replace('_', ' ')} {value:g}"


def _is_healthy(export: ExportView) -> bool:
    return export.freshness is not Freshness.WITHDRAWN and any(zone.healthy for zone in export.zones)


def _healthy_text(export: ExportView) -> str:
    if not export.zones:
        return ""
    return f": {sum(z.healthy for z in export.zones)} of {sum(z.total for z in export.zones)} healthy"


def _count(export: ExportView | None) -> dict[str, float]:
    if export is None or not export.zones:
        return {}
    zones = export.zones
    return {"healthy": float(sum(z.healthy for z in zones)), "total": float(sum(z.total for z in zones))}
