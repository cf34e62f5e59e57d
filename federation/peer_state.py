"""What one peer has said, as far as we believe it: pure, fed with what lies in etcd (or in the cache on disk).

The last good value of a place stays when a bad one comes. A peer whose bundle is missing from etcd is *away*, not
empty: nothing of what it said is dropped for that, because an etcd that lost its data must not empty a known-good
catalog. A peer writes its bundle last when it comes back to an empty etcd, so that what it has not said again by
then is gone.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from types import MappingProxyType

from discovery.model import ServiceName
from federation.clock_skew import ClockSkew
from federation.digests import Vouched
from federation.errors import RecordRefused, RefusalCode
from federation.journal import Entry
from federation.jws import RecordHeader
from federation.paths import BUNDLE, Kind, Path
from federation.peer_events import (
    BundleChanged,
    Deleted,
    ExportsRestored,
    ListingBegan,
    ListingEnded,
    ListingWanted,
    PeerChange,
    PeerEvent,
    Put,
    Refused,
    Stored,
    StrayDeleted,
    StrayPut,
)
from federation.peer_gateways import KnownGateway
from federation.peer_keys import Claim, PeerKeys
from federation.peer_records import PeerRecords
from federation.record import Record, open_record, peek_issued_at
from federation.refusals import Refusal, RefusalLog
from federation.values import ExportValue

_BELIEVED = frozenset({Kind.BUNDLE, Kind.GATEWAY, Kind.EXPORT, Kind.ACK})
"""Virtual IPs are addresses of the peer's own, and what joining clusters say is for those that they ask."""

_TOGETHER = 256
"""Exports from disk that are told as one change: a few milliseconds of work, after which others have a turn."""
_EXPORTS = f"{Kind.EXPORT}/"


