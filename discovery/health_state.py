"""What the results of health checks mean, and when to check next. Pure: `now` is seconds on any monotonic clock.

What an endpoint that was never checked counts as is chosen so that least is lost:

- *Assumed* healthy, when the service has no healthy endpoint otherwise: it is new to us (above all, this gateway has
  just started), or all of its endpoints were replaced. Wrongly used, a dead endpoint costs refused connections,
  which are retried elsewhere, until `fall` checks have failed; wrongly unused, a live service is down.
- *Awaited*, and not used before its first success, when it joins endpoints that are healthy: one that announces
  itself before it listens costs nothing then, and the others carry on.
"""

from __future__ import annotations

import heapq
import itertools
import random
from collections.abc import Iterator
from typing import TypeAlias

import msgspec

from discovery.health_target import check_target
from discovery.health_verdict import EndpointState, judge
from discovery.model import Endpoint, HealthCheck, LocalService, Protocol, ServiceName

_INTERVAL_SPREAD = 0.1
"""Checks come up to a tenth of the interval early, and so drift apart: many services are not checked in one burst.
Never late: `fall` checks in a row fit into `fall` intervals, which is how soon a dead endpoint shall be known."""
FIRST_CHECK_S = 1.0
"""What was never judged is checked within this time, and again as often, whatever its interval is: a gateway that
starts beside a dead endpoint finds out soon."""

_EndpointKey: TypeAlias = tuple[str, tuple[tuple[str, int], ...]]


_FIRST_REASON = {
    EndpointState.UNCHECKED: "no-check",
    EndpointState.ASSUMED: "not-checked-yet",
    EndpointState.AWAITED: "not-checked-yet",
}


class EndpointHealthChanged(msgspec.Struct, frozen=True):
    """An endpoint became usable, or unusable. An endpoint of which nothing was said is usable.

    `reason` is bounded: `check-passed`, `not-checked-yet`, `no-check`, or a failed check's (`discovery.probe`).
    """

    service: ServiceName
    endpoint: Endpoint
    healthy: bool
    reason: str
    check: str = ""
    """What was checked: `tcp`, `http`, `grpc`; empty where nothing is."""
    results: int = 0
    """How many results in a row decided it; 0 where none did."""
    since: float = 0.0
    """When the first of them came."""


class EndpointStatus(msgspec.Struct, frozen=True):
    """One endpoint's health, for status pages. `reason` is the last check's result."""

    endpoint: Endpoint
    state: EndpointState
    healthy: bool
    reason: str
    check: str = ""
    """What is checked: `tcp`, `http`, `grpc`; empty where nothing is."""
    since: float = 0.0
    """When the results that put it into this state began, or when it became known."""


class Probe(msgspec.Struct, frozen=True):
    """One check to be made now. `port` is the endpoint's own; `protocol` is None where connecting is enough."""

    service: ServiceName
    endpoint: Endpoint
    check: HealthCheck
    port: int
    protocol: Protocol | None
    token: int
    """Tells this check's result from one that was overtaken by a change of the service."""
    down: bool = False
    """Whether the endpoint is unhealthy already: this check may take long, and nobody waits for it."""


