"""Routing: from a request's authority and origin to a service's port. Pure.

`RouteTable` is a worker's copy of the snapshot: a look-up is one dictionary access by the authority as it came.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from typing import Final

import msgspec

from discovery.model import CLUSTERSET_ZONE, Port, Protocol, ServiceName
from gateway.route import Origin, Route
from gateway.snapshot import LocalResource, PeerResource, Resource, ServiceResource, Update, service_key

ROUTES_KEPT: Final = 8_192
_SUFFIX: Final = f".svc.{CLUSTERSET_ZONE}".encode()
_pack: Final = msgspec.msgpack.Encoder().encode
_unpack: Final = msgspec.msgpack.Decoder(ServiceResource).decode


class RouteTable:
    """The services, peers and own settings of one worker.

    Services are kept packed and unpacked when they are asked for: a clusterset may have a hundred thousand, of which
    one worker's clients use some. Routes in use are kept as they are.

    >>> RouteTable().find(b"nobody.there", Origin()) is None
    True
    """

    def __init__(self) -> None:
        self.local: LocalResource | None = None
        self.peers: dict[str, PeerResource] = {}
        self._packed: dict[str, bytes] = {}
        self._routes: dict[bytes | tuple[str, str], Route] = {}
        """By authority as it came, or by a virtual IP's service and port: those that were asked for lately."""
        self._known_by: dict[str, list[bytes | tuple[str, str]]] = {}
        """Of each service what it is known by in `_routes`."""
        self._resetting: set[str] | None = None
        """What the whole snapshot that is coming has named so far."""

    @property
    def is_whole(self) -> bool:
        """Whether a snapshot is here, and not only the beginning of one."""
        return self.local is not None and self._resetting is None

    @property
    def services(self) -> Iterator[ServiceResource]:
        """All of them, unpacked one by one."""
        return (_unpack(packed) for packed in self._packed.values())

    def __len__(self) -> int:
        """How many services there are."""
        return len(self._packed)

    def apply(self, update: Update) -> Iterator[tuple[Resource | None, Resource | None]]:
        """Takes an update in. Yields each change as (before, after), None for what was or is not there."""
        if update.reset:
            self._resetting = set()
        for key in update.removals:
            yield from self._remove(key)
        for resource in update.upserts:
            if self._resetting is not None:
                self._resetting.add(resource.key)
            yield from self._upsert(resource)
        if self._resetting is not None and not update.more:
            kept, self._resetting = self._resetting, None
            for key in [key for key in self._keys() if key not in kept]:
                yield from self._remove(key)

    def _keys(self) -> Iterable[str]:
        return [*self._packed, *(peer.key for peer in self.peers.values())]

    def _remove(self, key: str) -> Iterator[tuple[Resource, None]]:
        if packed := self._packed.pop(key, None):
            self._forget_routes(key)
            yield _unpack(packed), None
        elif peer := self.peers.pop(key.removeprefix("peer/"), None):
            yield peer, None

    def _upsert(self, resource: Resource) -> Iterator[tuple[Resource | None, Resource]]:
        before: Resource | None
        if isinstance(resource, ServiceResource):
            yield from self._upsert_service(resource)
            return
        if isinstance(resource, PeerResource):
            before = self.peers.get(resource.cluster)
            self.peers[resource.cluster] = resource
        else:
            before, self.local = self.local, resource
        if before != resource:
            yield before, resource

    def _upsert_service(self, service: ServiceResource) -> Iterator[tuple[Resource | None, Resource]]:
        key, packed = service.key, _pack(service)
        before = self._packed.get(key)
        if before != packed:
            self._packed[key] = packed
            self._forget_routes(key)
            yield (_unpack(before) if before is not None else None), service

    def _forget_routes(self, key: str) -> None:
        for known in self._known_by.pop(key, ()):
            self._routes.pop(known, None)

    def service(self, name: ServiceName) -> ServiceResource | None:
        return self._service(service_key(name))

    def _service(self, key: str) -> ServiceResource | None:
        packed = self._packed.get(key)
        return _unpack(packed) if packed is not None else None

    def _route(self, authority: bytes) -> Route | None:
        """The route by an authority in its normal form."""
        route = self._routes.get(authority)
        if route is None and (key := _key_of(authority)) is not None and (service := self._service(key)) is not None:
            port = next((port for known, port in _authorities(service) if known == authority), None)
            if port is not None:
                canonical = f"{service.name.fqdn}:{port.port}".encode()
                route = Route(service, port, canonical, str(service.name))
                self._keep(key, authority, route)
        return route

    def _keep(self, key: str, known_by: bytes | tuple[str, str], route: Route) -> None:
        if len(self._routes) >= ROUTES_KEPT:
            self._routes.clear()
            self._known_by.clear()
        self._routes[known_by] = route
        self._known_by.setdefault(key, []).append(known_by)

    def find(self, authority: bytes, origin: Origin) -> Route | None:
        """The route for a request, or None: there is no such service, or this origin may not know of it."""
        if origin.fixed is not None:
            return self._routes.get(origin.fixed) or self._fixed(*origin.fixed)
        route = self._routes.get(authority) or self._route(_normalised(authority))
        if route is not None and origin.peer and not _may_call(route.service, origin.peer):
            return None
        return route

    def _fixed(self, key: str, port_name: str) -> Route | None:
        service = self._service(key)
        if service is None:
            return None
        for port in service.ports:
            if port.name == port_name:
                route = self._route(f"{service.name.fqdn}:{port.port}".encode())
                if route is not None:
                    self._keep(key, (key, port_name), route)
                return route
        return None


def _key_of(authority: bytes) -> str | None:
    """The key of the service that an authority in its normal form can mean; None: it can mean none."""
    host = authority.partition(b":")[0]
    if not host.endswith(_SUFFIX):
        return None
    name, dot, namespace = host[: -len(_SUFFIX)].decode("latin-1").partition(".")
    return service_key(ServiceName(namespace, name)) if dot else None


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