class PeerState:
    """The state of one peer. `apply` takes events in the order of etcd's revisions."""

    def __init__(self, cluster: str, federation: str, keys: PeerKeys) -> None:
        self.cluster = cluster
        self.keys = keys
        self.refusals = RefusalLog()
        self.away = True
        """Whether the peer has no bundle in etcd: it never joined, or etcd lost what it said."""
        self.live = False
        """Whether what comes now has just been written: the watch is up to date."""
        self.clock = ClockSkew()
        self._federation = federation
        self._records = PeerRecords()
        self._vouched = Vouched()
        self._unchecked = False
        """Whether etcd holds records that wait for a key."""
        self._listing_wanted = False

    def __repr__(self) -> str:
        return f"PeerState({self.cluster}, {len(self._records.exports)} exports, {len(self.gateways)} gateways)"

    @property
    def exports(self) -> Mapping[ServiceName, ExportValue]:
        return MappingProxyType(self._records.exports)

    @property
    def gateways(self) -> Mapping[str, KnownGateway]:
        return self._records.gateways.known

    @property
    def acks(self) -> Mapping[str, int]:
        """For each peer of this peer: the bundle sequence that it says it accepted."""
        return MappingProxyType(self._records.acks)

    @property
    def has_lease(self) -> bool:
        """Whether etcd holds a leased record of at least one gateway."""
        return self._records.gateways.has_lease

    @property
    def bundle_record(self) -> bytes | None:
        """The record of the bundle that is believed."""
        return self._records.ledger.record(BUNDLE)

    @property
    def is_sound(self) -> bool:
        """Whether nothing that was read of the peer is refused, or waits for a key or a listing."""
        return not (self.refusals or self._unchecked or self._listing_wanted)

    @property
    def is_whole(self) -> bool:
        """Whether what is believed of the peer is what etcd holds, as far as it was read."""
        return self.is_sound and not self.away and not self._records.listing_open

    def recall(self, bundle: Record, raw: bytes) -> list[PeerChange]:
        """Takes the bundle that we remember (`federation.peer_memory`) as it is. Do it before `restore`."""
        try:
            changes = self._take_bundle(bundle)
        except RecordRefused:
            return []
        self._records.ledger.store(BUNDLE, bundle.sequence, raw)
        return changes

    def restore(self, entries: Mapping[Path, Entry], buried: Mapping[Path, int], now: float) -> Iterator[PeerChange]:
        """Takes what the cache on disk held, little by little as the changes are asked for; it is verified again, by
        its seal or by its signature. Gateways come back without a lease. `buried` are the sequences of places that were
        empty. What is sealed is not `Stored` once more. `now` is Unix seconds."""
        for path, sequence in buried.items():
            self._records.ledger.store(path, sequence, b"")
            self._records.ledger.bury(path)
        if (bundle := entries.get(BUNDLE)) is not None and bundle.raw is not None:
            # What certified a bundle may be short-lived. It was good when we took it, and our disk is our own.
            changes = self._put(BUNDLE, bundle.raw, _issued_at(bundle.raw, now))
            yield from (change for change in changes if not isinstance(change, ListingWanted))
        exports: dict[ServiceName, ExportValue] = {}
        for path, entry in entries.items():
            if path.kind is Kind.BUNDLE or entry.raw is None:
                continue
            sealed = bool(entry.key_id) and entry.key_id == self.keys.signer(entry.raw)
            if sealed and entry.export is not None and entry.sequence > self._records.ledger.last_sequence(path):
                self._records.ledger.store(path, entry.sequence, entry.raw)
                name = path.service
                exports[name] = self._records.exports[name] = entry.export
                if len(exports) >= _TOGETHER:
                    yield ExportsRestored(exports)
                    exports = {}
                continue
            for change in self._put(path, entry.raw, now, entry.key_id if sealed else b""):
                if not sealed or not isinstance(change, Stored):
                    yield change
        if exports:
            yield ExportsRestored(exports)
        self._records.gateways.lose_leases()
        self.away = True

    def apply(self, event: PeerEvent, now: float) -> list[PeerChange]:
        """Returns what changed, in order. `now` is Unix seconds. Never raises for what a peer wrote."""
        match event:
            case Put(path, raw, proof):
                return self._put(path, raw, now, proof)
            case Deleted(path):
                self.refusals.clear_place(path)
                return self._delete(path)
            case StrayPut(key):
                return self._refuse(key.text, b"", RefusalCode.MISPLACED_KEY, key.reason, now)
            case StrayDeleted(key):
                self.refusals.clear(key.text)
                return []
            case ListingBegan():
                self._records.begin_listing()
                self._vouched = Vouched()
                self._unchecked = self._listing_wanted = False
                self.refusals.begin_listing()
                return []
            case ListingEnded():
                return self._end_listing()

    def sees_again(self, place: str, raw: bytes) -> bool:
        """A listing shows these bytes at the place of this text: whether they are an export that is believed as it is,
        so that there is nothing to change. Most of a listing is."""
        return not self.refusals and place.startswith(_EXPORTS) and self._records.ledger.sees_again(place, raw)

    def knows_all_exports(self, put: Iterable[str], count: int) -> bool:
        """etcd holds `count` exports, and since we were told of all of them for the last time, those at the places
        `put` were put there: whether none was deleted, so that the others are as we know them."""
        return self.is_sound and count == len(self._records.exports) + sum(
            not self._records.ledger.has(place) for place in put
        )

    def sees_exports_again(self) -> None:
        """A listing shows all exports as they are believed, as if each were shown to `sees_again`."""
        self._records.ledger.sees_all_again(Kind.EXPORT)

    def claim(self, path: Path, raw: bytes) -> Claim | None:
        """What has to be checked before these bytes are believed at that place; None where no signature has to be, or
        where nobody can tell yet."""
        if path == BUNDLE or path.kind not in _BELIEVED or self._records.ledger.holds(path, raw):
            return None
        claim = self.keys.claim(raw)
        if claim is not None and self._vouched.has(claim.key_id, raw):
            return Claim(raw, claim.key, claim.key_id, is_vouched_for=True)
        return claim

    def _put(self, path: Path, raw: bytes, now: float, proof: bytes = b"") -> list[PeerChange]:
        if path.kind is Kind.DIGEST:
            return self._put_digest(path, raw, now)
        if path.kind not in _BELIEVED:
            return []
        self._records.ledger.mark_seen(path)
        if self._records.ledger.holds(path, raw):
            return self._seen_again(path)
        if path != BUNDLE and self.keys.bundle is None:
            self._unchecked = True
            return []
        try:
            record, changes = self._accept(path, raw, now, proof)
        except RecordRefused as refusal:
            self._unchecked = self._unchecked or refusal.code is RefusalCode.UNKNOWN_KEY
            return self._refuse(str(path), raw, refusal.code, refusal.detail, now)
        self.refusals.clear_place(path)
        key_id = self.keys.key_id(record.kid) if path != BUNDLE else b""
        export = self._records.exports[path.service] if path.kind is Kind.EXPORT else None
        return [
            *changes,
            Stored(path, raw, key_id, record.sequence, export),
            *(self._come_back() if path == BUNDLE else ()),
        ]

    def _accept(self, path: Path, raw: bytes, now: float, proof: bytes) -> tuple[Record, list[PeerChange]]:
        record = open_record(
            raw,
            federation=self._federation,
            cluster=self.cluster,
            path=str(path),
            key_for=self.keys.bundle_key if path == BUNDLE else self.keys.record_key,
            last_sequence=self._records.ledger.last_sequence(path),
            now=now,
            verified_before=lambda header: self._was_verified(path, header, proof),
        )
        changes = self._take_bundle(record) if path == BUNDLE else self._records.take(path, record.value)
        self._records.ledger.store(path, record.sequence, raw)
        self.clock.observe(record.issued_at, now, live=self.live and not self._records.listing_open)
        return record, changes

    def _put_digest(self, path: Path, raw: bytes, now: float) -> list[PeerChange]:
        """It is of use while etcd is listed, and then only: what is new comes with its own signature."""
        if self.keys.bundle is None:
            return []
        try:
            record = open_record(
                raw,
                federation=self._federation,
                cluster=self.cluster,
                path=str(path),
                key_for=self.keys.record_key,
                last_sequence=-1,
                now=now,
            )
            if self._records.listing_open:
                self._vouched.take(self.keys.key_id(record.kid), record.value)
        except RecordRefused as refusal:
            return self._refuse(str(path), raw, refusal.code, refusal.detail, now)
        self.refusals.clear_place(path)
        return []

    def _was_verified(self, path: Path, header: RecordHeader, proof: bytes) -> bool:
        """The bundle is what everything else rests on: its signature is always checked."""
        return bool(proof) and path != BUNDLE and proof == self.keys.key_id(header.kid)

    def _take_bundle(self, record: Record) -> list[PeerChange]:
        before = self.keys.key_ids
        if not self.keys.accept(record):
            return []
        changes: list[PeerChange] = [BundleChanged(self.keys.sequence)]
        # An owner that retires a key has signed everything anew before; what is left was said by whoever else has it.
        if before - self.keys.key_ids and (dropped := self._records.drop(self.keys.signed_by_stranger)):
            changes += dropped
            self._unchecked = True
        if self._unchecked:
            self._unchecked, self._listing_wanted = False, True
            changes.append(ListingWanted())
        return changes

    def _seen_again(self, path: Path) -> list[PeerChange]:
        self.refusals.clear_place(path)
        if path.kind is Kind.GATEWAY:
            return self._records.renew_gateway(path.names[0])
        return self._come_back() if path == BUNDLE else []

    def _come_back(self) -> list[PeerChange]:
        """The bundle lies in etcd. If it did not before, all that the peer still says was said before it."""
        was_away, self.away = self.away, False
        return self._records.delete_unseen() if was_away and not self._records.listing_open else []

    def _end_listing(self) -> list[PeerChange]:
        self._records.listing_open = False
        self._vouched = Vouched()
        self.refusals.clear_unseen(self._records.ledger.listing)
        self.away = not self._records.ledger.was_seen(BUNDLE)
        # Nothing of what it said is dropped for that; but a gateway that etcd does not show has no lease.
        return self._records.delete_unseen(gateways_only=self.away)

    def _delete(self, path: Path) -> list[PeerChange]:
        if path != BUNDLE:
            return self._records.delete(path)
        # Everything seen so far counts as unseen from here on, until the bundle comes back.
        self.away = True
        self._records.ledger.listing += 1
        return []

    def _refuse(self, path: str, raw: bytes, code: RefusalCode, detail: str, now: float) -> list[PeerChange]:
        news = self.refusals.add(Refusal(path, code, detail, now), raw, self._records.ledger.listing)
        return [Refused(path, code, detail)] if news else []


def _issued_at(raw: bytes, now: float) -> float:
    """When a record that we accepted once was issued, but not after `now` (Unix seconds)."""
    try:
        return max(0.0, min(peek_issued_at(raw), now))
    except RecordRefused:
        return now