class _Watched:
    """One endpoint under watch."""

    def __init__(self, endpoint: Endpoint, state: EndpointState, now: float) -> None:
        self.endpoint = endpoint
        self.state = state
        self.reason = _FIRST_REASON[state]
        self.streak = 0
        self.streak_began = now
        self.since = now
        self.token = 0
        """Of the check that is planned or under way; 0 when there is none."""
        self.due = 0.0

    @property
    def judged(self) -> bool:
        return self.state in (EndpointState.HEALTHY, EndpointState.UNHEALTHY)

    def move(self, service: ServiceName, state: EndpointState, reason: str, now: float) -> list[EndpointHealthChanged]:
        """Changes state without a check's doing; says so when that makes it usable or unusable."""
        before, self.state, self.reason = self.state, state, reason
        if before is not state:
            self.since = now
        if before.usable == state.usable:
            return []
        return [EndpointHealthChanged(service, self.endpoint, state.usable, reason, since=now)]

    def learn(self, probe: Probe, failure: str | None, now: float) -> list[EndpointHealthChanged]:
        """Takes a check's result; says so when it makes the endpoint usable or unusable."""
        before, results = self.state, self.streak + 1
        if self.streak == 0:
            self.streak_began = now
        self.state, self.streak = judge(before, self.streak, failure is None, probe.check)
        self.reason = failure or "check-passed"
        if self.state is not before:
            self.since = self.streak_began
        if before.usable == self.state.usable:
            return []
        return [
            EndpointHealthChanged(
                probe.service,
                self.endpoint,
                self.state.usable,
                self.reason,
                check=probe.check.kind,
                results=results,
                since=self.since,
            )
        ]


class _WatchedService:
    def __init__(self, service: LocalService) -> None:
        self.service = service
        self.endpoints: dict[_EndpointKey, _Watched] = {}


