"""When a new worker begins to accept."""

from __future__ import annotations

from collections.abc import Callable

import trio

from gateway.routing import RouteTable
from gateway.transport.deadlines import Deadline
from gateway.transport.reactor import Reactor
from gateway.tunnel.identity import Identity
from gateway.tunnel.tunnels import Tunnels
from gateway.worker.reception import PEERS, RESOLVERS, WORKLOADS, Reception

# How long the first tunnels may keep a new worker from accepting requests that might need them.
FIRST_TUNNELS_S = 2.0


class Opening:
    """Accepts what can be answered by now. The sockets are shared with other workers, or wait: what this one would
    refuse for want of a snapshot or a tunnel is left to them. `opened` is called when patience with the tunnels ended.
    """

    def __init__(
        self,
        reception: Reception,
        routes: RouteTable,
        identity: Identity,
        tunnels: Tunnels,
        reactor: Reactor,
        opened: Callable[[], None],
    ) -> None:
        self._reception = reception
        self._routes = routes
        self._identity = identity
        self._tunnels = tunnels
        self._reactor = reactor
        self._opened = opened
        self._patience: Deadline | None = None
        self._tunnels_due = False
        """The first tunnels have had their time."""

    @property
    def done(self) -> bool:
        """Whether everything that comes can be answered."""
        return self._reception.accepts(*PEERS, *WORKLOADS)

    def look(self) -> None:
        """Something is known, proved or connected that was not before."""
        if self.done or not self._routes.is_whole:
            return
        certified = self._identity.svid is not None
        self._reception.open(*RESOLVERS)
        if certified:
            self._reception.open(*PEERS)
        if self._tunnels_due or (certified and self._tunnels.tried):
            self._reception.open(*WORKLOADS)
        elif self._patience is None:
            self._patience = self._reactor.call_at(trio.current_time() + FIRST_TUNNELS_S, self._lose_patience)

    def _lose_patience(self) -> None:
        self._tunnels_due = True
        self.look()
        self._opened()
