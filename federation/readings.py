"""The etcds that we read: ours, and those that peers are read in. Whose keys count in which, and which are left out."""

from __future__ import annotations

from collections.abc import Iterable
from typing import NamedTuple

from federation.etcd.kv import KeyRange
from federation.members import Members
from federation.paths import Key, Kind, Layout, Path
from federation.peer_keys import Claim
from federation.settings import EtcdSource, FederationSettings


class Found(NamedTuple):
    """A key in etcd."""

    key: bytes
    raw: bytes
    lease: int
    revision: int
    proof: bytes = b""
    """What `Readings.claim` asked for and was found true, as its `key_id`."""


class Reading:
    """An etcd as it is being read."""

    def __init__(self, layout: Layout) -> None:
        self.layout = layout
        self.listing = False
        self.late: list[tuple[Path, str, bytes]] = []
        """Acknowledgements of the current listing: they sort before the bundle that has the key to check them with."""


class Readings:
    """By source; None is our own etcd."""

    def __init__(self, settings: FederationSettings, members: Members) -> None:
        self.home = Reading(Layout(settings.prefix, settings.federation))
        self._members = members
        self._federation = settings.federation
        self._cluster = settings.cluster
        self._own_keys = self.home.layout.clusters + f"{settings.cluster}/".encode()
        self._readings: dict[EtcdSource | None, Reading] = {None: self.home}
        self.adjust(settings)

    def __contains__(self, source: EtcdSource | None) -> bool:
        return source in self._readings

    def get(self, source: EtcdSource | None) -> Reading | None:
        """None: no peer is read there any longer."""
        return self._readings.get(source)

    @property
    def sources(self) -> set[EtcdSource]:
        """The etcds besides ours that peers are read in."""
        return {source for source in self._readings if source is not None}

    def adjust(self, settings: FederationSettings) -> None:
        """Reads where peers are read now."""
        wanted = {peer.etcd for peer in settings.peers.values() if peer.etcd is not None}
        for source in self.sources - wanted:
            del self._readings[source]
        for source in wanted - self._readings.keys():
            self._readings[source] = Reading(Layout(source.prefix, self._federation))

    def prefix(self, source: EtcdSource | None) -> bytes:
        """What all members' keys begin with in that etcd."""
        return self._readings[source].layout.clusters

    def is_read(self, cluster: str, source: EtcdSource | None) -> bool:
        """Whether this is the etcd that the peer is to be read in: what lies under its name elsewhere is not taken."""
        return cluster in self._members and self._members[cluster].peer.reads(source)

    def is_foreign_vip(self, key: bytes, source: EtcdSource | None) -> bool:
        """A cluster's addresses concern its own gateways, and every cluster has one for each service of the catalog."""
        reading = self._readings.get(source)
        return reading is not None and reading.layout.is_vip(key) and not self._is_own(key, source)

    def vips_after(self, key: bytes, source: EtcdSource | None) -> KeyRange | None:
        """The range of keys after this one that is nobody's business here: where the cluster that it lies under keeps
        its virtual IPs. None for our own."""
        reading = self._readings.get(source)
        if reading is None or not key.startswith(reading.layout.clusters) or self._is_own(key, source):
            return None
        return reading.layout.vips_after(key)

    def ranges(self, clusters: Iterable[str], source: EtcdSource | None) -> list[KeyRange]:
        """Where the exports lie of those of these clusters that are read in that etcd, and our own addresses."""
        layout = self._readings[source].layout
        own = [layout.all_of(name, Kind.VIP) for name in clusters if source is None and name == self._cluster]
        return own + [layout.all_of(name, Kind.EXPORT) for name in clusters if self.is_read(name, source)]

    def claim(self, key: bytes, raw: bytes, source: EtcdSource | None) -> Claim | None:
        """What has to be checked of a value before it is believed, if its signature shall not be checked then."""
        reading = self._readings.get(source)
        if reading is None or reading.layout.is_vip(key):
            return None
        match reading.layout.parse_key(key):
            case Key(cluster, path) if self.is_read(cluster, source):
                return self._members[cluster].state.claim(path, raw)
        return None

    def _is_own(self, key: bytes, source: EtcdSource | None) -> bool:
        return source is None and key.startswith(self._own_keys)
