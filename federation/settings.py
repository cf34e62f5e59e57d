"""What this package is told about its cluster. The gateway makes it of cluster.yaml."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path

from discovery.model import Locality
from federation.etcd.config import EtcdConfig
from federation.import_cap import DEFAULT_LIMITS, ImportLimits
from trust.bundle_source import BundleSource


@dataclass(frozen=True)
class EtcdSource:
    """An etcd that we only read. `prefix` is where Isthmus begins in it."""

    access: EtcdConfig
    prefix: str = "/isthmus"


@dataclass(frozen=True)
class Peer:
    """A cluster that we believe: its trust domain, and the fingerprint of the root that we pinned. What it says is
    read in `etcd` and nowhere else; None: in ours."""

    trust_domain: str
    root: str
    etcd: EtcdSource | None = None
    endpoint: BundleSource | None = None
    """Where its bundle is followed, for a peer outside the federation's etcd: nothing else is read of it."""
    gateways: tuple[str, ...] = ()
    """Addresses (`host:port`) of the gateways of such a peer."""

    def reads(self, source: EtcdSource | None) -> bool:
        """Whether what this peer says is taken from that etcd (None: ours)."""
        return self.endpoint is None and self.etcd == source


@dataclass(frozen=True, kw_only=True)
class FederationSettings:
    """`imports` are globs over `namespace/name` by peer, None lets everything in; `prefix` is where Isthmus begins in
    etcd; the catalog is kept below `state_dir`."""

    federation: str
    cluster: str
    state_dir: Path
    locality: Locality = field(default_factory=Locality)
    prefix: str = "/isthmus"
    peers: Mapping[str, Peer] = field(default_factory=dict)
    imports: Mapping[str, tuple[str, ...]] | None = None
    import_limits: ImportLimits = DEFAULT_LIMITS
    vip_range: str = "127.80.0.0/16"
    stale_after_s: float = 30.0
    withdraw_after_s: float = 86_400.0
    version: str = ""
