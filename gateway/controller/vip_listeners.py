"""Which listening sockets the virtual IPs of services need, and how they follow the catalog."""

from __future__ import annotations

from collections.abc import Mapping

from discovery.model import ServiceName
from gateway.control import ListenerSpec
from gateway.controller.compile import changed_listeners, vip_listeners
from gateway.snapshot import SERVICE_PREFIX, ServiceResource
from gateway.transport.listeners import Listeners


class VipListeners:
    """Keeps them in `listeners`."""

    def __init__(self, listeners: Listeners) -> None:
        self._listeners = listeners
        self._services: dict[ServiceName, ServiceResource] = {}

    def follow(self, services: Mapping[ServiceName, ServiceResource | None]) -> tuple[list[str], list[str]]:
        """These services are this now; None: gone. Returns the names of the sockets that were closed, which is done
        first, as an address may have moved, and of those that were opened."""
        gone: list[str] = []
        new: list[ListenerSpec] = []
        for name, resource in services.items():
            before = self._services.get(name)
            if resource is not None:
                self._services[name] = resource
            elif before is not None:
                del self._services[name]
            if before is None:
                new += vip_listeners(resource).values() if resource is not None else ()
            elif resource is None or before.vip != resource.vip or before.ports != resource.ports:
                closed, opened = changed_listeners(
                    vip_listeners(before), vip_listeners(resource) if resource is not None else {}
                )
                gone += closed
                new += opened
        for socket_name in gone:
            self._listeners.close(socket_name)
        return gone, [spec.name for spec in new if self._listeners.try_open(spec)]

    def left_over(self) -> list[str]:
        """Those that came from an earlier controller, for services that are not there any more."""
        return self._listeners.left_over(self._is_wanted)

    def _is_wanted(self, spec: ListenerSpec) -> bool:
        namespace, _, name = spec.service.removeprefix(SERVICE_PREFIX).partition("/")
        service = self._services.get(ServiceName(namespace, name))
        return service is not None and spec.name in vip_listeners(service)
