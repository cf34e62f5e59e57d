"""An address for each service of the catalog: agreed with our other gateways (`vips.py`), and kept on disk. Pure."""

from __future__ import annotations

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

    def restore(self, cached: CachedCluster) -> None:
        """Takes what the disk held."""
        vips = {path.service: raw.decode() for path, raw in cached.records.items() if path.kind is Kind.VIP}
        self.book.restore(vips)

    def follow(self, names: set[ServiceName]) -> set[ServiceName]:
        """These services are different now; each needs an address for as long as it exists. Returns them, and whoever
        got an address by that."""
        freed: set[ServiceName] = set()
        services = self._catalog.services
        for name in names:
            if name not in services:
                self.book.release(name)
                self._cache.drop(self._cluster, paths.vip(name), -1)
                freed |= self._give_free_address()
            elif self.book.need(name):
                self._keep(name)
        return names | freed if freed else names

    def found(self, name: ServiceName, address: str, revision: int) -> set[ServiceName]:
        """etcd holds this address for `name`. Returns the services whose address changed by that."""
        changed = self.book.found(name, address, revision)
        for other in changed:
            self._keep(other)
        return changed & self._catalog.services.keys()

    def sees_again(self, place: str, raw: bytes, revision: int) -> bool:
        """A listing shows this under our name: whether it is an address as we have it."""
        kind, _, name = place.partition("/")
        namespace, _, name = name.partition("/")
        return kind == Kind.VIP and self.book.agrees(
            ServiceName(namespace, name), raw.decode("ascii", "replace"), revision
        )

    def _give_free_address(self) -> set[ServiceName]:
        """An address may be free again: to one of those that got none."""
        name = next(iter(self.book.exhausted), None)
        if name is None or not self.book.need(name):
            return set()
        self._keep(name)
        return {name}

    def _keep(self, name: ServiceName) -> None:
        self._cache.put(self._cluster, paths.vip(name), self.book.addresses[name].encode())
