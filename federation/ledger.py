"""What was accepted at each place of a peer: the record's bytes, its sequence, and in which listing it was seen."""

from __future__ import annotations

from federation.paths import Kind, Path

MAX_TOMBSTONES = 4_096
"""How many empty places keep a sequence of their own, so that an old record that is put there again is refused."""


class _Place:
    """Without `raw` nothing is believed here now, and the sequence remains."""

    __slots__ = ("listing", "path", "raw", "sequence")

    def __init__(self, path: Path, sequence: int, raw: bytes | None, listing: int) -> None:
        self.path = path
        self.sequence = sequence
        self.raw = raw
        self.listing = listing


class Ledger:
    """Places by path. `listing` numbers the listings of etcd: what the current one did not show was not seen."""

    def __init__(self) -> None:
        self.listing = 0
        self._places: dict[str, _Place] = {}
        self._tombstones: dict[Path, None] = {}
        self._floor = -1

    def __len__(self) -> int:
        return len(self._places)

    def last_sequence(self, path: Path) -> int:
        """What a new record at `path` must be above."""
        place = self._places.get(path)
        return place.sequence if place is not None else self._floor

    def holds(self, path: Path, raw: bytes) -> bool:
        place = self._places.get(path)
        return place is not None and place.raw == raw

    def mark_seen(self, path: Path) -> None:
        """The place is not empty in etcd, whatever lies there."""
        if (place := self._places.get(path)) is not None:
            place.listing = self.listing

    def sees_again(self, place: str, raw: bytes) -> bool:
        """The current listing shows these bytes at the place of this text: whether they are what is believed there."""
        known = self._places.get(place)
        if known is None or known.raw != raw:
            return False
        known.listing = self.listing
        return True

    def sees_all_again(self, kind: Kind) -> None:
        """The current listing shows all that is believed at places of this kind as it is."""
        for place in self._places.values():
            if place.raw is not None and place.path.kind is kind:
                place.listing = self.listing

    def has(self, place: str) -> bool:
        """Whether anything is believed at the place of this text."""
        known = self._places.get(place)
        return known is not None and known.raw is not None

    def was_seen(self, path: Path) -> bool:
        place = self._places.get(path)
        return place is not None and place.listing == self.listing

    def record(self, path: Path) -> bytes | None:
        """The bytes that are believed at `path`."""
        place = self._places.get(path)
        return place.raw if place is not None else None

    def records(self) -> list[tuple[Path, bytes]]:
        """All that is believed."""
        return [(place.path, place.raw) for place in self._places.values() if place.raw is not None]

    def forget(self, path: Path) -> None:
        """Forgets the record at `path` and its sequence: neither is its writer's word any longer."""
        self._places.pop(path, None)

    def store(self, path: Path, sequence: int, raw: bytes) -> None:
        self._places[path] = _Place(path, sequence, raw, self.listing)
        if self._tombstones:
            self._tombstones.pop(path, None)

    def unseen(self) -> list[Path]:
        """The places whose record was not shown by the current listing."""
        return [p.path for p in self._places.values() if p.raw is not None and p.listing < self.listing]

    def bury(self, path: Path) -> int | None:
        """Forgets the record at `path` and returns its sequence, which stays; None when none was believed there.

        Too many graves: the oldest is levelled, and its sequence becomes the least for places not known. A writer's
        sequences follow its clock, so no new record is below one that was deleted long ago.
        """
        place = self._places.get(path)
        if place is None or place.raw is None:
            return None
        place.raw = None
        self._tombstones[path] = None
        if len(self._tombstones) > MAX_TOMBSTONES:
            oldest = next(iter(self._tombstones))
            del self._tombstones[oldest]
            self._floor = max(self._floor, self._places.pop(oldest).sequence)
        return place.sequence