class HealthBook:
    """Every local service's endpoints, their health, and when each is checked next."""

    def __init__(self) -> None:
        self._services: dict[ServiceName, _WatchedService] = {}
        self._queue: list[tuple[float, int, ServiceName, _Watched]] = []
        """A heap by due time. An entry whose token is no longer its endpoint's is passed over."""
        self._tokens = itertools.count(1)

    def upsert(self, service: LocalService, now: float, rng: random.Random) -> list[EndpointHealthChanged]:
        """Begins to watch a service, or takes note of its change. Endpoints that stay keep their health."""
        watched = self._services.get(service.name)
        before = watched.service if watched else service
        check_changed = (before.health, before.ports) != (service.health, service.ports)
        if watched is None:
            watched = self._services[service.name] = _WatchedService(service)
        watched.service = service
        kept, newcomers = self._sort_out(watched, service)
        changes: list[EndpointHealthChanged] = []
        for endpoint in kept.values():
            if check_changed:
                changes += self._change_check(endpoint, service, now, rng)
        others_serve = any(endpoint.state.usable for endpoint in kept.values())
        for key, described in newcomers.items():
            endpoint = kept[key] = _Watched(described, EndpointState.ASSUMED, now)
            arrival = _arrival_state(service, described, others_serve)
            changes += endpoint.move(service.name, arrival, _FIRST_REASON[arrival], now)
            self._plan_first(endpoint, service, now, rng)
        watched.endpoints = kept
        return changes

    def remove(self, name: ServiceName) -> None:
        """Watches a service no longer. Unknown names are ignored."""
        watched = self._services.pop(name, None)
        for endpoint in watched.endpoints.values() if watched else ():
            endpoint.token = 0

    def next_due(self) -> float | None:
        """When the next check is due."""
        while self._queue and self._queue[0][1] != self._queue[0][3].token:
            heapq.heappop(self._queue)
        return self._queue[0][0] if self._queue else None

    def take_due(self, now: float) -> list[Probe]:
        """The checks to be made now. An endpoint is planned again when its result is recorded: checks of one
        endpoint never overlap."""
        probes = []
        while (due := self.next_due()) is not None and due <= now:
            _, token, name, endpoint = heapq.heappop(self._queue)
            service = self._services[name].service
            target = check_target(service, endpoint.endpoint)
            assert target is not None, "an endpoint without a target is never planned"
            assert service.health is not None, "nor is one without a check"
            endpoint.due = now
            down = endpoint.state is EndpointState.UNHEALTHY
            probes.append(Probe(name, endpoint.endpoint, service.health, *target, token, down=down))
        return probes

    def record(self, probe: Probe, failure: str | None, now: float, rng: random.Random) -> list[EndpointHealthChanged]:
        """Takes a check's result, None for success, else the reason. Results that were overtaken are ignored."""
        watched = self._services.get(probe.service)
        endpoint = watched.endpoints.get(_key(probe.endpoint)) if watched else None
        if endpoint is None or endpoint.token != probe.token:
            return []
        changes = endpoint.learn(probe, failure, now)
        interval_s = probe.check.interval_s if endpoint.judged else min(probe.check.interval_s, FIRST_CHECK_S)
        # Counted from the start, so that checks that time out do not make finding out take longer.
        next_due = endpoint.due + interval_s * rng.uniform(1 - _INTERVAL_SPREAD, 1)
        self._plan(endpoint, probe.service, max(now, next_due))
        return changes

    def is_healthy(self, name: ServiceName, endpoint: Endpoint) -> bool:
        """Whether requests may go to an endpoint; so they may where nothing is known."""
        watched = self._services.get(name)
        known = watched.endpoints.get(_key(endpoint)) if watched else None
        return known is None or known.state.usable

    def counts(self) -> Iterator[tuple[ServiceName, int, int]]:
        """For each service, how many of its endpoints are usable, and how many there are."""
        for name, watched in self._services.items():
            states = [known.state.usable for known in watched.endpoints.values()]
            yield name, sum(states), len(states)

    def endpoints(self, name: ServiceName) -> tuple[EndpointStatus, ...]:
        """The health of one service's endpoints as of now; none for an unknown name."""
        watched = self._services.get(name)
        if watched is None:
            return ()
        check = watched.service.health
        kind = check.kind if check is not None else ""
        return tuple(
            EndpointStatus(known.endpoint, known.state, known.state.usable, known.reason, kind, known.since)
            for known in watched.endpoints.values()
        )

    def _sort_out(
        self, watched: _WatchedService, service: LocalService
    ) -> tuple[dict[_EndpointKey, _Watched], dict[_EndpointKey, Endpoint]]:
        """Tells endpoints that stay from new ones, and lets go of the others."""
        described = {_key(endpoint): endpoint for endpoint in service.endpoints}
        kept = {key: endpoint for key, endpoint in watched.endpoints.items() if key in described}
        for key, endpoint in watched.endpoints.items():
            if key in kept:
                endpoint.endpoint = described[key]
            else:
                endpoint.token = 0
        return kept, {key: endpoint for key, endpoint in described.items() if key not in kept}

    def _change_check(
        self, endpoint: _Watched, service: LocalService, now: float, rng: random.Random
    ) -> list[EndpointHealthChanged]:
        """The service's check or ports changed: what is known of an endpoint holds until results differ."""
        endpoint.streak = 0
        self._plan_first(endpoint, service, now, rng)
        if check_target(service, endpoint.endpoint) is None:
            return endpoint.move(service.name, EndpointState.UNCHECKED, "no-check", now)
        if endpoint.state is EndpointState.UNCHECKED:
            return endpoint.move(service.name, EndpointState.ASSUMED, "not-checked-yet", now)
        return []

    def _plan_first(self, endpoint: _Watched, service: LocalService, now: float, rng: random.Random) -> None:
        endpoint.token = 0
        if service.health is not None and check_target(service, endpoint.endpoint):
            # What waits for its first success is checked at once, the others soon, but not all in one moment.
            spread_s = 0.0 if endpoint.state is EndpointState.AWAITED else min(service.health.interval_s, FIRST_CHECK_S)
            self._plan(endpoint, service.name, now + rng.uniform(0, spread_s))

    def _plan(self, endpoint: _Watched, name: ServiceName, due: float) -> None:
        endpoint.token = next(self._tokens)
        heapq.heappush(self._queue, (due, endpoint.token, name, endpoint))


def _arrival_state(service: LocalService, endpoint: Endpoint, others_serve: bool) -> EndpointState:
    if check_target(service, endpoint) is None:
        return EndpointState.UNCHECKED
    return EndpointState.AWAITED if others_serve else EndpointState.ASSUMED


def _key(endpoint: Endpoint) -> _EndpointKey:
    """What makes an endpoint the same one: where it listens. Its zone and host name may be corrected."""
    return endpoint.address, tuple(sorted(endpoint.ports.items()))
