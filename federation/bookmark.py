"""How far each etcd was read when the journals on disk were as they are: a start then asks for what is new only.

A bookmark says: of these clusters, the journals have everything that was put into this etcd up to the revision of the
*witness*, which is the latest put that was seen. At a start, etcd is asked

- for the witness, as it was at that revision: an etcd that was restored, replaced or emptied does not have it, or has
  something else there, and is listed as a whole;
- for what was put after that revision, and how many keys there are in all. If these are as many as the disk and the
  news have together, nothing was deleted meanwhile, and nothing else can differ.

That rests on the journals being exactly as they were when the bookmark was made (`JournalEnd`), and on a bookmark
naming no cluster of which anything in etcd is refused, waits for a key, or is yet to be listed.
"""

from __future__ import annotations

from collections.abc import Collection, Mapping

import msgspec

from federation.etcd.kv import KeyValue
from federation.journal import JournalEnd
from federation.seal import Seal
from federation.settings import EtcdSource


class Bookmark(msgspec.Struct, frozen=True):
    """Of one etcd."""

    witness: KeyValue
    clusters: Collection[str]


class KeptBookmark(msgspec.Struct, frozen=True):
    """The same as it lies on disk, with what the journals of its clusters were like."""

    witness: KeyValue
    journals: dict[str, JournalEnd]


def name_of(source: EtcdSource | None) -> str:
    """What an etcd (None: ours) is called on disk. It need not be more than a name: the witness tells which it is."""
    return f"{source.prefix} {','.join(source.access.endpoints)}" if source is not None else ""


def keep(bookmark: Bookmark, ends: Mapping[str, JournalEnd]) -> KeptBookmark:
    """With the journals as they are. One whose end is not known is left out."""
    return KeptBookmark(bookmark.witness, {name: ends[name] for name in sorted(bookmark.clusters) if name in ends})


def open_kept(kept: KeptBookmark, ends: Mapping[str, JournalEnd]) -> Bookmark:
    """With the clusters whose journals are as they were."""
    return Bookmark(kept.witness, frozenset(name for name, end in kept.journals.items() if ends.get(name) == end))


def encode_bookmarks(kept: Mapping[str, KeptBookmark], seal: Seal) -> bytes:
    """By the name of the etcd."""
    text = msgspec.json.encode(kept)
    return _seal(seal, text) + b"\n" + text


def decode_bookmarks(content: bytes, seal: Seal) -> dict[str, KeptBookmark]:
    """What `encode_bookmarks` made; nothing if it did not, or another version of it did."""
    made, _, text = content.partition(b"\n")
    if made != _seal(seal, text):
        return {}
    try:
        return msgspec.json.decode(text, type=dict[str, KeptBookmark])
    except msgspec.DecodeError:
        return {}


def _seal(seal: Seal, text: bytes) -> bytes:
    # No journal is of a cluster without a name.
    return seal.make("", "bookmarks", bytes(32), text).encode()
