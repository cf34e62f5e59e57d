"""All failover decisions of one worker: plans for each service, kept until something changes that they depend on.

What changes a plan: the snapshot, tunnels, an ejection or a return, and time while something is about to return. A
request costs a look-up and a draw or two; nothing is computed for it unless its plan is new.
"""

from __future__ import annotations

import random
from collections.abc import Callable, Iterable, Sequence
from typing import Final

from discovery.model import ServiceName
from gateway.failover.choice import InProgress
from gateway.failover.divide import divide
from gateway.failover.event_log import EventLog
from gateway.failover.events import Cause, EventKind
from gateway.failover.order import Group, order_groups
from gateway.failover.outcome import Outcome
from gateway.failover.plan import GroupState, Plan
from gateway.failover.policy import FailoverSettings
from gateway.failover.reach import GatewayReach, Reach
from gateway.failover.retry import Failure
from gateway.failover.service import ServiceHealth
from gateway.failover.target import Target
from gateway.failover.transitions import NEVER_SEEN, Standing, changes, standing
from gateway.route import Route
from gateway.routing import RouteTable
from gateway.snapshot import LocalResource, PeerResource, ServiceResource

DIVERTED_PER_TICK: Final = 50

_Key = tuple[str, str]
"""`<namespace>/<name>` and the name of a port."""


