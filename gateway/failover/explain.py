"""Says where a service's requests go, and why."""

from __future__ import annotations

from collections.abc import Callable

from discovery.model import ServiceName
from gateway.failover.decisions import FailoverDecisions
from gateway.failover.explanation import EjectionExplanation, Explanation, GroupExplanation, LoadExplanation
from gateway.failover.plan import GroupState
from gateway.failover.reach import Reach
from gateway.failover.service import ejected_places
from gateway.route import Origin, Route
from gateway.routing import RouteTable


def explain(
    decisions: FailoverDecisions,
    routes: RouteTable,
    service: str,
    port: str,
    *,
    asker: str,
    now: float,
    wall_now: float,
    load_of: Callable[[Route], LoadExplanation] = lambda route: LoadExplanation(),
) -> Explanation | None:
    """Where the requests of cluster `asker` ("": our own) for a service (`<namespace>/<name>`) go, and why. None if
    there is no such service or port ("" means its first), or the asker may not know of it. Times of the answer are the
    wall clock's. `load_of` knows what is carried of a service."""
    local = routes.local
    route = _route(routes, service, port, asker)
    if local is None or route is None:
        return None
    from_peer = asker not in ("", local.cluster)
    plan = decisions.plan(route, now, from_peer=from_peer)
    after = {state.group.name: state.share for state in decisions.foresee(route, now, from_peer=from_peer)}
    health = decisions.services[route.label]
    ejections = tuple(
        EjectionExplanation(
            name, round(wall_now + (host.ejected_until or now) - now, 3), host.times, host.cause, round(host.rate, 4)
        )
        for name, host in sorted(ejected_places(health))
    )
    return Explanation(
        route.label,
        route.port.name,
        asker or local.cluster,
        tuple(_explain_group(state, decisions.reach, after.get(state.group.name, 0.0), now) for state in plan.groups),
        ejections,
        panic=plan.panic,
        load=load_of(route),
        policy=str(decisions.settings.policy_of(route.service.name)),
    )


def _route(routes: RouteTable, service: str, port: str, asker: str) -> Route | None:
    resource = routes.service(ServiceName(*service.split("/", 1))) if "/" in service else None
    if resource is None or routes.local is None:
        return None
    number = next((known.port for known in resource.ports if port in ("", known.name)), 0)
    origin = Origin(peer=asker if asker != routes.local.cluster else "")
    return routes.find(f"{resource.name.fqdn}:{number}".encode(), origin)


def _explain_group(state: GroupState, reach: Reach, next_share: float, now: float) -> GroupExplanation:
    group = state.group
    healthy, total = group.published
    cluster = reach.of(group.cluster)
    return GroupExplanation(
        cluster=group.cluster,
        zone=group.zone,
        rank=group.level,
        why=group.why,
        healthy=healthy,
        total=total,
        ejected=state.ejected,
        tunnels=cluster.tunnels if group.share is not None else 0,
        rtt_ms=round(cluster.rtt_s * 1000, 3) if group.share is not None else 0.0,
        reachable=round(state.reachable, 4),
        availability=round(state.availability, 4),
        damping=round(state.damping, 4),
        held_s=round(cluster.held_s(now), 3) if group.share is not None else 0.0,
        share=round(state.share, 4),
        next_share=round(next_share, 4),
    )
