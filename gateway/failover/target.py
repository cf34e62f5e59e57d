"""Where one attempt of a request can go."""

from __future__ import annotations

from typing import final

import msgspec

from gateway.snapshot import UpstreamTls


@final
class LocalTarget(msgspec.Struct, frozen=True):
    """An endpoint of this cluster."""

    address: str
    """host:port"""
    tls: UpstreamTls | None = None
    place: str = "local"
    """What metrics call it."""


@final
class RemoteTarget(msgspec.Struct, frozen=True):
    """Any gateway of another cluster."""

    cluster: str

    @property
    def place(self) -> str:
        return self.cluster


Target = LocalTarget | RemoteTarget
