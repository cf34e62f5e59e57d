"""Tunnels: the long-lived HTTP/2 connections to peers' gateways, kept open and probed.

Each worker keeps a few tunnels to each gateway of each peer (`gateway_tunnels.py`). A request never waits for a
tunnel: there is one ready, or the request goes to another cluster. The choice is made for each request anew, between
gateways by what they carry, so a gateway that came later or came back gets its part at once.
"""

from __future__ import annotations

import random
from collections.abc import Callable, Collection, Iterator
from datetime import datetime

import trio

from gateway.codec.interface import TunnelCodec
from gateway.control import Tunnel as TunnelReport
from gateway.snapshot import PeerResource
from gateway.transport.client_connection import ClientConnection
from gateway.transport.deadlines import Deadline
from gateway.transport.reactor import Reactor
from gateway.transport.resolver import Resolver
from gateway.tunnel.gateway_tunnels import TUNNELS_PER_GATEWAY, GatewayTunnels, Ground
from gateway.tunnel.identity import Identity
from gateway.tunnel.returning import Returning

__all__ = ["TUNNELS_PER_GATEWAY", "Tunnels"]


class Way:
    """One gateway and its tunnels that take requests, as the request path sees it."""

    __slots__ = ("connections", "gateway")

    def __init__(self, gateway: GatewayTunnels, connections: list[ClientConnection]) -> None:
        self.gateway = gateway
        self.connections = connections

    def load(self, *, streams: bool) -> int:
        """What is in progress: requests that have not settled, or all `streams`."""
        load = 0
        for conn in self.connections:
            load += len(conn.handlers) if streams else conn.load
        return load


