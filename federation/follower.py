"""Following one etcd: hands what its subscriber reads to the beliefs, with where it was read.

Our own etcd's client is opened by who runs us, because we write there as well; that of a peer is opened here, and is
only read.
"""

from __future__ import annotations

import logging
import random
from collections.abc import Callable, Sequence

import trio

from federation.beliefs import Beliefs
from federation.bookmark import Bookmark, name_of
from federation.etcd.client import EtcdClient, open_etcd
from federation.etcd.errors import EtcdError
from federation.etcd.kv import KeyRange, KeyValue, RangeNews
from federation.peer_keys import Claim
from federation.readings import Found
from federation.settings import EtcdSource
from federation.subscriber import EtcdLink, Remembered, Subscriber

log = logging.getLogger("isthmus.federation")

_RETRY_S = 5.0
"""How often files that can't be used are tried again: somebody may be renewing them."""
_WORTH_ASKING = 256
"""Keys of a cluster on disk for which it is asked what is new among them; fewer are listed as quickly."""


class Follower:
    """Follows the etcd `source` (None: ours). Implements `federation.subscriber.Reader`; `tell` is called when there
    may be something to tell others, `wall` gives Unix seconds. What the disk held is known when `restored` is set."""

    def __init__(
        self,
        source: EtcdSource | None,
        beliefs: Beliefs,
        tell: Callable[[], None],
        rng: random.Random,
        wall: Callable[[], float],
        restored: trio.Event,
    ) -> None:
        self.source = source
        self.link = EtcdLink(False, "not started yet")
        self.client: EtcdClient | None = None
        self._beliefs = beliefs
        self._tell = tell
        self._rng = rng
        self._wall = wall
        self._subscriber: Subscriber | None = None
        self._scope = trio.CancelScope()
        self._began = 0.0
        self._restored = restored
        self._unread = 0
        self._name = name_of(source)

    def __repr__(self) -> str:
        return f"Follower({self.urls or 'our etcd'}, {self.link})"

    @property
    def urls(self) -> tuple[str, ...]:
        return self.source.access.endpoints if self.source is not None else ()

    def bookmarks(self) -> dict[str, Bookmark | None]:
        """How far it was read by now, by its name; None: not to any end. Empty before reading began: what was said
        before holds."""
        if self._subscriber is None or self._name in self._beliefs.cache.bookmarks:
            return {}
        witness = self._subscriber.witness
        return {self._name: Bookmark(witness, self._beliefs.whole(self.source)) if witness is not None else None}

    async def run(self, source: EtcdSource) -> None:
        """Opens a peer's etcd and follows it until `stop`. A file that can't be used is said in `link`, and is never
        fatal: the peer's owner gave it to us, and may renew it."""
        with self._scope:
            while True:
                try:
                    async with open_etcd(source.access) as client:
                        await self.follow(client)
                except EtcdError as error:
                    self.link_changed(EtcdLink(False, str(error)))
                    await trio.sleep(_RETRY_S)

    async def follow(self, client: EtcdClient) -> None:
        """Follows the etcd of this client until cancelled."""
        self.client, self.link = client, EtcdLink(False, "not read yet")
        self._subscriber = Subscriber(client, self._beliefs.readings.prefix(self.source), self, self._rng)
        await self._subscriber.run()

    def stop(self) -> None:
        self._scope.cancel()

    def list_again(self) -> None:
        """Reads everything anew, once it is read at all."""
        if self._subscriber is not None:
            self._subscriber.list_again()

    # federation.subscriber.Reader

    async def wait_restored(self) -> None:
        await self._restored.wait()

    def remembered(self) -> Remembered | None:
        cache = self._beliefs.cache
        bookmark = cache.bookmarks.get(self._name)
        if bookmark is None or not bookmark.witness.key.startswith(self._beliefs.readings.prefix(self.source)):
            return None
        worth_it = [name for name in bookmark.clusters if cache.count(name) >= _WORTH_ASKING]
        return Remembered(bookmark.witness, self._beliefs.readings.ranges(worth_it, self.source))

    def listing_began(self, news: Sequence[RangeNews]) -> list[RangeNews]:
        self._began = trio.current_time()
        self._beliefs.cache.bookmarks.pop(self._name, None)
        known = self._beliefs.listing_began(self._wall(), self.source, news)
        self._unread = sum(one.count - len(one.kvs) for one in known)
        return known

    def claim(self, kv: KeyValue) -> Claim | None:
        return self._beliefs.readings.claim(kv.key, kv.value, self.source)

    def unknown(self, listed: Sequence[KeyValue]) -> list[KeyValue]:
        return self._beliefs.recognition.unknown(listed, self.source)

    def left_out_after(self, key: bytes) -> KeyRange | None:
        return self._beliefs.readings.vips_after(key, self.source)

    def found(self, kv: KeyValue, proof: bytes) -> None:
        found = Found(kv.key, kv.value, kv.lease, kv.mod_revision, proof)
        self._beliefs.found(found, trio.current_time(), self._wall(), self.source)

    def gone(self, kv: KeyValue) -> None:
        self._beliefs.gone(kv.key, kv.mod_revision, trio.current_time(), self._wall(), self.source)

    def listing_ended(self) -> None:
        self._beliefs.listing_ended(trio.current_time(), self._wall(), self.source)

    def caught_up(self) -> None:
        self._beliefs.listing_goes_on(trio.current_time(), self.source)
        self._tell()

    def link_changed(self, link: EtcdLink) -> None:
        name = f"etcd {', '.join(self.urls)}" if self.source is not None else "etcd"
        if link.synced:
            read_in_s = trio.current_time() - self._began
            log.info(
                "%s: read in %.1f s, %d of its keys as the disk has them, and followed from here",
                name,
                read_in_s,
                self._unread,
            )
        else:
            log.warning("%s can't be followed, what is known stays in use: %s", name, link.problem)
        self.link = link
        self._beliefs.observe_etcd(link.synced, trio.current_time(), self._wall(), self.source)
        self._tell()
