"""What happens to a peer's state, and what changes by it: the events and changes of `federation.peer_state`."""

from __future__ import annotations

from typing import TypeAlias

import msgspec

from discovery.model import ServiceName
from federation.errors import RefusalCode
from federation.paths import Path, StrayKey
from federation.values import ExportValue


class ListingBegan(msgspec.Struct, frozen=True):
    """The whole of what lies under the peer's name follows; `ListingEnded` says that there is no more."""


class ListingEnded(msgspec.Struct, frozen=True):
    pass


class Put(msgspec.Struct, frozen=True):
    """`raw` lies at `path` now. `proof` is the key (`PeerKeys.key_id`) that its signature was found to fit just now;
    empty: nobody looked."""

    path: Path
    raw: bytes
    proof: bytes = b""


class Deleted(msgspec.Struct, frozen=True):
    path: Path


class StrayPut(msgspec.Struct, frozen=True):
    """A value under a key that fits no form."""

    key: StrayKey


class StrayDeleted(msgspec.Struct, frozen=True):
    key: StrayKey


PeerEvent: TypeAlias = ListingBegan | ListingEnded | Put | Deleted | StrayPut | StrayDeleted


class BundleChanged(msgspec.Struct, frozen=True):
    """The peer's bundle was accepted, and is another than before."""

    sequence: int


class GatewaysChanged(msgspec.Struct, frozen=True):
    """A gateway came, went, moved, or its lease did."""


class ExportChanged(msgspec.Struct, frozen=True):
    """The peer exports this now; None: no longer."""

    name: ServiceName
    value: ExportValue | None


class ExportsRestored(msgspec.Struct, frozen=True):
    """The peer exported these when the disk was written, and may do so still."""

    exports: dict[ServiceName, ExportValue]


class Stored(msgspec.Struct, frozen=True):
    """The record at this path was accepted: worth keeping on disk. `key_id` is the key that it was verified under;
    `export` is what it says, if it is one."""

    path: Path
    raw: bytes
    key_id: bytes = b""
    sequence: int = -1
    export: ExportValue | None = None


class Dropped(msgspec.Struct, frozen=True):
    """Nothing is believed at this path any longer. Records up to `sequence` stay refused there."""

    path: Path
    sequence: int


class Refused(msgspec.Struct, frozen=True):
    """What lies at `path` is not believed. `path` is text: it may fit no form."""

    path: str
    code: RefusalCode
    detail: str


class ListingWanted(msgspec.Struct, frozen=True):
    """New record keys came, and values that could not be checked without them lie in etcd: list again."""


PeerChange: TypeAlias = (
    BundleChanged | GatewaysChanged | ExportChanged | ExportsRestored | Stored | Dropped | Refused | ListingWanted
)