class Tunnels:
    """All tunnels of a worker."""

    def __init__(
        self,
        identity: Identity,
        reactor: Reactor,
        nursery: trio.Nursery,
        *,
        make_codec: Callable[[], TunnelCodec],
        wall_clock: Callable[[], datetime],
        changed: Callable[[], None],
        rng: random.Random,
    ) -> None:
        self.resolver = Resolver()
        self._reactor = reactor
        self._changed = changed
        self._rng = rng
        self._ground = Ground(identity, reactor, nursery, self.resolver, make_codec, wall_clock, self._regroup, rng)
        self._gateways: dict[tuple[str, str], GatewayTunnels] = {}
        self._retired: list[GatewayTunnels] = []
        self._ways: dict[str, list[Way]] = {}
        """By cluster: the gateways that take requests now."""
        self._last_ways: dict[str, list[Way]] = {}
        """By cluster: those that are silent, or were too often. Better than nothing."""
        self._absent: set[str] = set()
        """Clusters all of whose tunnels are silent, and were for a while."""
        self._returning = Returning(reactor.call_at)
        self._held: Deadline | None = None
        self._held_until = 0.0

    @property
    def tried(self) -> bool:
        """Whether the first attempt to reach each gateway has ended, well or not."""
        return all(tunnels.tried for tunnels in self._gateways.values())

    # For the request path.

    def is_ready(self, cluster: str) -> bool:
        """Whether there is a tunnel to a cluster that answers. It may be full: `pick` knows."""
        return cluster in self._ways

    def is_open(self, cluster: str) -> bool:
        """Whether there is any tunnel to a cluster, also one that is silent just now."""
        return cluster in self._ways or cluster in self._last_ways

    def is_awaited(self, cluster: str) -> bool:
        """Whether there is a tunnel to a cluster that answers, or fell silent only just now."""
        return self.is_open(cluster) and cluster not in self._absent

    def pick(
        self, cluster: str, avoid: Collection[ClientConnection] = (), *, stream: bool = False
    ) -> ClientConnection | None:
        """The less loaded of two tunnels to a cluster that can take a request, or None. Those to `avoid` are not
        taken; neither is one to the same gateway where another gateway answers. What may last (`stream`) goes where
        fewer streams are; other requests where fewer requests are, however many streams lie there."""
        ways = self._ways.get(cluster) or self._last_ways.get(cluster)
        if not ways:
            return None
        if not avoid and len(ways) <= 2:
            # Most clusters have one gateway or two: no need to draw lots of more than which is first.
            way = ways[0] if len(ways) == 1 else self._less_loaded(ways, stream)
            conn = _least_used(way.connections, stream)
            if conn.usable:
                return conn
        return self._pick_carefully(ways, avoid, stream)

    def _less_loaded(self, ways: list[Way], stream: bool) -> Way:
        """Of two random ones (Mitzenmacher 2001); of two that carry as much, either."""
        i = int(self._rng.random() * len(ways))
        j = int(self._rng.random() * (len(ways) - 1))
        first, second = ways[i], ways[j + (j >= i)]
        return first if first.load(streams=stream) <= second.load(streams=stream) else second

    def _pick_carefully(
        self, ways: list[Way], avoid: Collection[ClientConnection], stream: bool
    ) -> ClientConnection | None:
        def usable(way: Way) -> list[ClientConnection]:
            return [conn for conn in way.connections if conn.usable and conn not in avoid]

        left = [way for way in ways if usable(way)]
        others = [way for way in left if not any(conn in avoid for conn in way.connections)] or left
        if not others:
            return None
        way = others[0] if len(others) == 1 else self._less_loaded(others, stream)
        return _least_used(usable(way), stream)

    def has_other(self, cluster: str, avoid: Collection[ClientConnection]) -> bool:
        """Whether there is another tunnel to the cluster that answers."""
        return any(conn.usable and conn not in avoid for way in self._ways.get(cluster, ()) for conn in way.connections)

    def has_other_gateway(self, cluster: str, avoid: Collection[ClientConnection]) -> bool:
        """Whether a gateway of the cluster answers that none of these leads to."""
        return any(
            any(conn.usable for conn in way.connections) and not any(link.conn in avoid for link in way.gateway.links)
            for way in self._ways.get(cluster, ())
        )

    def is_returning(self, cluster: str) -> bool:
        """Whether a cluster without any tunnel had one a moment ago, and is likely to have one again."""
        return self._returning.expects(cluster, trio.current_time())

    def wait(self, cluster: str, wake: Callable[[], None]) -> None:
        """For one that `is_returning`: calls `wake` when it is back, or not expected any more."""
        self._returning.wait(cluster, wake)

    def report(self) -> list[TunnelReport]:
        return [tunnels.report() for tunnels in self._gateways.values()]

    # Following the snapshot.

    def set_peer(self, peer: PeerResource) -> None:
        """Opens tunnels to new gateways, lets go of those to gateways that are gone, follows those that moved, and ends
        those whose peer would not be believed any more."""
        wanted = {(peer.cluster, gateway.id): gateway for gateway in peer.gateways}
        for key, tunnels in [*self._of(peer.cluster)]:
            if key not in wanted:
                self._retire(key)
            elif tunnels.gateway != wanted[key]:
                tunnels.readdress(wanted[key])
        for tunnels in [*self._all_of(peer.cluster)]:
            tunnels.check_again()
        for key, gateway in wanted.items():
            if key not in self._gateways:
                self._gateways[key] = GatewayTunnels(peer.cluster, gateway, self._ground)
        self._reactor.flush()
        self._regroup(peer.cluster)

    def remove_peer(self, cluster: str) -> None:
        for tunnels in [*self._all_of(cluster)]:
            tunnels.close()
        for key, _ in [*self._of(cluster)]:
            del self._gateways[key]
        self._regroup(cluster)
        self._reactor.flush()

    def _of(self, cluster: str) -> Iterator[tuple[tuple[str, str], GatewayTunnels]]:
        return ((key, tunnels) for key, tunnels in self._gateways.items() if key[0] == cluster)

    def _all_of(self, cluster: str) -> Iterator[GatewayTunnels]:
        yield from (tunnels for _, tunnels in self._of(cluster))
        yield from (tunnels for tunnels in self._retired if tunnels.cluster == cluster)

    def _retire(self, key: tuple[str, str]) -> None:
        tunnels = self._gateways.pop(key)
        self._retired.append(tunnels)
        tunnels.retire()

    # What takes requests.

    def _regroup(self, cluster: str) -> None:
        """A tunnel came into service or went out of it, or what was held against a gateway is over."""
        now = trio.current_time()
        self._retired = [tunnels for tunnels in self._retired if tunnels.links]
        ways: list[Way] = []
        held: list[Way] = []
        silent: list[Way] = []
        for _, tunnels in self._of(cluster):
            if ready := tunnels.ready:
                (held if tunnels.flapping.held(now) else ways).append(Way(tunnels, ready))
            elif suspect := tunnels.suspect:
                silent.append(Way(tunnels, suspect))
        better, was_open = bool(ways) and cluster not in self._ways, self.is_open(cluster)
        was_absent = cluster in self._absent
        absent = not ways and not held and bool(silent) and all(way.gateway.absent for way in silent)
        (self._absent.add if absent else self._absent.discard)(cluster)
        _put(self._ways, cluster, ways)
        _put(self._last_ways, cluster, held or silent)
        if held:
            self._look_again_at(min(way.gateway.flapping.held_until for way in held))
        self._changed()
        if was_open and not was_absent and not self.is_open(cluster):
            # One that ends after a long silence is not being restarted.
            self._returning.lost(cluster, now)
        if self.is_open(cluster) or not any(self._of(cluster)) or not self._returning.expects(cluster, now):
            self._returning.settle(cluster, now)
        if better or (absent and not was_absent):
            self._stall_what_waits()

    def _look_again_at(self, when: float) -> None:
        """When a gateway is not held back any more. Those of all clusters are looked at then, so the earliest time is
        enough: whoever is held back for longer asks again."""
        if self._held is not None:
            if self._held_until <= when:
                return
            self._held.cancel()
        self._held_until = when

        def look() -> None:
            self._held = None
            for cluster in {cluster for cluster, _ in self._gateways}:
                self._regroup(cluster)

        self._held = self._reactor.call_at(when, look)

    def _stall_what_waits(self) -> None:
        """A cluster can be reached again, or is not waited for any more: what waits on silent tunnels may have
        somewhere to go now, or nothing left to wait for."""
        for tunnels in [*self._gateways.values(), *self._retired]:
            tunnels.stall()


def _put(ways: dict[str, list[Way]], cluster: str, found: list[Way]) -> None:
    if found:
        ways[cluster] = found
    else:
        ways.pop(cluster, None)


def _least_used(connections: list[ClientConnection], streams: bool) -> ClientConnection:
    """Of those of one gateway, of which there is one at least: by `streams`, or by requests that have not settled."""
    least = connections[0]
    fewest = len(least.handlers) if streams else least.load
    for conn in connections[1:]:
        load = len(conn.handlers) if streams else conn.load
        if load < fewest:
            least, fewest = conn, load
    return least
