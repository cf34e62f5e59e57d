"""Where a request goes, or waits, when no place is well."""

from __future__ import annotations

import dataclasses
from collections.abc import Collection

import msgspec
import pytest

from discovery.model import Endpoint, ZoneHealth
from gateway.failover.retry import Failure
from gateway.failover.target import LocalTarget, RemoteTarget
from gateway.request.exchange import Exchange
from gateway.request.last_resort import LastResort
from gateway.route import LOCAL_ORIGIN, Origin, Route
from gateway.snapshot import LocalEndpoint, RemoteShare
from gateway.transport.client_connection import ClientConnection
from gateway.transport.reactor import Reactor
from tests.exchange_play import EU, ROUTE, WEST, Play, Recorder, nowhere

HTTP = ("http",)
DOWN = LocalEndpoint(Endpoint("127.0.0.1", {"http": 1}), healthy=False)


class Tunnels:
    """What the tunnels would say: which clusters are silent, for long, or a moment ago had one."""

    def __init__(self, *, silent: str = "", absent: str = "", returning: str = "", two_gateways: str = "") -> None:
        self.open = [*silent.split(), *absent.split()]
        self.absent = absent.split()
        self.returning = returning.split()
        self.two_gateways = two_gateways.split()
        self.conn = ClientConnection(Reactor(), nowhere(), Recorder())

    def pick(self, cluster: str, avoid: Collection[ClientConnection] = ()) -> ClientConnection | None:
        return self.conn if cluster in self.open and self.conn not in avoid else None

    def has_other_gateway(self, cluster: str, avoid: Collection[ClientConnection]) -> bool:
        return cluster in self.two_gateways

    def is_awaited(self, cluster: str) -> bool:
        return cluster in self.open and cluster not in self.absent

    def is_returning(self, cluster: str) -> bool:
        return cluster in self.returning


def route_to(*remotes: str | RemoteShare, local: bool = False) -> Route:
    """To a service that these other clusters have, and that has an endpoint here, which is down, if `local`."""
    shares = tuple(share if isinstance(share, RemoteShare) else RemoteShare(share, HTTP) for share in remotes)
    service = msgspec.structs.replace(ROUTE.service, remotes=shares, endpoints=(DOWN,) if local else ())
    return dataclasses.replace(ROUTE, service=service)


def request(route: Route, *tried: RemoteTarget | LocalTarget, origin: Origin = LOCAL_ORIGIN) -> Exchange:
    """One whose attempts are under way at these places."""
    play = Play(*tried, origin=origin)
    exchange = play.exchange
    exchange.route = route
    exchange.service = play.service(route)
    for target in tried:
        exchange.begin_attempt(target, None)
    return exchange


@pytest.mark.parametrize(
    ("tunnels", "route", "found"),
    [
        (Tunnels(silent="west"), route_to("west"), WEST),
        (Tunnels(silent="eu"), route_to("west", "eu"), EU),
        (Tunnels(absent="west", silent="eu"), route_to("west", "eu"), EU),
        (Tunnels(absent="west eu"), route_to("west", "eu"), None),
        (Tunnels(absent="west"), route_to("west"), WEST),
        (Tunnels(absent="west"), route_to("west", local=True), None),
        (Tunnels(silent="west"), route_to("west", local=True), WEST),
        (Tunnels(), route_to("west"), None),
        (Tunnels(returning="west"), route_to("west"), WEST),
        (Tunnels(returning="west"), route_to("west", "eu"), WEST),
        (Tunnels(returning="west", silent="eu"), route_to("west", "eu"), EU),
        (Tunnels(returning="west"), route_to("west", local=True), None),
        (Tunnels(silent="west"), route_to(RemoteShare("west", ("other",))), None),
    ],
)
def test_what_is_left(tunnels: Tunnels, route: Route, found: RemoteTarget | None) -> None:
    """A silent tunnel is better than nothing, and a long silence only where the service has no other place at all."""
    assert LastResort(tunnels).of(request(route), route) == found


def test_a_peers_request_goes_to_no_third_cluster() -> None:
    """There is no transit, in need neither."""
    route = route_to("west")
    assert LastResort(Tunnels(silent="west")).of(request(route, origin=Origin(peer="north")), route) is None


def test_what_was_tried_is_asked_again_only_over_another_tunnel() -> None:
    """A tunnel that was lost says nothing of its cluster; a refusal does."""
    route, tunnels = route_to("west"), Tunnels(silent="west")
    exchange = request(route, WEST)
    exchange.failure = Failure.CONNECTION_LOST
    assert LastResort(tunnels).of(exchange, route) == WEST
    exchange.conns_tried.append(tunnels.conn)
    assert LastResort(tunnels).of(exchange, route) is None
    exchange.conns_tried.clear()
    exchange.failure = Failure.NO_HEALTHY_UPSTREAM
    assert LastResort(tunnels).of(exchange, route) is None


def test_peers_03_another_gateway_of_the_cluster_comes_first() -> None:
    """What was lost is a gateway, not the cluster."""
    route = route_to("west", "eu")
    left = LastResort(Tunnels(two_gateways="west"))
    exchange = request(route, WEST)
    assert left.same_cluster(exchange, Failure.CONNECTION_LOST) == WEST
    assert left.same_cluster(exchange, Failure.NO_HEALTHY_UPSTREAM) is None
    assert left.same_cluster(request(route), Failure.CONNECTION_LOST) is None
    assert LastResort(Tunnels()).same_cluster(exchange, Failure.CONNECTION_LOST) is None


UNHEALTHY_EU = RemoteShare("eu", HTTP, (ZoneHealth("a", 0, 2),))


@pytest.mark.parametrize(
    ("tunnels", "route", "hopeless"),
    [
        (Tunnels(absent="west eu"), route_to("west", "eu"), True),
        (Tunnels(absent="west", silent="eu"), route_to("west", "eu"), False),
        (Tunnels(absent="west", silent="eu"), route_to("west", UNHEALTHY_EU), True),
        (Tunnels(absent="west"), route_to("west", local=True), True),
        (Tunnels(silent="west"), route_to("west", local=True), False),
        (Tunnels(absent="west"), route_to("west"), False),
    ],
)
def test_when_there_is_no_hope(tunnels: Tunnels, route: Route, hopeless: bool) -> None:
    """Every place is down or silent for long; the only place of a service may still answer."""
    assert LastResort(tunnels).is_hopeless(request(route, WEST)) is hopeless


def test_an_endpoint_that_is_asked_is_a_hope() -> None:
    """A hedge went to a cluster that fell silent; the first attempt, at an endpoint here, may still be answered."""
    route = route_to("west", local=True)
    local = LocalTarget("127.0.0.1:1")
    assert not LastResort(Tunnels(absent="west")).is_hopeless(request(route, local, WEST))
