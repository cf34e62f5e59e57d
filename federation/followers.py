"""Who is followed: our own etcd, each other one that peers are read in, and each peer that is followed by URL."""

from __future__ import annotations

import random
from collections.abc import Callable

import trio

from federation.beliefs import Beliefs
from federation.bookmark import Bookmark
from federation.bundle_follower import BundleFollower
from federation.etcd.client import EtcdClient
from federation.follower import Follower
from federation.settings import EtcdSource


class Followers:
    """One follower for each etcd, however many peers are read there, and one for each bundle. `tell` is called when
    there may be something to tell others, `wall` gives Unix seconds. Nothing is taken in before `restored` is set: the
    disk is read first."""

    def __init__(
        self,
        beliefs: Beliefs,
        tell: Callable[[], None],
        rng: random.Random,
        wall: Callable[[], float],
        restored: trio.Event,
    ) -> None:
        self.home = Follower(None, beliefs, tell, rng, wall, restored)
        """Of our own etcd, where we write as well."""
        self.others: dict[EtcdSource, Follower] = {}
        self.bundles: dict[str, BundleFollower] = {}
        """By peer."""
        self._beliefs = beliefs
        self._tell = tell
        self._rng = rng
        self._wall = wall
        self._restored = restored
        self._nursery: trio.Nursery | None = None

    async def run(self, etcd: EtcdClient) -> None:
        """Runs until cancelled, on our own etcd. Peers' etcds are opened and closed as the settings name them."""
        try:
            async with trio.open_nursery() as self._nursery:
                self._nursery.start_soon(self.home.follow, etcd)
                self.adjust()
        finally:
            self._nursery = None

    def adjust(self) -> None:
        """Follows what the settings name now, and nothing else. Before `run` it does nothing."""
        if self._nursery is not None:
            self._adjust_sources(self._nursery)
            self._adjust_bundles(self._nursery)

    def bookmarks(self) -> dict[str, Bookmark | None]:
        """How far each etcd was read."""
        found: dict[str, Bookmark | None] = {}
        for follower in (self.home, *self.others.values()):
            found |= follower.bookmarks()
        return found

    def list_again(self, source: EtcdSource | None) -> None:
        """Reads an etcd anew. One that is not followed yet begins with that anyway."""
        follower = self.home if source is None else self.others.get(source)
        if follower is not None:
            follower.list_again()

    def _adjust_sources(self, nursery: trio.Nursery) -> None:
        wanted = self._beliefs.readings.sources
        for source in self.others.keys() - wanted:
            self.others.pop(source).stop()
        for source in wanted - self.others.keys():
            follower = self.others[source] = Follower(
                source, self._beliefs, self._tell, self._rng, self._wall, self._restored
            )
            nursery.start_soon(follower.run, source)

    def _adjust_bundles(self, nursery: trio.Nursery) -> None:
        settings = self._beliefs.settings
        wanted = {cluster: peer for cluster, peer in settings.peers.items() if peer.endpoint is not None}
        for cluster, follower in [*self.bundles.items()]:
            if wanted.get(cluster) != follower.peer:
                self.bundles.pop(cluster).stop()
        for cluster in wanted.keys() - self.bundles.keys():
            directory = settings.state_dir / "bundles"
            follower = BundleFollower(cluster, wanted[cluster], directory, self._bundle_heard, self._rng, self._wall)
            self.bundles[cluster] = follower
            nursery.start_soon(follower.run)

    def _bundle_heard(self, follower: BundleFollower) -> None:
        heard = follower.heard_at is not None and not follower.problem
        self._beliefs.peers.follow(follower.cluster, follower.bundle, heard, trio.current_time(), self._wall())
        self._tell()
