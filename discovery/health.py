"""Active health checks of the services that run in this cluster: the driver around `HealthBook`."""

from __future__ import annotations

import math
import random
from collections.abc import Awaitable, Callable, Iterator

import trio

from discovery.health_state import EndpointHealthChanged, EndpointStatus, HealthBook, Probe
from discovery.health_verdict import EndpointState
from discovery.model import Endpoint, LocalService, ServiceName
from discovery.probe import make_probe

__all__ = ["EndpointHealthChanged", "EndpointState", "EndpointStatus", "HealthMonitor"]

CONCURRENT_PROBES = 128
"""At once, of endpoints that are in use; as many again of those that are unhealthy already. Those may hang until their
timeout, and must not keep the others from being checked in time."""


class HealthMonitor:
    """Checks endpoints for as long as `run` runs, and tells `on_change` when one becomes usable or unusable.

    `on_change` is called synchronously, from `run` and from `upsert`. It hears of changes only: an endpoint of which
    it heard nothing is usable, and a removed one is no longer spoken of. All methods are for the trio thread.

    Args:
        on_change: hears of changes.
        rng: spreads the checks.
        probe: makes one check; None for success, else a bounded reason.
    """

    def __init__(
        self,
        on_change: Callable[[EndpointHealthChanged], None],
        rng: random.Random,
        *,
        probe: Callable[[Probe], Awaitable[str | None]] = make_probe,
    ) -> None:
        self._on_change = on_change
        self._rng = rng
        self._probe = probe
        self._book = HealthBook()
        self._in_use = trio.CapacityLimiter(CONCURRENT_PROBES)
        self._down = trio.CapacityLimiter(CONCURRENT_PROBES)
        self._planned = trio.Event()

    def upsert(self, service: LocalService) -> None:
        """Begins to watch a service, or follows its change. Must be called while trio runs."""
        self._tell(self._book.upsert(service, trio.current_time(), self._rng))

    def remove(self, name: ServiceName) -> None:
        """Watches a service no longer."""
        self._book.remove(name)

    def is_healthy(self, name: ServiceName, endpoint: Endpoint) -> bool:
        """Whether requests may go to an endpoint; so they may where nothing is known."""
        return self._book.is_healthy(name, endpoint)

    def counts(self) -> Iterator[tuple[ServiceName, int, int]]:
        """For each service, how many of its endpoints are usable, and how many there are."""
        return self._book.counts()

    def endpoints(self, name: ServiceName) -> tuple[EndpointStatus, ...]:
        """The health of one service's endpoints as of now; `since` is `trio.current_time()`."""
        return self._book.endpoints(name)

    async def run(self) -> None:
        """Checks until cancelled."""
        async with trio.open_nursery() as nursery:
            while True:
                for probe in self._book.take_due(trio.current_time()):
                    nursery.start_soon(self._check, probe)
                self._planned = trio.Event()
                due = self._book.next_due()
                with trio.move_on_at(math.inf if due is None else due):
                    await self._planned.wait()

    async def _check(self, probe: Probe) -> None:
        async with self._down if probe.down else self._in_use:
            failure = await self._probe(probe)
        self._tell(self._book.record(probe, failure, trio.current_time(), self._rng))

    def _tell(self, changes: list[EndpointHealthChanged]) -> None:
        self._planned.set()
        for change in changes:
            self._on_change(change)
