"""Where a request goes, or waits, when no place is well. Pure.

A tunnel that is silent just now may answer in the end, since an event loop that lags under load does; a cluster that
lost its last tunnel a moment ago may be back in a moment, since a worker that was killed is replaced. The only place of
a service is worth waiting for. Where there are others and these are down as well, more is gone than a peer that lags,
and a fast refusal with its reason is worth more than a hope.
"""

from __future__ import annotations

from collections.abc import Collection
from typing import TYPE_CHECKING, Final, Protocol

from gateway.failover.retry import Failure
from gateway.failover.target import RemoteTarget, Target
from gateway.route import Route
from gateway.snapshot import RemoteShare
from gateway.transport.client_connection import ClientConnection

if TYPE_CHECKING:
    from gateway.request.exchange import Exchange

# What says something of a tunnel, and nothing of the cluster behind it.
_LOST: Final = frozenset({Failure.CONNECTION_LOST, Failure.REFUSED})


class WaysOut(Protocol):
    """What is asked of the tunnels. Implemented by `tunnels.Tunnels`, which says what each means."""

    def pick(self, cluster: str, avoid: Collection[ClientConnection] = ()) -> ClientConnection | None: ...
    def has_other_gateway(self, cluster: str, avoid: Collection[ClientConnection]) -> bool: ...
    def is_awaited(self, cluster: str) -> bool: ...
    def is_returning(self, cluster: str) -> bool: ...


class LastResort:
    """Knows what is left of a service's other clusters."""

    __slots__ = ("_tunnels",)

    def __init__(self, tunnels: WaysOut) -> None:
        self._tunnels = tunnels

    def same_cluster(self, exchange: Exchange, failure: Failure) -> Target | None:
        """Another gateway of the cluster whose gateway was lost: what was lost is a gateway, not the cluster."""
        if failure not in _LOST or not exchange.tried:
            return None
        last = exchange.tried[-1]
        if isinstance(last, RemoteTarget) and self._tunnels.has_other_gateway(last.cluster, exchange.conns_tried):
            return last
        return None

    def of(self, exchange: Exchange, route: Route) -> Target | None:
        """Any tunnel that is left, also one that is silent just now; if there is none, a cluster that had one a moment
        ago. A service that runs here too waits for no cluster that is to come back."""
        if exchange.origin.peer:
            return None
        returning: Target | None = None
        shares = _shares_of(route)
        for share in shares:
            target = RemoteTarget(share.cluster)
            if target in exchange.tried and exchange.failure not in _LOST:
                continue
            if (
                self._is_awaited(route, shares, share.cluster)
                and self._tunnels.pick(share.cluster, exchange.conns_tried) is not None
            ):
                return target
            if (
                returning is None
                and not route.service.endpoints
                and share.healthy
                and self._tunnels.is_returning(share.cluster)
            ):
                returning = target
        return returning

    def is_hopeless(self, exchange: Exchange) -> bool:
        """Whether a request whose attempts all wait on silent tunnels has nothing left to wait for."""
        route = exchange.route
        if route is None or any(type(attempt.target) is not RemoteTarget for attempt in exchange.attempts):
            return False
        shares = _shares_of(route)
        return not any(share.healthy and self._is_awaited(route, shares, share.cluster) for share in shares)

    def _is_awaited(self, route: Route, shares: list[RemoteShare], cluster: str) -> bool:
        """Whether a request may be sent to a cluster, or left there, silent as it may be."""
        if len(shares) == 1 and not route.service.endpoints:
            return True
        return self._tunnels.is_awaited(cluster)


def _shares_of(route: Route) -> list[RemoteShare]:
    """The other clusters that have the port."""
    return [share for share in route.service.remotes if route.port.name in share.ports]
