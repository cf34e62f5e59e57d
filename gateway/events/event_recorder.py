"""Takes what the controller and its workers see into the list of events, and wakes those who follow it."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence

import trio

from discovery.health_state import EndpointHealthChanged
from discovery.model import ServiceName
from federation.report import PeerTransition
from federation.service_view import ServiceView
from gateway.events.diversions import Diversions
from gateway.events.event_log import EventLog, Happening
from gateway.events.event_text import (
    ExportChange,
    changed_exports,
    from_endpoint,
    from_exports,
    from_failover,
    from_link,
    from_transition,
)
from gateway.failover.events import FailoverEvent

_LISTED_EXPORTS = 5


class EventRecorder:
    """The controller tells it everything; all methods are for the trio thread. `wall` gives Unix seconds,
    `service_changed` is called with what each service was and what it is."""

    def __init__(
        self, wall: Callable[[], float], service_changed: Callable[[ServiceView | None, ServiceView | None], None]
    ) -> None:
        self.log = EventLog(wall())
        self.diversions = Diversions()
        self._wall = wall
        self._service_changed = service_changed
        self._views: dict[ServiceName, ServiceView] = {}
        self._news = trio.Event()

    async def wait_news(self) -> None:
        """Returns when something was added."""
        await self._news.wait()

    def endpoint_changed(self, change: EndpointHealthChanged) -> None:
        self._add(from_endpoint(change, self._wall(), trio.current_time() - change.since))

    def link_changed(self, cluster: str, up: bool, errors: Iterable[str]) -> None:
        self._add(from_link(cluster, up, errors, self._wall()))

    def freshness_changed(self, transitions: Sequence[PeerTransition]) -> None:
        for seen in transitions:
            if seen.before is not seen.after:
                self._add(from_transition(seen))

    def services_changed(self, names: Iterable[ServiceName], views: Mapping[ServiceName, ServiceView]) -> None:
        """Call it with each change of the catalog."""
        changes: list[ExportChange] = []
        for name in names:
            before, after = self._views.get(name), views.get(name)
            if before is not after:
                if after is not None:
                    self._views[name] = after
                else:
                    del self._views[name]
                self._service_changed(before, after)
                changes += changed_exports(before, after)
        for happening in from_exports(changes, self._wall(), _LISTED_EXPORTS):
            self._add(happening)

    def worker_reported(self, worker: str, events: Iterable[FailoverEvent], workers: int) -> None:
        """`workers` is how many there are."""
        events = list(events)
        self.diversions.take(worker, events)
        added = [self.log.add_from_worker(worker, from_failover(event), self._wall(), workers) for event in events]
        if any(added):
            self._wake()

    def worker_ended(self, worker: str) -> None:
        self.diversions.retire(worker)

    def _add(self, happening: Happening) -> None:
        if self.log.add(happening, self._wall()) is not None:
            self._wake()

    def _wake(self) -> None:
        news, self._news = self._news, trio.Event()
        news.set()
