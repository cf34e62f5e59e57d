"""Digests: one signature that stands for those of many exports, so that who reads a large catalog for the first time
need not check each. Pure.

A digest is a record of its cluster like any other. It holds the SHA-256 of whole records, and says no more than that
the cluster signed these bytes: where they lie, of which sequence and time they are, and whether their key is still
believed is looked at as ever. So an old digest does no harm, nor does one that is missing: what no digest names has its
signature checked. For the same reason they need not follow every change. A cluster says one anew when a quarter of what
it covers is not named, nothing else waits to be written, and etcd is not just being listed.
"""

from __future__ import annotations

import hashlib
import zlib

from federation import paths
from federation.errors import RecordRefused, RefusalCode
from federation.paths import Path
from federation.values import MAX_DIGESTED, DigestValue, encode, parse_digest

MAX_DIGESTS = 256
"""Of one cluster: with a thousand records each, more than a peer's services that are let in by default."""
WORTH_SAYING = 64
"""Records that are not named yet; a reader has checked fewer before threads would have begun."""
_FILLED = 640
"""Records to a digest on average, at most. They are dealt out by a checksum, so that some have more."""


def hash_of(raw: bytes) -> bytes:
    return hashlib.sha256(raw).digest()


class Vouched:
    """What a peer's digests name, during one listing."""

    def __init__(self) -> None:
        self._digests = 0
        self._hashes: dict[bytes, set[bytes]] = {}
        """By the key (`PeerKeys.key_id`) that signed the digest: it can speak for nothing but itself."""

    def take(self, key_id: bytes, value: bytes) -> None:
        """What a digest says that was verified under that key. Raises RecordRefused."""
        hashes = parse_digest(value)
        if self._digests >= MAX_DIGESTS:
            raise RecordRefused(RefusalCode.TOO_LARGE, f"more than {MAX_DIGESTS} digests of one cluster")
        self._digests += 1
        self._hashes.setdefault(key_id, set()).update(hashes)

    def has(self, key_id: bytes, raw: bytes) -> bool:
        """Whether that key signed a digest that names these bytes."""
        hashes = self._hashes.get(key_id)
        return hashes is not None and hash_of(raw) in hashes


class _Bucket:
    """The exports that one digest is to name, and those of them that it does not."""

    __slots__ = ("exports", "missing")

    def __init__(self) -> None:
        self.exports: dict[Path, bytes] = {}
        self.missing: set[Path] = set()

    @property
    def is_due(self) -> bool:
        return len(self.missing) >= max(WORTH_SAYING, len(self.exports) // 4)


class OwnDigests:
    """What our cluster's digests say, and when they are to say something else.

    Their number is a power of two that grows with the exports. It never becomes smaller, so that gateways of one
    cluster agree on it: who finds more digests in etcd than he has made makes as many.
    """

    def __init__(self) -> None:
        self._buckets = [_Bucket()]
        self._said: dict[int, frozenset[bytes]] = {}
        """What each digest names, in etcd or as soon as it is written."""
        self._count = 0
        self._due: set[int] = set()
        """Those that may be worth saying."""
        self._listing = False

    def put(self, export: Path, raw: bytes) -> None:
        """These bytes of ours lie in etcd."""
        number, made = self._number(export), hash_of(raw)
        bucket = self._buckets[number]
        self._count += export not in bucket.exports
        bucket.exports[export] = made
        self._compare(number, export, made)
        if self._count > _FILLED * len(self._buckets) and len(self._buckets) < MAX_DIGESTS:
            self._deal(2 * len(self._buckets))

    def drop(self, export: Path) -> None:
        """Nothing of ours lies there."""
        number = self._number(export)
        bucket = self._buckets[number]
        if bucket.exports.pop(export, None) is not None:
            bucket.missing.discard(export)
            self._count -= 1
            self._due.add(number)

    def found(self, digest: Path, value: bytes) -> bool:
        """A digest of ours lies in etcd: from before we were restarted, or another gateway of our cluster wrote it.
        Returns whether it is one that we would make."""
        number = int(digest.names[0]) if digest.names[0].isdecimal() else MAX_DIGESTS
        if number >= MAX_DIGESTS or digest != paths.digest(number):
            return False
        try:
            self._said[number] = frozenset(parse_digest(value))
        except RecordRefused:
            return False
        count = len(self._buckets)
        while count <= number:
            count *= 2
        if count > len(self._buckets):
            self._deal(count)
        else:
            self._compare_all(number)
        self._due.add(number)
        return True

    def begin_listing(self) -> None:
        """What lies in etcd is told anew, until `end_listing`."""
        self._buckets, self._said, self._count, self._due = [_Bucket()], {}, 0, set()
        self._listing = True

    def end_listing(self) -> None:
        self._listing = False

    def take_due(self) -> dict[Path, bytes | None]:
        """What our digests shall say from now on, where that is worth it; None: that one names nothing any more."""
        due: dict[Path, bytes | None] = {}
        if self._listing:
            # Some exports were not shown yet. A digest without them would stay: the rest may be too few for another.
            return due
        for number in sorted(self._due):
            bucket = self._buckets[number]
            if bucket.is_due:
                due[paths.digest(number)] = self._say(number, bucket)
            elif not bucket.exports and self._said.pop(number, None) is not None:
                due[paths.digest(number)] = None
        self._due = set()
        return due

    def _say(self, number: int, bucket: _Bucket) -> bytes:
        # Sorted, so that another gateway of our cluster says the same. What does not fit is left to its signature.
        hashes = sorted(bucket.exports.values())[:MAX_DIGESTED]
        self._said[number] = frozenset(hashes)
        bucket.missing.clear()
        return encode(DigestValue(b"".join(hashes)))

    def _compare(self, number: int, export: Path, made: bytes) -> None:
        bucket = self._buckets[number]
        if made in self._said.get(number, ()):
            bucket.missing.discard(export)
        else:
            bucket.missing.add(export)
            if bucket.is_due:
                self._due.add(number)

    def _compare_all(self, number: int) -> None:
        for export, made in self._buckets[number].exports.items():
            self._compare(number, export, made)

    def _deal(self, count: int) -> None:
        """Into so many buckets, which is rare: it takes a catalog twice as large."""
        before, self._buckets = self._buckets, [_Bucket() for _ in range(count)]
        for bucket in before:
            for export, made in bucket.exports.items():
                self._buckets[self._number(export)].exports[export] = made
        for number in range(count):
            self._compare_all(number)
        self._due = set(range(count))

    def _number(self, export: Path) -> int:
        return zlib.crc32(export.encode()) % len(self._buckets)