class FailoverDecisions:
    """Times are seconds of one monotonic clock."""

    def __init__(self, routes: RouteTable, rng: random.Random, count: Callable[[str, EventKind, Cause], None]) -> None:
        self.reach = Reach()
        self.events = EventLog(count)
        self.services: dict[str, ServiceHealth] = {}
        self.settings = FailoverSettings()
        self._routes = routes
        self._rng = rng
        self._groups: dict[_Key, tuple[ServiceResource, tuple[Group, ...]]] = {}
        self._plans: dict[_Key, Plan] = {}
        self._peer_plans: dict[_Key, Plan] = {}
        self._standings: dict[_Key, Standing] = {}
        self._diverted: dict[_Key, Route] = {}
        """Ports of services whose load does not go where it would if all were well. Their plans are made anew without a
        request, so that the end of it is told although nobody asks."""
        self._unsettled: set[str] = set()
        """Services that time alone will change."""
        self.restless_now: Callable[[], None] = lambda: None
        """Called when `tick` is needed that was not before."""

    # What changes plans.

    def changed(self, resource: ServiceResource | PeerResource | LocalResource) -> None:
        """A resource is new or gone: what was computed from it is forgotten, what was seen of places is kept."""
        if isinstance(resource, ServiceResource):
            self._service_changed(resource)
            return
        if self._routes.local is not None:
            self.settings = self._routes.local.failover
        self.reach.keep(self._routes.peers)
        self._reorder()

    def _service_changed(self, service: ServiceResource) -> None:
        label = str(service.name)
        health = self.services.get(label)
        if health is None:
            return
        for port in health.planned_ports:
            self._groups.pop((label, port), None)
        self._forget_plans(label)
        current = self._routes.service(service.name)
        for port in health.planned_ports - {port.name for port in current.ports} if current else health.planned_ports:
            self._standings.pop((label, port), None)
            self._diverted.pop((label, port), None)
        if current is None:
            del self.services[label]
            self._unsettled.discard(label)
        self._ask_for_ticks()

    def _reorder(self) -> None:
        self._groups.clear()
        self._plans.clear()
        self._peer_plans.clear()
        self._ask_for_ticks()

    def _ask_for_ticks(self) -> None:
        """Who ticks may have rested: plans of diverted ports are gone, or tunnels have changed."""
        if self.restless:
            self.restless_now()

    def _forget_plans(self, label: str) -> None:
        for port in self.services[label].planned_ports:
            self._plans.pop((label, port), None)
            self._peer_plans.pop((label, port), None)

    def take_tunnels(self, gateways: Iterable[GatewayReach], now: float) -> None:
        """What the tunnels to all gateways are. To be told at each change, and every second."""
        if self.reach.take(gateways, now):
            self._reorder()
        elif self.reach.restless:
            self.restless_now()

    @property
    def restless(self) -> bool:
        """Whether time alone will change anything, or a diverted port is to be planned anew."""
        return bool(self._unsettled) or self.reach.restless or any(key not in self._plans for key in self._diverted)

    def tick(self, now: float) -> None:
        """Time has passed: some may return, or get more of their share. To be called a few times a second as long as it
        is `restless`."""
        if self.reach.settle(now):
            self._plans.clear()
        for label in [*self._unsettled]:
            health = self.services[label]
            for name, host in health.returned(self.settings.ejection, now):
                numbers = {"times": float(host.times)}
                self.events.add(label, EventKind.RETURNED, name, Cause.TIME_OVER, numbers, now)
            self._forget_plans(label)
            if not health.unsettled:
                self._unsettled.discard(label)
        self._follow_diverted(now)

    def _follow_diverted(self, now: float) -> None:
        """So many at a time that thousands, which all change while a cluster comes back, hold nobody up."""
        due = [key for key in self._diverted if key not in self._plans]
        for key in due[:DIVERTED_PER_TICK]:
            # To the end of the line, if it stays diverted.
            self.plan(self._diverted.pop(key), now, from_peer=False)

    # What requests ask and say.

    def choose(
        self,
        route: Route,
        tried: Sequence[Target],
        failure: Failure | None,
        in_progress: InProgress,
        now: float,
        *,
        from_peer: bool,
    ) -> Target | None:
        """Where the next attempt of a request goes, if anywhere.

        A request from a peer goes to an endpoint of ours that is healthy, or nowhere: there is no transit, and the
        caller has better places to go than an unhealthy one of ours.
        """
        plans = self._peer_plans if from_peer else self._plans
        plan = plans.get((route.label, route.port.name))
        if plan is None:
            plan = self.plan(route, now, from_peer=from_peer)
        return plan.choose(tried, failure, in_progress, self._rng, now)

    def observed(self, label: str, target: Target, outcome: Outcome, latency_s: float, now: float) -> None:
        """An attempt for a service came to a verdict."""
        health = self.services.get(label)
        if health is None:
            return
        due = health.observed(target, outcome, latency_s, self.settings.ejection, now)
        if due:
            self._consider(label, health, due, now)

    def is_doubted(self, label: str, target: Target) -> bool:
        """Whether a place is ejected, or has returned and not been well since: what it answers with an error may be
        asked elsewhere, so that trying it again is nobody's error."""
        health = self.services.get(label)
        host = health.host_of(target) if health is not None else None
        return host is not None and (host.ejected or host.on_probation)

    # Ejection.

    def _consider(self, label: str, health: ServiceHealth, due: list[tuple[str, Cause]], now: float) -> None:
        """Ejects what is due, where there is somewhere else to go.

        An endpoint goes before its cluster: when it could be ejected, the cluster's count begins anew without it.
        """
        service = self._routes.service(ServiceName(*label.split("/", 1)))
        if service is None:
            return
        for name, cause in due:
            if name in health.endpoints.hosts:
                if self._eject_endpoint(service, health, name, cause, now):
                    own = health.clusters.hosts.get(health.own_cluster)
                    if own is not None:
                        own.clear()
                    return
            elif self._eject_cluster(service, health, name, cause, now):
                return
        # Refused: nobody looks again before as many more have failed.
        for name, _ in due:
            health.avoid(name, now)
            (health.endpoints.hosts.get(name) or health.clusters.hosts[name]).clear()

    def _eject_endpoint(
        self, service: ServiceResource, health: ServiceHealth, address: str, cause: Cause, now: float
    ) -> bool:
        policy = self.settings.policy_of(service.name)
        others = bool(health.usable_endpoints(service) - {address})
        if not others and policy.pin != health.own_cluster:
            others = bool(self._usable_clusters(service, health))
        if not health.endpoints.may_eject(self.settings.ejection, other_place=others):
            return False
        self._eject(str(service.name), health, address, cause, now)
        return True

    def _eject_cluster(
        self, service: ServiceResource, health: ServiceHealth, cluster: str, cause: Cause, now: float
    ) -> bool:
        others = self._usable_clusters(service, health)
        own = health.clusters.hosts.get(health.own_cluster)
        if own is not None and not own.ejected and health.usable_endpoints(service):
            others.add(health.own_cluster)
        pinned = self.settings.policy_of(service.name).pin
        other_place = not pinned and bool(others - {cluster})
        if not health.clusters.may_eject(self.settings.ejection, other_place=other_place):
            return False
        self._eject(str(service.name), health, cluster, cause, now)
        return True

    def _usable_clusters(self, service: ServiceResource, health: ServiceHealth) -> set[str]:
        pinned = self.settings.policy_of(service.name).pin
        usable = health.usable_clusters(service, self.reach)
        return usable & {pinned} if pinned else usable

    def _eject(self, label: str, health: ServiceHealth, name: str, cause: Cause, now: float) -> None:
        outliers = health.endpoints if name in health.endpoints.hosts else health.clusters
        host = outliers.hosts[name]
        in_a_row = host.gateway_errors if cause is Cause.GATEWAY_ERRORS else host.server_errors
        time_s = outliers.eject(host, cause, self.settings.ejection, now, self._rng)
        numbers = {"time_s": round(time_s, 3), "times": float(host.times), "rate": round(host.rate, 4)}
        if cause is not Cause.SUCCESS_RATE:
            numbers["in_a_row"] = float(in_a_row)
        self.events.add(label, EventKind.EJECTED, name, cause, numbers, now)
        self._unsettled.add(label)
        self.restless_now()
        self._forget_plans(label)

    # Plans.

    def plan(self, route: Route, now: float, *, from_peer: bool) -> Plan:
        """The plan for a service's port, made anew if it must be."""
        key = (route.label, route.port.name)
        plans = self._peer_plans if from_peer else self._plans
        plan = plans.get(key)
        if plan is None:
            plan = plans[key] = self._make(key, route, now, from_peer=from_peer)
            if not from_peer:
                self._compare(key, route, plan, now)
        return plan

    def foresee(self, route: Route, now: float, *, from_peer: bool) -> Sequence[GroupState]:
        """The groups as they would be if the first one that gets requests now died."""
        groups = self.plan(route, now, from_peer=from_peer).groups
        first = next((state.group for state in groups if state.share > 0.0), None)
        return self._make((route.label, route.port.name), route, now, from_peer=from_peer, dead=first).groups

    def _make(self, key: _Key, route: Route, now: float, *, from_peer: bool, dead: Group | None = None) -> Plan:
        local, settings = self._routes.local, self.settings
        assert local is not None
        service, groups = self._groups_of(key, route)
        health = self._health_of(service)
        health.planned_ports.add(key[1])
        own = settings.policy_of(service.name).max_share
        ejection = settings.ejection

        def measure(group: Group) -> GroupState:
            state = health.measure(group, ejection, self.reach, now, for_peer=from_peer)
            if group is dead:
                state.published = state.availability = state.hosts = 0.0
            return state

        return divide(
            [group for group in groups if group.share is None] if from_peer else groups,
            measure,
            panic_threshold=0.0 if from_peer else settings.panic_threshold,
            max_share=settings.max_share if own is None else own,
            own_cluster=local.cluster,
        )

    def _health_of(self, service: ServiceResource) -> ServiceHealth:
        local = self._routes.local
        assert local is not None
        label = str(service.name)
        health = self.services.get(label)
        if health is None:
            health = self.services[label] = ServiceHealth(local.cluster)
        health.follow(service)
        return health

    def _groups_of(self, key: _Key, route: Route) -> tuple[ServiceResource, tuple[Group, ...]]:
        known = self._groups.get(key)
        if known is None:
            local = self._routes.local
            assert local is not None
            # The request may have come before the service changed: others must not get its old endpoints.
            service = self._routes.service(route.service.name) or route.service
            policy = self.settings.policy_of(service.name)
            groups = order_groups(service, key[1], policy, local, self._routes.peers, self._rtt_step)
            known = self._groups[key] = (service, groups)
        return known

    def _rtt_step(self, cluster: str) -> int:
        return self.reach.of(cluster).rtt_step

    def _compare(self, key: _Key, route: Route, plan: Plan, now: float) -> None:
        """Tells what is different from the plan before."""
        after = standing(plan)
        for change in changes(self._standings.get(key, NEVER_SEEN), after):
            self.events.add(key[0], change.kind, change.where, change.cause, change.numbers, now, lost=change.lost)
        self._standings[key] = after
        if after.kind is EventKind.RECOVERED:
            self._diverted.pop(key, None)
        else:
            self._diverted[key] = route
