"""The places of a peer that hold something we don't believe: all counted, the last of them kept by name."""

from __future__ import annotations

import hashlib
from collections import Counter

import msgspec

from federation.errors import RefusalCode
from federation.paths import Path

MAX_REFUSALS = 256


class Refusal(msgspec.Struct, frozen=True):
    """`path` holds something refused since `at` (Unix seconds)."""

    path: str
    code: RefusalCode
    detail: str
    at: float


class _Entry(msgspec.Struct):
    refusal: Refusal
    digest: bytes
    listing: int


class RefusalLog:
    """A bounded log. A value that is merely seen again in another listing is not counted again."""

    def __init__(self) -> None:
        self.counts: Counter[RefusalCode] = Counter()
        self._entries: dict[str, _Entry] = {}
        self._overflowed = False
        """Whether there are more than are kept."""

    def __bool__(self) -> bool:
        """Whether anything is refused now."""
        return bool(self._entries) or self._overflowed

    def begin_listing(self) -> None:
        """All that is refused is told again."""
        self._overflowed = False

    def add(self, refusal: Refusal, raw: bytes, listing: int) -> bool:
        """Returns whether this is news."""
        digest = hashlib.sha256(raw).digest()
        entry = self._entries.get(refusal.path)
        if entry is not None and entry.digest == digest and entry.refusal.code is refusal.code:
            entry.listing = listing
            return False
        self.counts[refusal.code] += 1
        self._entries.pop(refusal.path, None)
        self._entries[refusal.path] = _Entry(refusal, digest, listing)
        if len(self._entries) > MAX_REFUSALS:
            del self._entries[next(iter(self._entries))]
            self._overflowed = True
        return True

    def clear(self, path: str) -> None:
        """The place holds a good value now, or nothing."""
        self._entries.pop(path, None)

    def clear_place(self, path: Path) -> None:
        """The same, for every record that comes: mostly nothing is refused anywhere."""
        if self._entries:
            self.clear(str(path))

    def clear_unseen(self, listing: int) -> None:
        self._entries = {path: entry for path, entry in self._entries.items() if entry.listing == listing}

    def current(self) -> tuple[Refusal, ...]:
        """What is refused now, the oldest first."""
        return tuple(entry.refusal for entry in self._entries.values())
