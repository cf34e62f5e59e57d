"""What our cluster wants to lie in etcd under its name, what lies there, and what to write so that they agree.

Pure: the publisher (`federation.publisher`) executes what `take_due` returns. Nothing is written before etcd was
listed, and only what differs is. What was wanted while etcd was away is simply still wanted when it is back.
"""

from __future__ import annotations

import heapq
from collections.abc import Sequence
from typing import TypeAlias

import msgspec

from federation.damping import Damper, Urgency
from federation.errors import RecordRefused
from federation.jws import encode_chain, parse_header
from federation.own_keys import OwnKeys
from federation.paths import BUNDLE, Kind, Path
from federation.record import Record, next_sequence, open_record, sign_record
from trust.bundle import RecordKey
from trust.source import TrustSource

MAX_BATCH = 64
MAX_BATCH_BYTES = 524_288
"""etcd takes 128 operations and about 1.5 MB in a transaction; half of each keeps others' writes quick."""


class PutRecord(msgspec.Struct, frozen=True):
    path: Path
    raw: bytes
    value: bytes
    lease: int
    """0: none."""
    kid: str = ""


class DeleteRecord(msgspec.Struct, frozen=True):
    path: Path


Write: TypeAlias = PutRecord | DeleteRecord


class _Want(msgspec.Struct, frozen=True):
    value: bytes
    leased: bool


class _Found(msgspec.Struct, frozen=True):
    value: bytes | None
    """None: not a record of ours."""
    lease: int
    revision: int
    kid: str = ""
    """The key that signed it."""


