"""What of a listing is known already: nearly all, where a gateway starts from its disk or lists etcd again. Pure.

A key is not taken apart for that: it is looked up as it is among what lies in the same cluster.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable
from typing import TypeAlias

from federation.addresses import ServiceAddresses
from federation.etcd.kv import KeyRange, KeyValue, RangeNews
from federation.members import Members
from federation.readings import Readings
from federation.settings import EtcdSource

Knows: TypeAlias = Callable[[str, bytes, int], bool]
"""Whether these bytes lie at the place of this text (below a cluster) as they did, since this revision."""


class Recognition:
    """Asks the peers, and for our own cluster, `cluster`, its addresses."""

    def __init__(self, cluster: str, readings: Readings, members: Members, addresses: ServiceAddresses) -> None:
        self._cluster = cluster
        self._readings = readings
        self._members = members
        self._addresses = addresses

    def unknown(self, listed: Iterable[KeyValue], source: EtcdSource | None = None) -> list[KeyValue]:
        """What is to be looked at, in order. The rest is noted as seen, and nothing follows from it."""
        new: list[KeyValue] = []
        prefix = b""
        knows: Knows = _nobody
        for kv in listed:
            if not prefix or not kv.key.startswith(prefix):
                prefix, knows = self._who_knows(kv.key, source)
            if not knows(kv.key[len(prefix) :].decode("ascii", "replace"), kv.value, kv.mod_revision):
                new.append(kv)
        return new

    def knows_all(self, news: RangeNews, source: EtcdSource | None = None) -> bool:
        """Whether what lies in this range (the exports of a peer, our own addresses) is what we know, but for these
        news."""
        cluster, prefix = self._whose(news.keys.begin, source)
        put = (kv.key[len(prefix) :].decode("ascii", "replace") for kv in news.kvs)
        if not news.whole:
            return False
        if cluster == self._cluster:
            return source is None and self._addresses.knows_all(put, news.count)
        return self._readings.is_read(cluster, source) and self._members[cluster].state.knows_all_exports(
            put, news.count
        )

    def sees_again(self, keys: KeyRange, source: EtcdSource | None = None) -> None:
        """All that we know in this range, of which `knows_all` was said, is shown by the current listing."""
        cluster, _ = self._whose(keys.begin, source)
        if cluster == self._cluster:
            self._addresses.book.sees_all_again()
        else:
            self._members[cluster].state.sees_exports_again()

    def _whose(self, key: bytes, source: EtcdSource | None) -> tuple[str, bytes]:
        """The cluster that a key lies under, and what all of its keys begin with; nothing where it is nobody's key."""
        reading = self._readings.get(source)
        if reading is None or not key.startswith(reading.layout.clusters):
            return "", b""
        cluster, slash, _ = key.removeprefix(reading.layout.clusters).partition(b"/")
        return cluster.decode("ascii", "replace"), reading.layout.clusters + cluster + slash

    def _who_knows(self, key: bytes, source: EtcdSource | None) -> tuple[bytes, Knows]:
        """What the keys of the same cluster begin with, and who knows the places below; nothing and nobody where this
        is nobody's key."""
        name, prefix = self._whose(key, source)
        if prefix and name == self._cluster:
            return prefix, self._addresses.sees_again if source is None else _nobody
        if prefix.endswith(b"/") and self._readings.is_read(name, source):
            state = self._members[name].state
            return prefix, lambda place, raw, _: state.sees_again(place, raw)
        return b"", _nobody


def _nobody(place: str, raw: bytes, revision: int) -> bool:
    return False
