"""Which listening sockets the virtual IPs of services need, and how they follow the catalog."""

from __future__ import annotations

from collections.abc import Mapping

from discovery.model import ServiceName
from gateway.control import ListenerSpec
from gateway.controller.compile import changed_listeners, vip_listeners
from gateway.snapshot import ServiceResource
from gateway.transport.listeners import Listeners


class VipListeners:
    """Keeps them in `listeners`."""

    def __init__(self, listeners: Listeners) -> None:
        self._listeners = listeners
        self._specs: dict[ServiceName, dict[str, ListenerSpec]] = {}

    def follow(self, services: Mapping[ServiceName, ServiceResource | None]) -> tuple[list[str], list[str]]:
        """These services are this now; None: gone. Returns the names of the sockets that were closed, which is done
        first, as an address may have moved, and of those that were opened."""
        gone: list[str] = []
        new: list[ListenerSpec] = []
        for name, resource in services.items():
            before = self._specs.get(name, {})
            after = vip_listeners(resource) if resource is not None else {}
            if before == after:
                continue
            if after:
                self._specs[name] = after
            else:
                del self._specs[name]
            closed, opened = changed_listeners(before, after)
            gone += closed
            new += opened
        for socket_name in gone:
            self._listeners.close(socket_name)
        return gone, [spec.name for spec in new if self._listeners.try_open(spec)]

    def left_over(self) -> list[str]:
        """Those that came from an earlier controller, for services that are not there any more."""
        return self._listeners.left_over({name for specs in self._specs.values() for name in specs})
