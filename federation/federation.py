"""Federation as the gateway's controller uses it: tell it what is here, ask it what is believed.

The composition of this package, and its clocks. What is believed lives in `Beliefs`; a `Follower` for each etcd that
is read feeds it, a `Publisher` writes to ours what it wants said, a `CatalogCache` keeps it on disk. Everything but
`run` is synchronous and never waits for etcd.
"""

from __future__ import annotations

import logging
import random
from collections.abc import Callable, Mapping, Sequence
from typing import Protocol

import trio

from discovery.model import LocalService, ServiceName, ZoneHealth
from federation.acknowledgement import PublicationState, view_publication
from federation.beliefs import Beliefs
from federation.bookmark import Bookmark
from federation.cache import CatalogCache
from federation.etcd.client import EtcdClient
from federation.followers import Followers
from federation.gateway_id import load_gateway_id
from federation.join_answer import AnswerValue
from federation.members import PeerView
from federation.peer_memory import PeerMemories
from federation.publication import Write
from federation.publisher import Publisher
from federation.report import FederationStatus, PeerTransition
from federation.service_view import ServiceView
from federation.settings import EtcdSource, FederationSettings, Peer
from federation.status_view import view_status
from federation.vips import VipClaim
from federation.wall_clock import wall_clock
from trust.bundle import Bundle
from trust.source import TrustSource

__all__ = ["EtcdSource", "Federation", "FederationListener", "FederationSettings", "Peer", "PeerView", "ServiceView"]

log = logging.getLogger("isthmus.federation")

_FLUSH_S = 1.0
"""How often the cache is written at most."""
_TURN = 128
"""Records that are restored from disk in one go, a few milliseconds: the status API answers meanwhile."""
_SHARE = 256
"""Services of them after which others are told, which takes them 0.1 ms each."""


class FederationListener(Protocol):
    """Who is told of changes; ask `services()` and `peers()` for what they are now."""

    def services_changed(self, names: set[ServiceName]) -> None: ...

    def peers_changed(self, clusters: set[str]) -> None: ...

    def freshness_changed(self, transitions: Sequence[PeerTransition]) -> None: ...