class Publication:
    """The publication of one cluster's records. `now` is monotonic seconds, `wall` Unix seconds."""

    def __init__(self, *, federation: str, cluster: str, authority: TrustSource, gateway_id: str) -> None:
        self._federation = federation
        self._cluster = cluster
        self._authority = authority
        self._own_paths = {Path(Kind.GATEWAY, (gateway_id,)), BUNDLE}
        self._done_with: set[Path] = set()
        self._keys = OwnKeys(authority)
        self._wanted: dict[Path, _Want] = {}
        self._found: dict[Path, _Found] = {}
        self._ready: dict[Path, None] = {}
        self._queue: list[tuple[float, str, Path]] = []
        """What waits, by when it may be written. An entry that is not its path's in `_due` is passed over."""
        self._due: dict[Path, float] = {}
        self._urgencies: dict[Path, Urgency] = {}
        """Of what is wanted and not written yet: who pays for the next write."""
        self._undone: set[Path] = set()
        """What somebody else wrote over or took away, and was not said again since."""
        self._dampers: dict[Path, Damper] = {}
        self._sequence = -1
        self._latest: dict[Path, int] = {}
        self.lease = 0
        """The lease of our gateway; 0: none now, and what is leased waits."""
        self.withdrawing = False
        """Whether exports that we don't want are deleted: not before all of our services are known."""

    @property
    def key_id(self) -> bytes:
        """Which key signs our records, as `PeerKeys.key_id` has it."""
        return self._keys.key_id

    def open_own(self, path: Path, raw: bytes, *, verified_before: bool = False) -> Record | None:
        """Our own record at `path`, read back from etcd or disk. Sequences go on above it. None when it is not one, or
        not the latest that we know of: in a restored etcd lie records that peers refuse, whatever they say. The
        signature of what was `verified_before` is not checked again."""
        try:
            record = open_record(
                raw,
                federation=self._federation,
                cluster=self._cluster,
                path=str(path),
                key_for=lambda header, _: self._keys.find(path, header, raw),
                last_sequence=self._latest.get(path, 0) - 1,
                now=float("inf"),
                verified_before=lambda header: verified_before and header.kid == self._keys.kid,
            )
        except RecordRefused:
            return None
        self._sequence = max(self._sequence, record.sequence)
        self._latest[path] = record.sequence
        return record

    def is_foreign(self, raw: bytes) -> bool:
        """Whether what lies at a place of ours was signed by somebody who has other keys than our cluster."""
        try:
            return not self._keys.knows(parse_header(raw).kid)
        except RecordRefused:
            return True

    def is_current(self, path: Path, raw: bytes) -> bool:
        """Whether our own record at `path` is signed and certified as we would do it now."""
        try:
            header = parse_header(raw)
        except RecordRefused:
            return False
        if path != BUNDLE:
            return not self._keys.is_outdated(header.kid)
        return self._keys.following or header.chain == encode_chain(self._authority.record_chain)

    def follow(self, keys: Sequence[RecordKey]) -> None:
        """Another gateway of our cluster said a later bundle, with these record keys: what they sign is ours too, and
        stays. None: nobody did."""
        self._keys.follow(keys)

    def sign_again(self) -> None:
        """Other keys sign from here on, or are certified otherwise: the bundle, and all that was signed with a key
        that will be retired, is written once more, also where it says the same."""
        self._keys.refresh()
        again = [path for path, found in self._found.items() if self._keys.is_outdated(found.kid)]
        if BUNDLE in self._found and not self._keys.following:
            again.append(BUNDLE)
        for path in again:
            self._found[path] = msgspec.structs.replace(self._found[path], value=None)
            self._ready[path] = None

    def count_outdated(self) -> int:
        """How many of our records lie in etcd signed with a key that will be retired. It is asked for several times a
        second, and we may have said a hundred thousand: they are looked at during a rotation only."""
        if not self._keys.any_outdated:
            return 0
        once = (Kind.REQUEST, Kind.ANSWER)  # They are not said again: their reader has them, or asks anew.
        return sum(path.kind not in once and self._keys.is_outdated(found.kid) for path, found in self._found.items())

    def agrees(self, path: Path) -> bool:
        """Whether etcd holds at `path` what we want there."""
        want, found = self._wanted.get(path), self._found.get(path)
        return want is not None and found is not None and found.value == want.value

    def want(
        self, path: Path, value: bytes, now: float, *, leased: bool = False, urgency: Urgency = Urgency.AT_ONCE
    ) -> None:
        """`value` (JSON) shall lie at `path`, as soon as that is due."""
        want = _Want(value, leased)
        self._done_with.discard(path)
        if self._wanted.get(path) == want:
            return
        self._wanted[path] = want
        self._urgencies[path] = urgency
        self._undone.discard(path)
        self._write_when_due(path, urgency, now)

    def _write_when_due(self, path: Path, urgency: Urgency, now: float) -> None:
        due = self._dampers[path].due(urgency, now) if path in self._dampers else now
        if due <= now:
            self._ready[path] = None
        elif due < self._due.get(path, float("inf")):
            self._due[path] = due
            heapq.heappush(self._queue, (due, str(path), path))

    def unwant(self, path: Path) -> None:
        if self._wanted.pop(path, None) is not None:
            self._ready[path] = None

    def discard(self, path: Path) -> None:
        """Nothing shall lie at `path`, whoever of our cluster wrote it."""
        self._wanted.pop(path, None)
        self._done_with.add(path)
        self._ready[path] = None

    def begin_listing(self) -> None:
        """What etcd holds is told anew; its revisions may have gone back, if it was restored."""
        self._found = {}

    def end_listing(self) -> None:
        """The listing is whole: everything is compared once."""
        self._ready.update(dict.fromkeys([*self._wanted, *self._found]))

    def found(self, path: Path, value: bytes | None, lease: int, revision: int, kid: str = "") -> bool:
        """etcd holds a record of ours with this value at `path` (None: something else, or one to be signed anew), since
        `revision`, signed with the key `kid`. What is older than what we wrote last is passed over: a watch is always a
        little behind. Returns whether it was not."""
        before = self._found.get(path)
        if before is not None and revision <= before.revision:
            return False
        self._found[path] = _Found(value, lease, revision, kid)
        self._ready[path] = None
        if value is None and before is not None and before.value is not None:
            self._note_undone(path)
        return True

    def missing(self, path: Path, revision: int) -> None:
        """etcd holds nothing at `path` since `revision`."""
        if path in self._found and revision > self._found[path].revision:
            del self._found[path]
            self._ready[path] = None
            self._note_undone(path)

    def _note_undone(self, path: Path) -> None:
        """What we said at `path` was undone by somebody else, and is said again when its budget allows."""
        if path in self._wanted and path not in self._urgencies:
            self._undone.add(path)

    def hold(self, lease: int) -> None:
        """Our gateway's lease is this one now; 0: it was lost."""
        self.lease = lease
        self._ready.update(dict.fromkeys(path for path, want in self._wanted.items() if want.leased))

    def withdraw_unwanted(self) -> None:
        """From now on all of our services are known: what is exported beyond them is withdrawn."""
        if not self.withdrawing:
            self.withdrawing = True
            self._ready.update(dict.fromkeys(self._found))

    def next_due(self) -> float | None:
        """When something that waits may be written; None: nothing waits. Readiness is not waiting."""
        while self._queue and self._due.get(self._queue[0][2]) != self._queue[0][0]:
            heapq.heappop(self._queue)
        return self._queue[0][0] if self._queue else None

    def take_due(self, now: float, wall: float) -> list[Write]:
        """The next batch to write, in one transaction; empty when all agrees. Report it to `settle` or `fail`.

        The bundle goes last where etcd has none: readers take its coming as the end of what we say anew.
        """
        while (due := self.next_due()) is not None and due <= now:
            path = heapq.heappop(self._queue)[2]
            del self._due[path]
            self._ready[path] = None
        batch: list[Write] = []
        size_bytes = 0
        self._put_contested_off(now)
        bundle_waits = BUNDLE in self._ready and BUNDLE not in self._found
        for path in list(self._ready):
            if len(batch) >= MAX_BATCH or size_bytes >= MAX_BATCH_BYTES:
                return batch
            if path == BUNDLE and bundle_waits:
                continue
            del self._ready[path]
            if (write := self._compare(path, wall)) is not None:
                batch.append(write)
                size_bytes += len(write.raw) if isinstance(write, PutRecord) else 0
        if bundle_waits and not batch:
            del self._ready[BUNDLE]
            bundle = self._compare(BUNDLE, wall)
            return [bundle] if bundle is not None else []
        return batch

    def _put_contested_off(self, now: float) -> None:
        for path in [path for path in self._undone if path in self._ready]:
            del self._ready[path]
            self._write_when_due(path, Urgency.CONTESTED, now)

    def settle(self, batch: list[Write], revision: int, now: float) -> None:
        """The batch was written at `revision`."""
        for write in batch:
            if isinstance(write, PutRecord):
                self._pay(write, now)
                value = write.value if self.is_current(write.path, write.raw) else None
                self.found(write.path, value, write.lease, revision, write.kid)
            else:
                self._dampers.pop(write.path, None)
                self._latest.pop(write.path, None)
                self.missing(write.path, revision)

    def _pay(self, write: PutRecord, now: float) -> None:
        """Whatever waited at this path was written too, unless it came while the batch was under way."""
        unasked = Urgency.CONTESTED if write.path in self._undone else Urgency.AT_ONCE
        urgency = self._urgencies.get(write.path, unasked)
        self._undone.discard(write.path)
        self._dampers.setdefault(write.path, Damper()).written(urgency, now)
        want = self._wanted.get(write.path)
        if want is not None and want.value == write.value:
            self._urgencies.pop(write.path, None)
            self._due.pop(write.path, None)

    def fail(self, batch: list[Write]) -> None:
        """The batch was not written, or nobody knows: it is compared again after the next listing."""
        self._ready.update(dict.fromkeys(write.path for write in batch))

    def _compare(self, path: Path, wall: float) -> Write | None:
        want, found = self._wanted.get(path), self._found.get(path)
        if want is None:
            return DeleteRecord(path) if found is not None and self._may_delete(path) else None
        lease = self.lease if want.leased else 0
        if want.leased and not lease:
            return None
        if found is not None and found.value == want.value and found.lease == lease:
            return None
        return PutRecord(path, self._sign(path, want.value, wall), want.value, lease, self._keys.kid)

    def _may_delete(self, path: Path) -> bool:
        """Other gateways of our cluster register themselves; exports wait until all of ours are known."""
        if path.kind is Kind.EXPORT:
            return self.withdrawing
        return path.kind in (Kind.ACK, Kind.DIGEST) or path in self._own_paths or path in self._done_with

    def _sign(self, path: Path, value: bytes, wall: float) -> bytes:
        self._sequence = self._latest[path] = next_sequence(self._sequence, wall)
        key = self._authority.vouching_key if path == BUNDLE else self._authority.record_key
        return sign_record(
            value,
            federation=self._federation,
            cluster=self._cluster,
            path=str(path),
            sequence=self._sequence,
            issued_at=wall,
            key=key,
            kid=RecordKey.of(key.public_key).kid if path == BUNDLE else self._keys.kid,
            chain=self._authority.record_chain if path == BUNDLE else (),
        )
