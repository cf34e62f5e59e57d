"""Members of a federation for tests: whole `Federation`s in one trio process, and peers whose records a test forges."""

from __future__ import annotations

import dataclasses
import random
import time
from collections.abc import AsyncIterator, Callable, Mapping, Sequence
from contextlib import asynccontextmanager
from datetime import UTC, datetime
from pathlib import Path as FilePath

import trio

from discovery.model import Endpoint, Locality, LocalService, Port, Protocol, ServiceName
from federation.etcd.client import EtcdClient, open_etcd
from federation.etcd.config import EtcdConfig
from federation.federation import EtcdSource, Federation, FederationSettings, Peer
from federation.import_cap import DEFAULT_LIMITS, ImportLimits
from federation.paths import Layout, Path
from federation.record import sign_record
from federation.report import PeerTransition
from trust.authority import Authority
from trust.bundle import RecordKey
from trust.source import TrustSource

FEDERATION = "acme"
LAYOUT = Layout("/isthmus", FEDERATION)


def make_authority(directory: FilePath, cluster: str) -> Authority:
    """The CA of `<cluster>.acme.test`; the same directory gives the same one again."""
    return Authority.load_or_create(directory / cluster / "trust", f"{cluster}.acme.test", datetime.now(UTC))


def as_peers(authorities: Mapping[str, Authority]) -> dict[str, Peer]:
    """How others pin these clusters, which share an etcd."""
    return {name: Peer(authority.trust_domain, authority.fingerprint) for name, authority in authorities.items()}


def read_in(peer: Peer, endpoint: str, *, ca_file: str = "") -> Peer:
    """The same peer, with an etcd of its own."""
    access = EtcdConfig(endpoints=(endpoint,), ca_file=ca_file, call_timeout_s=2.0)
    return dataclasses.replace(peer, etcd=EtcdSource(access))


def local_service(
    name: str, *, to: tuple[str, ...] = ("*",), port: int = 80, protocol: Protocol = Protocol.HTTP, endpoints: int = 1
) -> LocalService:
    """`shop/<name>` with one port `main`."""
    return LocalService(
        name=ServiceName("shop", name),
        ports=(Port("main", port, protocol),),
        endpoints=tuple(Endpoint("127.0.0.1", {"main": 9000 + number}, zone="a") for number in range(endpoints)),
        export_to=to,
    )


def forge(
    authority: Authority,
    cluster: str,
    path: Path,
    value: bytes,
    *,
    sequence: int,
    issued_at: float,
    federation: str = FEDERATION,
    signed_path: str | None = None,
    with_chain: bool = False,
) -> bytes:
    """A record under the authority's real record key, with whatever claims a test wants."""
    return sign_record(
        value,
        federation=federation,
        cluster=cluster,
        path=signed_path if signed_path is not None else str(path),
        sequence=sequence,
        issued_at=issued_at,
        key=authority.record_key,
        kid=RecordKey.of(authority.record_key.public_key).kid,
        chain=authority.record_chain if with_chain else (),
    )


class Listener:
    """Remembers what it was told."""

    def __init__(self) -> None:
        self.services: set[ServiceName] = set()
        self.peers: set[str] = set()
        self.transitions: list[PeerTransition] = []

    def services_changed(self, names: set[ServiceName]) -> None:
        self.services |= names

    def peers_changed(self, clusters: set[str]) -> None:
        self.peers |= clusters

    def freshness_changed(self, transitions: Sequence[PeerTransition]) -> None:
        self.transitions += transitions


class FederationMember:
    """One cluster's `Federation`, its own etcd client, and what its listener heard."""

    def __init__(
        self, federation: Federation, etcd: EtcdClient, listener: Listener, settings: FederationSettings
    ) -> None:
        self.federation = federation
        self.settings = settings
        self.etcd = etcd
        self.listener = listener

    def move_peer(self, cluster: str, endpoint: str | None) -> None:
        """Configures another etcd for that peer; None: ours."""
        peer = dataclasses.replace(self.settings.peers[cluster], etcd=None)
        peers = {**self.settings.peers, cluster: read_in(peer, endpoint) if endpoint is not None else peer}
        self.settings = dataclasses.replace(self.settings, peers=peers)
        self.federation.configure(self.settings)

    def sees(self, name: str, *clusters: str) -> bool:
        """Whether exactly these clusters share `shop/<name>` in its catalog."""
        view = self.federation.services().get(ServiceName("shop", name))
        return {export.cluster for export in view.exports} == set(clusters) if view is not None else not clusters


@asynccontextmanager
async def run_member(
    directory: FilePath,
    cluster: str,
    peers: Mapping[str, Peer],
    etcd: str | EtcdConfig,
    *,
    services: tuple[LocalService, ...] = (),
    gateway: str = "",
    stale_after_s: float = 30.0,
    clock_ahead_s: float = 0.0,
    import_limits: ImportLimits = DEFAULT_LIMITS,
    authority: TrustSource | None = None,
) -> AsyncIterator[FederationMember]:
    """Runs a member until the block ends. It is there at once; etcd (which may be given by its URL) need not be.
    `gateway` names a second one of the same cluster: with the cluster's CA, and a state directory of its own. Its wall
    clock is `clock_ahead_s` ahead of the others'. `authority` takes the place of a root of its own."""
    settings = FederationSettings(
        federation=FEDERATION,
        cluster=cluster,
        state_dir=directory / f"{cluster}{gateway}",
        locality=Locality(f"region-{cluster}", "a"),
        peers={name: peer for name, peer in peers.items() if name != cluster},
        stale_after_s=stale_after_s,
        import_limits=import_limits,
    )
    listener = Listener()
    authority = authority or make_authority(directory, cluster)
    access = etcd if isinstance(etcd, EtcdConfig) else EtcdConfig(endpoints=(etcd,), call_timeout_s=2.0)
    async with open_etcd(access) as client, trio.open_nursery() as nursery:
        federation = Federation(
            settings=settings,
            authority=authority,
            listener=listener,
            rng=random.Random(cluster + gateway),
            wall=lambda: time.time() + clock_ahead_s,
        )
        federation.set_gateway([f"gw{gateway}.{cluster}.acme.test:15443"])
        for service in services:
            federation.upsert_local(service)
        federation.complete_local_services()
        await nursery.start(federation.run, client)
        yield FederationMember(federation, client, listener, settings)
        nursery.cancel_scope.cancel()


async def until(condition: Callable[[], bool], timeout_s: float = 30.0) -> None:
    """Returns as soon as `condition` holds. Fails after `timeout_s`."""
    with trio.fail_after(timeout_s):
        while not condition():
            await trio.sleep(0.01)
