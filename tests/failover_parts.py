"""A service, its clusters and what is seen of them, for tests of where requests go."""

from __future__ import annotations

import random
from collections.abc import Iterable

import msgspec

from discovery.model import Endpoint, Locality, Port, Protocol, ServiceName, ZoneHealth
from gateway.failover.decisions import FailoverDecisions
from gateway.failover.events import Cause, EventKind
from gateway.failover.outcome import Outcome
from gateway.failover.plan import Plan
from gateway.failover.policy import FailoverSettings, ServicePolicy
from gateway.failover.reach import GatewayReach
from gateway.failover.retry import Failure
from gateway.failover.target import LocalTarget, RemoteTarget, Target
from gateway.route import Route
from gateway.routing import RouteTable
from gateway.snapshot import (
    GatewayAddress,
    LocalEndpoint,
    LocalResource,
    PeerResource,
    RemoteShare,
    Resource,
    ServiceResource,
    Update,
)

NAME = ServiceName("n", "s")
LABEL = "n/s"
PORTS = (Port("http", 80, Protocol.HTTP),)
REGIONS = {"west": "us-west", "eu": "eu-central", "near": "us-east", "asia": "asia", "moon": "moon"}
WEST, EU, NEAR = RemoteTarget("west"), RemoteTarget("eu"), RemoteTarget("near")


def endpoint(port: int, zone: str = "a", *, healthy: bool = True) -> LocalEndpoint:
    return LocalEndpoint(Endpoint("127.0.0.1", {"http": port}, zone), healthy)


def local(port: int) -> LocalTarget:
    return LocalTarget(f"127.0.0.1:{port}")


def share(cluster: str, healthy: int = 1, total: int = 1, *, stale: bool = False) -> RemoteShare:
    return RemoteShare(cluster, ("http",), (ZoneHealth("z", healthy, total),), stale)


def service(endpoints: Iterable[LocalEndpoint] = (), remotes: Iterable[RemoteShare] = ()) -> ServiceResource:
    return ServiceResource(NAME, "", PORTS, tuple(endpoints), ("*",), tuple(remotes))


def tunnels(*clusters: str, rtt_s: float = 0.01, gateways: int = 1) -> list[GatewayReach]:
    return [GatewayReach(cluster, f"g{i}", 2, rtt_s) for cluster in clusters for i in range(gateways)]


class Worker:
    """What a worker decides with: in cluster east, region us-east, zone a. `now` is what a test says."""

    def __init__(self, resource: ServiceResource, settings: FailoverSettings | None = None, **policy: object) -> None:
        self.now = 1_000.0
        self.counted: list[tuple[str, EventKind, Cause]] = []
        self.routes = RouteTable()
        self.rng = random.Random(1)
        self.decisions = FailoverDecisions(self.routes, self.rng, lambda *labels: self.counted.append(labels))
        settings = settings or FailoverSettings(("us-west", "eu-central"))
        if policy:
            services = ((LABEL, ServicePolicy(**policy)),)  # type: ignore[arg-type]
            settings = msgspec.structs.replace(settings, services=services)
        peers = [
            PeerResource(name, f"{name}.test", (), (GatewayAddress("g0", ("h:1",), Locality(region)),))
            for name, region in REGIONS.items()
        ]
        self.apply(LocalResource("acme", "east", Locality("us-east", "a"), "east.test", settings), *peers, resource)
        self.decisions.take_tunnels(tunnels(*REGIONS), self.now)

    def apply(self, *upserts: Resource, removals: tuple[str, ...] = ()) -> None:
        for before, after in self.routes.apply(Update([*upserts], [*removals])):
            for version in (before, after):
                if version is not None:
                    self.decisions.changed(version)

    @property
    def route(self) -> Route:
        resource = self.routes.service(NAME)
        assert resource is not None
        return Route(resource, PORTS[0], b"", LABEL)

    def plan(self, *, from_peer: bool = False) -> Plan:
        return self.decisions.plan(self.route, self.now, from_peer=from_peer)

    def shares(self, *, from_peer: bool = False) -> dict[str, float]:
        """Of the groups that get any."""
        groups = self.plan(from_peer=from_peer).groups
        return {state.group.name: round(state.share, 3) for state in groups if state.share}

    def choose(
        self, *tried: Target, failure: Failure | None = Failure.CONNECT, from_peer: bool = False
    ) -> Target | None:
        return self.decisions.choose(
            self.route, tried, failure if tried else None, lambda target: 0, self.now, from_peer=from_peer
        )

    def walk(self, *, from_peer: bool = False) -> list[Target]:
        """Every target in the order in which attempts that can't connect would try them."""
        tried: list[Target] = []
        while target := self.choose(*tried, from_peer=from_peer):
            tried.append(target)
        return tried

    def see(self, target: Target, outcome: Outcome, times: int = 1, latency_s: float = 0.001) -> None:
        for _ in range(times):
            self.decisions.observed(LABEL, target, outcome, latency_s, self.now)

    def wait(self, seconds: float) -> None:
        """Time passes, with a tick every quarter of a second."""
        until = self.now + seconds
        while self.now < until:
            self.now = min(until, self.now + 0.25)
            self.decisions.tick(self.now)

    def events(self) -> list[tuple[EventKind, str, Cause]]:
        return [(e.kind, e.where, e.cause) for e in self.decisions.events.take(self.now, 0.0)]
