"""Routing: from a request's authority and origin to a service's port. Pure.

`RouteTable` is a worker's copy of the snapshot, indexed for the request path: a look-up is one dictionary access by
the authority as it came.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator

import msgspec

from discovery.model import Port, Protocol, ServiceName
from gateway.snapshot import LocalResource, PeerResource, Resource, ServiceResource, Update, service_key


class Origin(msgspec.Struct, frozen=True):
    """Who sent a request: a local workload (no peer), or a validated peer gateway."""

    peer: str = ""
    """The peer's cluster name; empty for local workloads."""
    fixed: tuple[str, str] | None = None
    """A virtual IP's listener: the service's key and port name that all its connections are for."""


LOCAL_ORIGIN = Origin()


class Route(msgspec.Struct, frozen=True):
    """Where a request goes: a service and one of its ports."""

    service: ServiceResource
    port: Port
    authority: bytes
    """The canonical `<fqdn>:<port>`, which crosses to a peer."""
    label: str
    """`<namespace>/<name>`, for metrics."""


class RouteTable:
    """The services, peers and own settings of one worker.

    >>> RouteTable().find(b"nobody.there", LOCAL_ORIGIN) is None
    True
    """

    def __init__(self) -> None:
        self.local: LocalResource | None = None
        self.services: dict[str, ServiceResource] = {}
        self.peers: dict[str, PeerResource] = {}
        self._by_authority: dict[bytes, Route] = {}

    def apply(self, update: Update) -> Iterator[tuple[Resource | None, Resource | None]]:
        """Takes an update in. Yields each change as (before, after), None for what was or is not there."""
        if update.reset:
            kept = {resource.key for resource in update.upserts}
            for key in [key for key in self._keys() if key not in kept]:
                yield from self._remove(key)
        for key in update.removals:
            yield from self._remove(key)
        for resource in update.upserts:
            yield from self._upsert(resource)

    def _keys(self) -> Iterable[str]:
        return [*self.services, *(peer.key for peer in self.peers.values())]

    def _remove(self, key: str) -> Iterator[tuple[Resource, None]]:
        if service := self.services.pop(key, None):
            self._unindex(service)
            yield service, None
        elif peer := self.peers.pop(key.removeprefix("peer/"), None):
            yield peer, None

    def _upsert(self, resource: Resource) -> Iterator[tuple[Resource | None, Resource]]:
        before: Resource | None
        if isinstance(resource, ServiceResource):
            before = self.services.get(resource.key)
            if before is not None:
                self._unindex(before)
            self.services[resource.key] = resource
            self._index(resource)
        elif isinstance(resource, PeerResource):
            before = self.peers.get(resource.cluster)
            self.peers[resource.cluster] = resource
        else:
            before, self.local = self.local, resource
        if before != resource:
            yield before, resource

    def _index(self, service: ServiceResource) -> None:
        for authority, port in _authorities(service):
            canonical = f"{service.name.fqdn}:{port.port}".encode()
            self._by_authority[authority] = Route(service, port, canonical, str(service.name))

    def _unindex(self, service: ServiceResource) -> None:
        for authority, _ in _authorities(service):
            self._by_authority.pop(authority, None)

    def service(self, name: ServiceName) -> ServiceResource | None:
        return self.services.get(service_key(name))

    def find(self, authority: bytes, origin: Origin) -> Route | None:
        """The route for a request, or None: there is no such service, or this origin may not know of it."""
        if origin.fixed is not None:
            return self._fixed(*origin.fixed)
        route = self._by_authority.get(authority) or self._by_authority.get(_normalised(authority))
        if route is not None and origin.peer and not _may_call(route.service, origin.peer):
            return None
        return route

    def _fixed(self, key: str, port_name: str) -> Route | None:
        service = self.services.get(key)
        if service is None:
            return None
        for port in service.ports:
            if port.name == port_name:
                return self._by_authority.get(f"{service.name.fqdn}:{port.port}".encode())
        return None


def _may_call(service: ServiceResource, cluster: str) -> bool:
    return cluster in service.consumers or "*" in service.consumers


def _authorities(service: ServiceResource) -> Iterator[tuple[bytes, Port]]:
    """Every authority that means this service: with a port number, and without where that is not ambiguous."""
    fqdn = service.name.fqdn
    for port in service.ports:
        yield f"{fqdn}:{port.port}".encode(), port
    http = [port for port in service.ports if port.protocol is not Protocol.TCP]
    default = next((port for port in http if port.port == 80), http[0] if len(http) == 1 else None)
    if default is not None:
        yield fqdn.encode(), default


def _normalised(authority: bytes) -> bytes:
    """Host names are case-insensitive and may end with a dot (RFC 3986 section 3.2.2, RFC 1034 section 3.1)."""
    host, colon, port = authority.lower().partition(b":")
    return host.removesuffix(b".") + colon + port
