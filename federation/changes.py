"""What became different in the beliefs of a cluster, for whoever is to be told."""

from __future__ import annotations

import msgspec

from discovery.model import ServiceName
from federation.peer_events import Refused
from federation.report import PeerTransition
from federation.settings import EtcdSource


class Changes(msgspec.Struct):
    """What became different since they were taken last. `list_again` are the etcds (None: ours) to be listed again."""

    services: set[ServiceName] = msgspec.field(default_factory=set)
    peers: set[str] = msgspec.field(default_factory=set)
    bundles: set[str] = msgspec.field(default_factory=set)
    """Peers of which another bundle is believed: to be remembered, then acknowledged."""
    refused: list[tuple[str, Refused]] = msgspec.field(default_factory=list)
    transitions: list[PeerTransition] = msgspec.field(default_factory=list)
    list_again: set[EtcdSource | None] = msgspec.field(default_factory=set)
