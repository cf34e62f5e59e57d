"""Where a watch stands, and what each of etcd's responses adds to it. Pure."""

from __future__ import annotations

from typing import Literal

import msgspec

from federation.etcd import etcd_pb2 as pb
from federation.etcd.errors import EtcdError, error_from_text
from federation.etcd.kv import KeyValue, read_kv


class WatchEvent(msgspec.Struct, frozen=True):
    """One key's change. Of a delete, `kv` has the key and the revision of the deletion only."""

    kind: Literal["put", "delete"]
    kv: KeyValue


class WatchBatch(msgspec.Struct, frozen=True):
    """All that happened up to `revision`. Without events it is a progress report: nothing has happened until then."""

    revision: int
    events: list[WatchEvent]

    @property
    def latest_put(self) -> KeyValue | None:
        return next((event.kv for event in reversed(self.events) if event.kind == "put"), None)


class WatchCursor:
    """A watch's place in history. It moves on only with whole responses, so that a broken connection in the middle of
    a fragmented one loses nothing: `next_revision` is where to watch from again."""

    def __init__(self, start_revision: int, witness: KeyValue | None = None) -> None:
        if start_revision < 1:
            raise ValueError("a watch starts at a revision of 1 or more: the one after what you have read")
        self.next_revision = start_revision
        self.witness = witness
        """Something that was seen, late: a store that does not hold it at its revision has another history."""
        self._fragments: list[WatchEvent] = []

    def restart(self) -> None:
        """A new stream begins at `next_revision`: what is half received comes again."""
        self._fragments = []

    def apply(self, response: pb.WatchResponse) -> WatchBatch | None:
        """What a response completes, if anything. Raises EtcdError when etcd has ended or refused the watch."""
        if response.compact_revision:
            raise EtcdError(
                "compacted",
                f"revision {self.next_revision} was compacted (the oldest is {response.compact_revision}); "
                "read again and watch from there",
                compact_revision=response.compact_revision,
            )
        if response.canceled:
            reason = response.cancel_reason or "no reason given"
            raise error_from_text(reason) or EtcdError("unavailable", f"etcd ended the watch: {reason}")
        if response.created:
            return None
        self._fragments += [_read_event(event) for event in response.events]
        if response.fragment:
            return None
        return self._complete(response.header.revision)

    def is_behind(self, revision: int) -> bool:
        """Whether a store at `revision` lacks what this watch has already seen."""
        return revision + 1 < self.next_revision

    def _complete(self, store_revision: int) -> WatchBatch:
        events, self._fragments = self._fragments, []
        # While a watcher catches up, the store is ahead of the events that it has been sent.
        revision = events[-1].kv.mod_revision if events else store_revision
        self.next_revision = max(self.next_revision, revision + 1)
        batch = WatchBatch(revision, events)
        self.witness = batch.latest_put or self.witness
        return batch


def _read_event(event: pb.Event) -> WatchEvent:
    return WatchEvent("delete" if event.type == pb.Event.DELETE else "put", read_kv(event.kv))