class Federation:
    """One cluster's membership. Make it and use it inside trio; virtual IPs hold from the start, peers' services are
    there once `run` has started."""

    def __init__(
        self,
        *,
        settings: FederationSettings,
        authority: TrustSource,
        listener: FederationListener,
        rng: random.Random,
        wall: Callable[[], float] = wall_clock,
    ) -> None:
        cache = CatalogCache(settings.state_dir / "catalog")
        self._cached = cache.load()
        gateway_id = load_gateway_id(settings.state_dir, rng)
        self._beliefs = Beliefs(settings, authority, gateway_id, cache, trio.current_time())
        self._authority = authority
        self._memories = PeerMemories(settings.state_dir)
        self._remembered = self._memories.load()
        self._listener = listener
        self._rng = rng
        self._wall = wall
        self._restored = trio.Event()
        self._followers = Followers(self._beliefs, self._tell, rng, wall, self._restored)
        self._publisher: Publisher | None = None
        self._tick_wanted = trio.Event()
        self._join_requested = trio.Event()
        if settings.cluster in self._cached:
            self._beliefs.restore_own(self._cached[settings.cluster])

    # What is here.

    def set_gateway(self, addresses: Sequence[str]) -> None:
        """Where peers reach our mesh listener, as `host:port`."""
        self._beliefs.set_gateway(addresses, trio.current_time())
        self._tell()

    def upsert_local(self, service: LocalService) -> None:
        self._beliefs.upsert_local(service, trio.current_time(), self._wall())
        self._tell()

    def remove_local(self, name: ServiceName) -> None:
        self._beliefs.remove_local(name, trio.current_time())
        self._tell()

    def complete_local_services(self) -> None:
        """Every local service was upserted once: what we exported before a restart and no longer have is withdrawn
        now, and not before."""
        self._beliefs.complete_locals()
        self._tell()

    def set_local_health(self, name: ServiceName, zones: tuple[ZoneHealth, ...]) -> None:
        self._beliefs.set_local_health(name, zones, trio.current_time())
        self._tell()

    def observe_link(self, cluster: str, up: bool) -> None:
        """Whether our tunnels to a peer answer."""
        self._beliefs.peers.observe_link(cluster, up, trio.current_time(), self._wall())
        self._tell()

    def trust_changed(self) -> None:
        """What `authority` says is something else now."""
        self._beliefs.trust_changed(trio.current_time())
        self._tell()

    def configure(self, settings: FederationSettings) -> None:
        """Takes changed peers, imports and limits; names, state directory, prefix and range stay what they were."""
        before = {cluster: self._beliefs.members[cluster].state for cluster in self._beliefs.members}
        self._beliefs.configure(settings, trio.current_time(), self._wall())
        members = self._beliefs.members
        for cluster, state in before.items():
            if cluster not in members or members[cluster].state is not state:
                self._forget_peer(cluster)
            else:
                self._remember_peer(cluster)
        self._tick_wanted.set()
        self._tell()
        self._followers.adjust()

    # Who wants to join.

    def join_requests(self) -> Mapping[str, bytes]:
        """What lies in etcd for us, by cluster, unverified: a live, read-only view."""
        return self._beliefs.join.requests

    async def wait_join_requests(self) -> None:
        """Returns at the next change of `join_requests`."""
        await self._join_requested.wait()

    def answer_join(self, joiner: str, answer: AnswerValue) -> None:
        self._beliefs.answer_join(joiner, answer, trio.current_time())
        self._tell()

    def own_bundle(self) -> Bundle:
        """What we say of ourselves."""
        return self._beliefs.own.bundle()

    # What is believed.

    def services(self) -> Mapping[ServiceName, ServiceView]:
        """The merged catalog: a live, read-only view."""
        return self._beliefs.catalog.services

    def peers(self) -> Mapping[str, PeerView]:
        return self._beliefs.members.views()

    def vip(self, name: ServiceName) -> str:
        """The virtual IP of a service; empty when it has none (not in the catalog, or the range is used up)."""
        return self._beliefs.addresses.book.addresses.get(name, "") if name in self.services() else ""

    @property
    def gateway_id(self) -> str:
        return self._beliefs.own.gateway_id

    def publication_state(self) -> PublicationState:
        """How far our own bundle has come."""
        return view_publication(self._beliefs)

    def status(self) -> FederationStatus:
        return view_status(self._beliefs, self._authority, self._followers, self._publisher, trio.current_time())

    # Life.

    async def run(self, etcd: EtcdClient, *, task_status: trio.TaskStatus[None] = trio.TASK_STATUS_IGNORED) -> None:
        """Runs until cancelled, on our own etcd. Started once what the disk held has been verified and told, with or
        without etcd. Peers' etcds are opened and closed as the settings name them."""
        self._publisher = Publisher(etcd, self._beliefs, self, self._rng, self._wall)
        try:
            async with trio.open_nursery() as nursery:
                # etcd is asked while the disk is taken in.
                nursery.start_soon(self._followers.run, etcd)
                await self._restore()
                self._restored.set()
                nursery.start_soon(self._publisher.run)
                nursery.start_soon(self._watch_time)
                nursery.start_soon(self._keep_cache)
                task_status.started()
        finally:
            self.save()

    async def _restore(self) -> None:
        """Takes in what the disk held, and tells it."""
        began = trio.current_time()
        for cluster, believed in [*self._remembered.items()]:
            if cluster in self._beliefs.members:
                self._beliefs.peers.recall(cluster, believed, trio.current_time(), self._wall())
            else:
                self._forget_peer(cluster)
        for cluster, cached in self._cached.items():
            restored = self._beliefs.peers.restore(cluster, cached, trio.current_time(), self._wall())
            taken = 0
            for records in restored:
                taken += records
                if taken >= _TURN:
                    taken = 0
                    await trio.lowlevel.checkpoint()
                if len(self._beliefs.peers.changes.services) >= _SHARE:
                    self._tell()
            self._tell()
        if self._cached:
            took_s = trio.current_time() - began
            log.info("took in what clusters had said (%d of them), from disk, in %.1f s", len(self._cached), took_s)
        self._cached = {}

    async def _watch_time(self) -> None:
        while True:
            deadline = self._beliefs.members.next_deadline()
            with trio.move_on_at(deadline if deadline is not None else float("inf")):
                await self._tick_wanted.wait()
            self._tick_wanted = trio.Event()
            self._beliefs.peers.tick(trio.current_time(), self._wall())
            self._tell()

    def save(self) -> None:
        """Puts on disk what was accepted and is not there yet."""
        self._beliefs.cache.set_aside(self._followers.bookmarks())
        self._beliefs.cache.write()

    async def _keep_cache(self) -> None:
        kept: Mapping[str, Bookmark | None] = {}
        while True:
            await trio.sleep(_FLUSH_S)
            bookmarks = self._followers.bookmarks()
            if self._beliefs.cache.has_news or bookmarks != kept:
                self._beliefs.cache.set_aside(bookmarks)
                # If a stop comes before a thread has it, `save` writes it.
                await trio.to_thread.run_sync(self._beliefs.cache.write)
                kept = bookmarks

    def _tell(self) -> None:
        """Hands on what changed: to the listener, the log, the publisher and the clock."""
        changes = self._beliefs.peers.take_changes()
        for cluster, refused in changes.refused:
            log.warning("a value of %s in etcd is refused: %s: %s", cluster, refused.path, refused.detail)
        for seen in changes.transitions:
            if seen.after is not seen.before:
                log.info("peer %s: %s, was %s (%s)", seen.cluster, seen.after, seen.before, seen.reason)
        if changes.transitions:
            self._tick_wanted.set()
            self._listener.freshness_changed(changes.transitions)
        for cluster in changes.bundles:
            if self._remember_peer(cluster):
                self._beliefs.acknowledge(cluster, trio.current_time())
        for source in changes.list_again:
            self._followers.list_again(source)
        if self._beliefs.join.take_changed():
            self._join_requested.set()
            self._join_requested = trio.Event()
        if changes.peers:
            self._listener.peers_changed(changes.peers)
        if changes.services:
            self._listener.services_changed(changes.services)
        if self._publisher is not None:
            self._publisher.set_synced(self._followers.home.link.synced)

    def _remember_peer(self, cluster: str) -> bool:
        """Returns whether the bundle that we believe of a peer is on disk."""
        believed = self._beliefs.peers.remember(cluster)
        if believed is None:
            return False
        if self._remembered.get(cluster) != believed:
            if not self._memories.write(cluster, believed):
                return False
            self._remembered[cluster] = believed
        return True

    def _forget_peer(self, cluster: str) -> None:
        self._remembered.pop(cluster, None)
        self._memories.forget(cluster)

    # What the publisher wrote (federation.publisher.Written).

    def records_written(self, batch: list[Write]) -> None:
        self._beliefs.written(batch)

    def vip_agreed(self, claim: VipClaim, revision: int) -> None:
        self._beliefs.vip_agreed(claim, revision)
        self._tell()
