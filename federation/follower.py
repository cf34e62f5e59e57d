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
from federation.etcd.client import EtcdClient, open_etcd
from federation.etcd.errors import EtcdError
from federation.etcd.kv import KeyValue
from federation.peer_keys import Claim
from federation.readings import Found
from federation.settings import EtcdSource
from federation.subscriber import EtcdLink, Subscriber

log = logging.getLogger("isthmus.federation")

_RETRY_S = 5.0
"""How often files that can't be used are tried again: somebody may be renewing them."""


class Follower:
    """Follows the etcd `source` (None: ours). Implements `federation.subscriber.Reader`; `tell` is called when there
    may be something to tell others, `wall` gives Unix seconds."""

    def __init__(
        self,
        source: EtcdSource | None,
        beliefs: Beliefs,
        tell: Callable[[], None],
        rng: random.Random,
        wall: Callable[[], float],
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

    def __repr__(self) -> str:
        return f"Follower({self.urls or 'our etcd'}, {self.link})"

    @property
    def urls(self) -> tuple[str, ...]:
        return self.source.access.endpoints if self.source is not None else ()

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

    def listing_began(self) -> None:
        self._began = trio.current_time()
        self._beliefs.listing_began(self._wall(), self.source)

    def claim(self, kv: KeyValue) -> Claim | None:
        return self._beliefs.readings.claim(kv.key, kv.value, self.source)

    def unknown(self, listed: Sequence[KeyValue]) -> list[KeyValue]:
        return self._beliefs.recognition.unknown(listed, self.source)

    def left_out_after(self, key: bytes) -> tuple[bytes, bytes] | None:
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
            log.info("%s: read in %.1f s, and followed from here", name, trio.current_time() - self._began)
        else:
            log.warning("%s can't be followed, what is known stays in use: %s", name, link.problem)
        self.link = link
        self._beliefs.observe_etcd(link.synced, trio.current_time(), self._wall(), self.source)
        self._tell()
