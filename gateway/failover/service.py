"""What is known of one service's places from its requests, and the measure of a group by all that is known."""

from __future__ import annotations

from collections.abc import Iterator

from gateway.failover.choice import Candidate
from gateway.failover.ejection import Host, Outliers, ramp, settle
from gateway.failover.events import Cause
from gateway.failover.latency import PeakEwma
from gateway.failover.order import Group, endpoint_address
from gateway.failover.outcome import Outcome, Verdict, judge
from gateway.failover.plan import GroupState
from gateway.failover.policy import EjectionPolicy
from gateway.failover.reach import Reach
from gateway.failover.target import LocalTarget, RemoteTarget, Target
from gateway.snapshot import ServiceResource


class ServiceHealth:
    """One service as its requests saw it. Times are seconds of one monotonic clock."""

    __slots__ = ("_followed", "_interval_ends", "clusters", "endpoints", "latencies", "own_cluster", "planned_ports")

    def __init__(self, own_cluster: str) -> None:
        self.own_cluster = own_cluster
        self.endpoints = Outliers()
        """By address."""
        self.clusters = Outliers()
        """By name; our own is among them when the service runs here."""
        self.latencies: dict[str, PeakEwma] = {}
        """Of endpoints, by address."""
        self.planned_ports: set[str] = set()
        """Those that there are plans for."""
        self._interval_ends = 0.0
        self._followed: ServiceResource | None = None

    def follow(self, service: ServiceResource) -> None:
        """Takes in which places there are; what was known of those that stay is kept."""
        if self._followed is service:
            return
        self._followed = service
        addresses = {
            endpoint_address(entry.endpoint, port) for entry in service.endpoints for port in entry.endpoint.ports
        }
        self.endpoints.keep(addresses)
        for gone in self.latencies.keys() - addresses:
            del self.latencies[gone]
        for new in addresses - self.latencies.keys():
            self.latencies[new] = PeakEwma()
        clusters = {share.cluster for share in service.remotes}
        self.clusters.keep(clusters | {self.own_cluster} if addresses else clusters)

    def host_of(self, target: Target) -> Host | None:
        if isinstance(target, LocalTarget):
            return self.endpoints.hosts.get(target.address)
        return self.clusters.hosts.get(target.cluster)

    # What requests saw.

    def observed(
        self, target: Target, outcome: Outcome, latency_s: float, policy: EjectionPolicy, now: float
    ) -> list[tuple[str, Cause]]:
        """Counts an attempt's outcome. Returns which places are due to be ejected, an endpoint before its cluster."""
        due = self._end_interval(policy, now) if now >= self._interval_ends else []
        verdict = judge(outcome, remote=type(target) is RemoteTarget)
        if verdict is None:
            return due
        # Not `isinstance`, which asks the metaclass of a struct.
        if type(target) is LocalTarget:
            latency, endpoint = self.latencies.get(target.address), self.endpoints.hosts.get(target.address)
            if latency is None or endpoint is None:
                # It was taken away while the request was on its way.
                return due
            self._time(latency, endpoint, verdict, latency_s, policy, now)
            if cause := self.endpoints.observed(endpoint, verdict, policy):
                due.append((target.address, cause))
            name = self.own_cluster
        else:
            name = target.place
        cluster = self.clusters.hosts.get(name)
        if cluster is not None and (cause := self.clusters.observed(cluster, verdict, policy)):
            due.append((name, cause))
        return due

    @staticmethod
    def _time(
        latency: PeakEwma, endpoint: Host, verdict: Verdict, latency_s: float, policy: EjectionPolicy, now: float
    ) -> None:
        """An endpoint that fails at times is kept away from. One that fails each time is not, until its ejection is
        decided: it would stay in use for a few requests now and then, and fail each."""
        if verdict is not Verdict.SUCCESS:
            latency.observe_failure(latency_s, now)
        else:
            latency.observe(latency_s, now)
        undecided = max(policy.consecutive_5xx, policy.consecutive_gateway_errors)
        if endpoint.server_errors and (verdict is Verdict.SUCCESS or endpoint.server_errors >= undecided):
            latency.penalize(now)

    def avoid(self, name: str, now: float) -> None:
        """An endpoint is due to be ejected and may not be: what can goes to those that are well."""
        if latency := self.latencies.get(name):
            well = (self.latencies[other] for other, host in self.endpoints.hosts.items() if not host.is_failing)
            latency.penalize(now, max((other.cost_s for other in well), default=0.0))

    def _end_interval(self, policy: EjectionPolicy, now: float) -> list[tuple[str, Cause]]:
        self._interval_ends = now + policy.interval_s
        due = [*self.endpoints.end_interval(policy), *self.clusters.end_interval(policy)]
        return [(name, Cause.SUCCESS_RATE) for name in due]

    # Time passes.

    def returned(self, policy: EjectionPolicy, now: float) -> list[tuple[str, Host]]:
        """Lets those places return whose time is over."""
        over: list[tuple[str, Host]] = []
        for outliers in (self.endpoints, self.clusters):
            over += [(name, outliers.hosts[name]) for name in outliers.returned(policy, now)]
            for host in outliers.hosts.values():
                settle(host, policy, now)
        for name, _ in over:
            # Its failures would keep requests away for longer than the ejection was.
            if latency := self.latencies.get(name):
                latency.forget()
        return over

    @property
    def unsettled(self) -> bool:
        """Whether time alone will change something."""
        return self.endpoints.unsettled or self.clusters.unsettled

    # What is left.

    def usable_endpoints(self, service: ServiceResource) -> set[str]:
        """The addresses of endpoints that are healthy and not ejected."""
        return {
            address
            for entry in service.endpoints
            if entry.healthy
            for port in entry.endpoint.ports
            for address in [endpoint_address(entry.endpoint, port)]
            if not self.is_ejected(self.endpoints, address)
        }

    def usable_clusters(self, service: ServiceResource, reach: Reach) -> set[str]:
        """The other clusters that have the service, say that it is healthy, answer, and are not ejected."""
        return {
            share.cluster
            for share in service.remotes
            if share.healthy
            and reach.of(share.cluster).tunnels
            and share.cluster in self.clusters.hosts
            and not self.is_ejected(self.clusters, share.cluster)
        }

    @staticmethod
    def is_ejected(outliers: Outliers, name: str) -> bool:
        host = outliers.hosts.get(name)
        return host is not None and host.ejected

    def measure(self, group: Group, policy: EjectionPolicy, reach: Reach, now: float, *, for_peer: bool) -> GroupState:
        """A group by what its owner publishes, what tunnels reach, and what requests saw.

        `for_peer`: the requests come from a peer. That it is us who have nothing better than to answer is the peer's to
        see; a cluster does not eject itself for others.
        """
        state = GroupState(group)
        healthy, total = group.published
        if group.share is None:
            self._measure_endpoints(state, policy, now)
        else:
            # An owner that says nothing of its health is believed to be well.
            state.published = healthy / total if total else float(group.share.healthy)
            self._measure_tunnels(state, reach)
            # Its gateways never use what is unhealthy there for us, so in panic it counts for what is healthy.
            state.hosts = (healthy if group.share.zones else 1.0) if state.reachable else 0.0
        state.availability *= state.published * state.reachable
        cluster = self.clusters.hosts.get(group.cluster)
        if cluster is not None and not for_peer:
            if cluster.ejected:
                state.availability = 0.0
                state.ejected = max(1, state.ejected)
            state.damping *= ramp(cluster, policy, now)
        return state

    def _measure_endpoints(self, state: GroupState, policy: EjectionPolicy, now: float) -> None:
        """Our own: the published health counts one by one, as some of the healthy ones may be ejected."""
        ready, others = state.ready, state.others
        for member in state.group.members:
            address = member.target.address
            host = self.endpoints.hosts[address]
            candidate = Candidate(member.target, self.latencies[address], ramp(host, policy, now))
            state.ejected += host.ejected
            (ready if member.healthy and not host.ejected else others).append(candidate)
        state.hosts = float(len(state.group.members))
        healthy = sum(member.healthy for member in state.group.members)
        state.published = healthy / state.hosts
        state.availability = len(ready) / healthy if healthy else 0.0
        state.damping = sum(candidate.ramp for candidate in ready) / len(ready) if ready else 1.0

    def _measure_tunnels(self, state: GroupState, reach: Reach) -> None:
        cluster = reach.of(state.group.cluster)
        state.reachable = cluster.fraction if cluster.tunnels else 0.0
        state.damping = cluster.damping
        state.availability = 1.0


def ejected_places(health: ServiceHealth) -> Iterator[tuple[str, Host]]:
    """All places of a service that are ejected now."""
    for outliers in (health.endpoints, health.clusters):
        for name, host in outliers.hosts.items():
            if host.ejected:
                yield name, host
