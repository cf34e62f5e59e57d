"""An address for each service of the catalog: agreed with our other gateways (`vips.py`), and kept on disk. Pure."""

from __future__ import annotations

from collections.abc import Iterable

from discovery.model import ServiceName
from federation import paths
from federation.cache import CachedCluster, CatalogCache
from federation.catalog import Catalog
from federation.paths import Kind
from federation.vips import VipBook


class ServiceAddresses:
    """The addresses of `cluster`, for the services in `catalog`."""

    def __init__(self, cluster: str, book: VipBook, catalog: Catalog, cache: CatalogCache) -> None:
        self.book = book
        self._cluster = cluster
        self._catalog = catalog
        self._cache = cache
        self._unsettled: set[ServiceName] = set()
        """Services for which etcd holds what the disk does not say."""

    @property
    def is_settled(self) -> bool:
        """Whether the disk says of each address whether it lies in etcd, as far as that was read."""
        return not self._unsettled

    def restore(self, cached: CachedCluster) -> None:
        """Takes what the disk held."""
        kept = {path.service: entry for path, entry in cached.entries.items() if path.kind is Kind.VIP}
        addresses = {name: entry.raw.decode() for name, entry in kept.items() if entry.raw is not None}
        self.book.restore(addresses, {name: entry.sequence for name, entry in kept.items() if entry.sequence >= 0})

    def follow(self, names: set[ServiceName]) -> set[ServiceName]:
        """These services are different now; each needs an address for as long as it exists. Returns them, and whoever
        got an address by that."""
        freed: set[ServiceName] = set()
        services = self._catalog.services
        for name in names:
            if name not in services:
                self.book.release(name)
                self._keep(name)
                freed |= self._give_free_address()
            elif self.book.need(name):
                self._keep(name)
        return names | freed if freed else names

    def found(self, name: ServiceName, address: str, revision: int) -> set[ServiceName]:
        """etcd holds this address for `name`. Returns the services whose address changed by that."""
        changed = self.book.found(name, address, revision)
        for other in {name} | changed:
            self._keep(other)
        return changed & self._catalog.services.keys()

    def gone(self, name: ServiceName) -> None:
        """etcd holds none for `name`."""
        self.book.missing(name)
        self._keep(name)

    def sees_again(self, place: str, raw: bytes, revision: int) -> bool:
        """A listing shows this under our name: whether it is an address as we have it."""
        kind, name = _named(place)
        if kind != Kind.VIP or not self.book.agrees(name, raw.decode("ascii", "replace"), revision):
            return False
        self._keep(name)
        return True

    def knows_all(self, put: Iterable[str], count: int) -> bool:
        """Whether etcd holds what we know to lie there, but for what was put at these places (`VipBook.knows_all`)."""
        return self.book.knows_all((_named(place)[1] for place in put), count)

    def end_listing(self) -> None:
        for name in self.book.end_listing():
            self._keep(name)

    def release_unneeded(self) -> None:
        """The catalog is complete: addresses of services that it does not have are given back."""
        for name in self.book.release_unneeded():
            self._keep(name)

    def _give_free_address(self) -> set[ServiceName]:
        """An address may be free again: to one of those that got none."""
        name = next(iter(self.book.exhausted), None)
        if name is None or not self.book.need(name):
            return set()
        self._keep(name)
        return {name}

    def _keep(self, name: ServiceName) -> None:
        """On disk, as the book has it: the address, and since which revision etcd has it."""
        address, path = self.book.addresses.get(name), paths.vip(name)
        agreed_at = self.book.agreed_at(name)
        if address is not None:
            self._cache.put(self._cluster, path, address.encode(), sequence=agreed_at)
        elif self._cache.knows(self._cluster, path):
            self._cache.drop(self._cluster, path, -1)
        if agreed_at < 0 and self.book.is_shared(name):
            self._unsettled.add(name)
        else:
            self._unsettled.discard(name)


def _named(place: str) -> tuple[str, ServiceName]:
    """The kind, and the service that it is about."""
    kind, _, name = place.partition("/")
    namespace, _, name = name.partition("/")
    return kind, ServiceName(namespace, name)
