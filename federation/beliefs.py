"""All that this cluster believes and says, in one place: peers, catalog, our own records, virtual IPs. Pure.

Every input goes in by one method: what etcd holds and what lives here, of this class; what tunnels and bundle endpoints
see of peers, and time, of `peers`, where what became different gathers until somebody takes it.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence

from discovery.model import LocalService, ServiceName, ZoneHealth
from federation import paths
from federation.addresses import ServiceAddresses
from federation.cache import CachedCluster, CatalogCache
from federation.catalog import Catalog
from federation.errors import RefusalCode
from federation.etcd.kv import RangeNews
from federation.imports import ImportPolicy
from federation.join_answer import AnswerValue, encode_answer
from federation.join_requests import JoinRequests
from federation.members import Members
from federation.own_records import OwnRecords, describe_namesake
from federation.paths import BUNDLE, Key, Kind, Path, StrayKey
from federation.peer_beliefs import PeerBeliefs
from federation.peer_events import (
    Deleted,
    ListingBegan,
    ListingEnded,
    Put,
    Refused,
    StrayDeleted,
    StrayPut,
)
from federation.publication import PutRecord, Write
from federation.readings import Found, Readings
from federation.recognition import Recognition
from federation.record import Record
from federation.settings import EtcdSource, FederationSettings
from federation.vips import VipBook, VipClaim
from trust.source import TrustSource

_MAX_STRANGERS = 64


class Beliefs:
    """`now` is monotonic seconds, `wall` Unix seconds. `source` is an etcd that peers are read in; None is ours, where
    we write as well."""

    def __init__(
        self, settings: FederationSettings, authority: TrustSource, gateway_id: str, cache: CatalogCache, now: float
    ) -> None:
        self.settings = settings
        self.members = Members(settings, now)
        self.catalog = Catalog(settings.cluster, ImportPolicy(settings.imports, settings.import_limits))
        self.own = OwnRecords(settings, authority, gateway_id)
        self.join = JoinRequests()
        self._request_to_us = paths.request(settings.cluster)
        self.strangers: dict[str, None] = {}
        self.stray_keys: dict[str, None] = {}
        self.cache = cache
        self.addresses = ServiceAddresses(settings.cluster, VipBook(settings.vip_range), self.catalog, cache)
        self.peers = PeerBeliefs(
            settings.federation, self.members, self.catalog, self.addresses, cache, self._settle_request
        )
        self.readings = Readings(settings, self.members)
        self.recognition = Recognition(settings.cluster, self.readings, self.members, self.addresses)
        self._listed = False
        self._locals_complete = False

    # From disk.

    def restore_own(self, cached: CachedCluster) -> None:
        """What we said before we were restarted. Do it before anything else."""
        self.addresses.restore(cached)
        for path, raw in cached.records.items():
            if path.kind is not Kind.VIP:
                self.own.recall(path, raw, verified_before=self._is_sealed_own(path, raw))

    def acknowledge(self, cluster: str, now: float) -> None:
        """Tells a peer which bundle of it we believe, now that a restart would not forget it."""
        if cluster in self.members:
            self.own.want_ack(cluster, self.members[cluster].state.keys.sequence, now)

    def _is_sealed_own(self, path: Path, raw: bytes) -> bool:
        return path != BUNDLE and self.cache.is_sealed(self.settings.cluster, path, raw, self.own.publication.key_id)

    # From etcd.

    def listing_began(
        self, wall: float, source: EtcdSource | None = None, news: Iterable[RangeNews] = ()
    ) -> list[RangeNews]:
        """Of ranges of which the `news` are there, those are returned whose other keys are known as they are: these
        need not be listed."""
        if (reading := self.readings.get(source)) is None:
            return []  # No peer is read there any longer.
        known = [one for one in news if self.recognition.knows_all(one, source)]
        reading.listing, reading.late = True, []
        if source is None:
            self.strangers, self.stray_keys = {}, {}
            self.own.begin_listing()
            self.addresses.book.begin_listing()
            self.join.begin_listing()
        for cluster in self.members.read_in(source):
            self.members[cluster].state.apply(ListingBegan(), wall)
        for one in known:
            self.recognition.sees_again(one.keys, source)
        return known

    def whole(self, source: EtcdSource | None) -> frozenset[str]:
        """The clusters of which we have what lies in that etcd, all of it and as it is, as far as it was read: of peers
        their exports, of our own the addresses."""
        peers = frozenset(cluster for cluster in self.members.read_in(source) if self.members[cluster].state.is_whole)
        return peers | {self.settings.cluster} if source is None and self.addresses.is_settled else peers

    def listing_goes_on(self, now: float, source: EtcdSource | None = None) -> None:
        """More of a listing was read: an etcd that takes long to be read is not silent."""
        if (reading := self.readings.get(source)) is not None and reading.listing:
            self.members.listing_goes_on(source, now)

    def found(self, found: Found, now: float, wall: float, source: EtcdSource | None = None) -> None:
        if (reading := self.readings.get(source)) is None:
            return
        if self.readings.is_foreign_vip(found.key, source):
            return
        match reading.layout.parse_key(found.key):
            case Key(cluster, path) if path == self._request_to_us:
                if source is None:
                    self.join.found(cluster, found.raw)
            case Key(cluster, path) if self.readings.is_read(cluster, source):
                if reading.listing and path.kind is Kind.ACK:
                    reading.late.append((path, cluster, found.raw))
                else:
                    self.peers.apply(cluster, Put(path, found.raw, found.proof), now, wall)
            case StrayKey(cluster) as stray if self.readings.is_read(cluster, source):
                self.peers.apply(cluster, StrayPut(stray), now, wall)
            case Key() | StrayKey() if source is not None:
                pass  # Whatever else lies in another's etcd is its owner's business.
            case Key(cluster, path) if cluster == self.settings.cluster:
                self._found_own(path, found, now)
            case Key(cluster) | StrayKey(cluster):
                self._found_strange(cluster, found.key)

    def gone(self, key: bytes, revision: int, now: float, wall: float, source: EtcdSource | None = None) -> None:
        if (reading := self.readings.get(source)) is None:
            return
        if self.readings.is_foreign_vip(key, source):
            return
        match reading.layout.parse_key(key):
            case Key(cluster, path) if path == self._request_to_us:
                if source is None:
                    self.join.gone(cluster)
                    self.own.publication.discard(paths.answer(cluster))
            case Key(cluster, path) if self.readings.is_read(cluster, source):
                self.peers.apply(cluster, Deleted(path), now, wall)
            case StrayKey(cluster) as stray if self.readings.is_read(cluster, source):
                self.peers.apply(cluster, StrayDeleted(stray), now, wall)
            case Key(cluster, path) if source is None and cluster == self.settings.cluster:
                if path.kind is Kind.VIP:
                    self.addresses.gone(path.service)
                else:
                    if path.kind is Kind.GATEWAY:
                        self.own.recall_gateway(path.names[0], None)
                    self.own.publication.missing(path, revision)
                    self.own.digests.drop(path)
            case StrayKey() as stray if source is None:
                self.stray_keys.pop(stray.text, None)
            case _:
                pass

    def listing_ended(self, now: float, wall: float, source: EtcdSource | None = None) -> None:
        if (reading := self.readings.get(source)) is None:
            return
        late, reading.late, reading.listing = reading.late, [], False
        for path, cluster, raw in late:
            if self.readings.is_read(cluster, source):
                self.peers.apply(cluster, Put(path, raw), now, wall)
        for cluster in self.members.read_in(source):
            self.peers.apply(cluster, ListingEnded(), now, wall)
        if source is None:
            self._listed = True
            self.addresses.end_listing()
            for joiner in self.join.end_listing():
                self.own.publication.discard(paths.answer(joiner))
            self.own.end_listing(now)
            self._release_unneeded()

    def observe_etcd(self, synced: bool, now: float, wall: float, source: EtcdSource | None = None) -> None:
        if source in self.readings:
            for cluster, transition in self.members.observe_etcd(source, synced, now).items():
                self.peers.transitioned(cluster, transition, wall)

    # From the publisher.

    def written(self, batch: Iterable[Write]) -> None:
        for write in batch:
            if isinstance(write, PutRecord):
                self._keep_own(write.path, write.raw)
            else:
                self.cache.drop(self.settings.cluster, write.path, -1)
                self.own.digests.drop(write.path)

    def vip_agreed(self, claim: VipClaim, revision: int) -> None:
        self.peers.changes.services |= self.addresses.found(claim.name, claim.address, revision)

    # From our own cluster.

    def upsert_local(self, service: LocalService, now: float, wall: float) -> None:
        if self.own.exports.put(service, wall):
            self._local_changed(service.name, now)

    def remove_local(self, name: ServiceName, now: float) -> None:
        if self.own.exports.remove(name):
            self.peers.note(self.catalog.remove_local(name))
            self.own.want_export(name, now)

    def set_local_health(self, name: ServiceName, zones: tuple[ZoneHealth, ...], now: float) -> None:
        if self.own.exports.set_health(name, zones):
            self._local_changed(name, now)

    def complete_locals(self) -> None:
        """All local services are known now: what we exported beyond them, before a restart, is withdrawn."""
        self._locals_complete = True
        self.own.publication.withdraw_unwanted()
        self._release_unneeded()

    def answer_join(self, joiner: str, answer: AnswerValue, now: float) -> None:
        """Tells a cluster that asked to join what became of it, for as long as its request lies there."""
        if joiner in self.join.requests:
            self.own.publication.want(paths.answer(joiner), encode_answer(answer), now)

    def set_gateway(self, addresses: Sequence[str], now: float) -> None:
        self.own.want_gateway(addresses, now)

    def configure(self, settings: FederationSettings, now: float, wall: float) -> None:
        """Takes other peers, imports and limits. The etcds of new peers are to be listed again."""
        gone, new, moved = self.members.configure(settings, now)
        for cluster in gone:
            self.peers.note(self.catalog.drop_cluster(cluster))
            self.own.want_ack(cluster, -1, now)
        self.peers.changes.peers |= gone | new | self.members.review_roots()
        self.peers.changes.list_again |= {settings.peers[cluster].etcd for cluster in new | moved}
        before = self.settings
        if (settings.imports, settings.import_limits) != (before.imports, before.import_limits):
            policy = ImportPolicy(settings.imports, settings.import_limits)
            exports = {cluster: self.members[cluster].state.exports for cluster in self.members}
            self.peers.note(self.catalog.apply_imports(policy, exports))
        self.settings = settings
        self.readings.adjust(settings)
        for cluster in moved:
            self.peers.transitioned(cluster, self.members.observe_lease(cluster, now), wall)

    def trust_changed(self, now: float) -> None:
        """Our roots, or what certifies our record key, are others now: the bundle says so at once."""
        if self._listed:
            self.own.publication.sign_again()
            self.own.want_bundle(now)

    # How all that comes together.

    def _found_own(self, path: Path, found: Found, now: float) -> None:
        if path.kind is Kind.VIP:
            address = found.raw[:64].decode("ascii", "replace")
            self.peers.changes.services |= self.addresses.found(path.service, address, found.revision)
            return
        record, aged = self.own.recall(path, found.raw, verified_before=self._is_sealed_own(path, found.raw))
        current = record is not None and self.own.publication.is_current(path, found.raw)
        value = record.value if record is not None and current else None
        kid = record.kid if record is not None else ""
        news = self.own.publication.found(path, value, found.lease, found.revision, kid)
        if path.kind is Kind.GATEWAY:
            self._found_own_gateway(path, found.raw, record)
        if path == BUNDLE and not self.readings.home.listing:
            self.own.want_bundle(now)  # Another gateway of ours may have said a later one.
        if path.kind is Kind.ANSWER:
            self.join.found_answer(path.names[0])
        elif path.kind is Kind.REQUEST:
            self._settle_request(path.names[0])
        elif path.kind is Kind.DIGEST:
            if news and value is not None:
                self.own.found_digest(path, value, now)
        elif record is not None:
            self._keep_own(path, found.raw)
        if aged is not None:
            self._local_changed(aged, now)

    def _found_own_gateway(self, path: Path, raw: bytes, record: Record | None) -> None:
        if record is not None or not self.own.publication.is_foreign(raw):
            self.own.recall_gateway(path.names[0], record)
        elif self.own.note_namesake(path.names[0]):
            refused = Refused(str(path), RefusalCode.UNKNOWN_KEY, describe_namesake(self.settings.cluster))
            self.peers.changes.refused.append((self.settings.cluster, refused))

    def _keep_own(self, path: Path, raw: bytes) -> None:
        if path.kind is Kind.DIGEST:
            return  # It stands for what is kept.
        if path.kind is Kind.EXPORT:
            self.own.digests.put(path, raw)
        key_id = self.own.publication.key_id if path != BUNDLE else b""
        self.cache.put(self.settings.cluster, path, raw, key_id)

    def _settle_request(self, inviter: str) -> None:
        """Our request to join is done with when the inviter shows that it believes us."""
        if inviter in self.members and self.settings.cluster in self.members[inviter].state.acks:
            self.own.publication.discard(paths.request(inviter))

    def _found_strange(self, cluster: str, key: bytes) -> None:
        if cluster in self.members:
            return  # It is read elsewhere.
        into = self.strangers if cluster and cluster != self.settings.cluster else self.stray_keys
        if len(into) < _MAX_STRANGERS:
            into[cluster if into is self.strangers else key[:256].decode("utf-8", "backslashreplace")] = None

    def _local_changed(self, name: ServiceName, now: float) -> None:
        exports = self.own.exports
        if name in exports:
            self.peers.note(self.catalog.apply_local(exports.service(name), exports.zones(name), exports.created(name)))
        self.own.want_export(name, now)

    def _release_unneeded(self) -> None:
        if self._listed and self._locals_complete:
            self.addresses.release_unneeded()
