"""Following etcd: list, then watch from that revision; list again when the watch can't go on. Thin: what is read goes
to a `Reader`, which decides."""

from __future__ import annotations

import random
from collections.abc import Callable, Iterator, Sequence
from typing import NamedTuple, Protocol, TypeVar

import msgspec
import trio

from federation.etcd.client import EtcdClient
from federation.etcd.errors import EtcdError
from federation.etcd.kv import KeyRange, KeyValue, RangeNews, RangeResult
from federation.etcd.watch import Watch
from federation.etcd.watch_cursor import WatchBatch, WatchEvent
from federation.paths import vouches
from federation.peer_keys import Claim
from federation.signatures import WORTH_A_THREAD, check_signatures

_FIRST_BACKOFF_S = 0.1
_LAST_BACKOFF_S = 5.0
_AWAY = frozenset({"unavailable", "no_leader"})
"""etcd can't be asked for anything now."""
_MONITOR_S = 0.2
"""How soon a broken watch is noticed. The watch mends itself; that it is broken matters to freshness only."""
_TURN = 32
"""Records handled in one go: each costs about 0.1 ms, and others want the event loop too."""
_SHARE = 1_024
"""Records that are looked at in one go where that is all: a few microseconds each."""
_TOLD = 128
"""Records after which others are told what has come so far: sockets are opened, workers hear of it. That is 0.1 ms for
each, in one go."""


class Reader(Protocol):
    """What is told of what lies in etcd, in the order of its revisions."""

    def remembered(self) -> Remembered | None:
        """What the next listing may leave out; called at any time, also before the disk is read."""

    async def wait_restored(self) -> None:
        """Returns when the disk is read. Nothing that follows is called before."""

    def listing_began(self, news: Sequence[RangeNews]) -> list[RangeNews]:
        """`news` are of what was remembered. Those are returned beyond which nothing needs to be listed there: they
        are handed to `found`."""

    def unknown(self, listed: Sequence[KeyValue]) -> list[KeyValue]:
        """What of a listing is not known already, and is to be handed to `found`."""

    def claim(self, kv: KeyValue) -> Claim | None:
        """What of this should be checked in a thread before it is handed to `found`."""

    def left_out_after(self, key: bytes) -> KeyRange | None:
        """The next range of keys that need not be listed."""

    def found(self, kv: KeyValue, proof: bytes) -> None:
        """This lies in etcd. `proof` is the `key_id` of what `claim` said, if that was found true."""

    def gone(self, kv: KeyValue) -> None:
        """`kv.key` was deleted, or its lease ended, at `kv.mod_revision`."""

    def listing_ended(self) -> None: ...

    def caught_up(self) -> None:
        """The end of a page or batch: a moment to tell others."""

    def link_changed(self, link: EtcdLink) -> None: ...


class Remembered(NamedTuple):
    """Ranges of keys that were known as a whole when `witness` was the latest that had been put."""

    witness: KeyValue
    ranges: list[KeyRange]


class EtcdLink(msgspec.Struct, frozen=True):
    """How well we see an etcd. `synced`: listed, and watched without interruption since."""

    synced: bool
    problem: str = ""


class Subscriber:
    """Follows everything under `prefix` of one etcd for as long as `run` runs."""

    def __init__(self, etcd: EtcdClient, prefix: bytes, reader: Reader, rng: random.Random) -> None:
        self.link = EtcdLink(False, "not read yet")
        self._latest: KeyValue | None = None
        """The latest put that was taken in."""
        self._listed = False
        """Whether all that was put before was taken in as well."""
        self._etcd = etcd
        self._prefix = prefix
        self._reader = reader
        self._rng = rng
        self._watch: Watch | None = None
        self._scope = trio.CancelScope()

    @property
    def witness(self) -> KeyValue | None:
        """The latest that was put, where all that was put until then was taken in; else None."""
        return self._latest if self._listed else None

    async def run(self) -> None:
        async with trio.open_nursery() as nursery:
            nursery.start_soon(self._monitor)
            await self._follow()

    def list_again(self) -> None:
        """Reads everything anew: something that could not be judged before can be judged now."""
        self._listed = False
        self._scope.cancel()

    async def _follow(self) -> None:
        failures = 0
        while True:
            try:
                # Made before the listing, so that whoever wants another during this one gets it.
                with trio.CancelScope() as self._scope:
                    revision = await self._list()
                    failures = 0
                    self._set_link(EtcdLink(True))
                    await self._watch_from(revision + 1)
            except EtcdError as error:
                self._set_link(EtcdLink(False, str(error)))
                if error.history_lost and not failures:
                    failures = 1
                    continue
                backoff_s = min(_LAST_BACKOFF_S, _FIRST_BACKOFF_S * 2.0 ** min(failures, 10))
                failures += 1
                await trio.sleep(backoff_s * self._rng.uniform(0.5, 1.0))

    async def _list(self) -> int:
        """Returns at which revision."""
        self._listed = False
        remembered = self._reader.remembered()
        news = await self._ask_for_news(remembered) if remembered is not None else []
        await self._reader.wait_restored()
        known = self._reader.listing_began(news)
        latest = remembered.witness if remembered is not None and known else None
        failure: EtcdError | None = None
        async with trio.open_nursery() as nursery:
            send, pages = trio.open_memory_channel[RangeResult | EtcdError](0)
            nursery.start_soon(self._read_ahead, known, send)
            async for page in pages:
                if isinstance(page, EtcdError):
                    failure = page
                    break
                revision = page.revision
                latest = max((*page.kvs, *filter(None, [latest])), key=_revision_of, default=None)
                await self._hand_over_page(page.kvs)
                self._reader.caught_up()
        if failure is not None:
            raise failure
        self._latest, self._listed = latest, True
        self._reader.listing_ended()
        self._reader.caught_up()
        return revision

    async def _ask_for_news(self, remembered: Remembered) -> list[RangeNews]:
        """What was put into each of the ranges since, all at one revision; nothing where etcd has another history, or
        can't say: a listing asks for less at a time."""
        news: list[RangeNews] = []
        witness, ranges = remembered
        try:
            if ranges and await self._etcd.remembers(witness):
                for keys in ranges:
                    revision = news[0].revision if news else 0
                    news.append(await self._etcd.read_news(keys, since=witness.mod_revision, revision=revision))
        except EtcdError as error:
            if error.code in _AWAY:
                raise
            return []
        return news

    async def _read_ahead(
        self, known: Sequence[RangeNews], send: trio.MemorySendChannel[RangeResult | EtcdError]
    ) -> None:
        """Pages, each read while the one before it is taken in, and last the news of what is not listed: the bundles
        come before what they vouch for. At the end the error that ended them, if one did."""
        left_out = [news.keys for news in known]
        revision = known[0].revision if known else 0
        async with send:
            try:
                async for page in self._etcd.read_pages(
                    self._prefix, revision=revision, left_out=left_out, gap=self._reader.left_out_after
                ):
                    await send.send(page)
                for news in known:
                    await send.send(RangeResult(news.revision, news.kvs))
            except EtcdError as error:
                await send.send(error)

    async def _watch_from(self, revision: int) -> None:
        async with self._etcd.watch(self._prefix, start_revision=revision, witness=self._latest) as self._watch:
            try:
                async for batch in self._watch:
                    await self._take(batch)
            finally:
                self._watch = None

    async def _take(self, batch: WatchBatch) -> None:
        # Shielded: a batch that was begun is taken whole, because the watch has moved past it.
        with trio.CancelScope(shield=True):
            await self._hand_over(batch.events)
        self._latest = batch.latest_put or self._latest
        if batch.events:
            self._reader.caught_up()

    async def _hand_over_page(self, listed: Sequence[KeyValue]) -> None:
        """Up to each record that vouches for what comes after it."""
        for part in _up_to_vouchers(listed, lambda kv: kv.key):
            new: list[KeyValue] = []
            for begin in range(0, len(part), _SHARE):
                new += self._reader.unknown(part[begin : begin + _SHARE])
                await trio.lowlevel.checkpoint()
            await self._hand_over_part([WatchEvent("put", kv) for kv in new])

    async def _hand_over(self, events: Sequence[WatchEvent]) -> None:
        for part in _up_to_vouchers(events, lambda event: event.kv.key):
            await self._hand_over_part(part)

    async def _hand_over_part(self, part: Sequence[WatchEvent]) -> None:
        """In order, with the signatures checked in threads where there are many."""
        proofs = await self._check(part) if len(part) >= WORTH_A_THREAD else [b""] * len(part)
        for index, (event, proof) in enumerate(zip(part, proofs, strict=True), 1):
            if event.kind == "put":
                self._reader.found(event.kv, proof)
            else:
                self._reader.gone(event.kv)
            if index % _TOLD == 0:
                self._reader.caught_up()
            if index % _TURN == 0:
                await trio.lowlevel.checkpoint()

    async def _check(self, part: Sequence[WatchEvent]) -> list[bytes]:
        claims: list[Claim | None] = []
        for index, event in enumerate(part, 1):
            claims.append(self._reader.claim(event.kv) if event.kind == "put" else None)
            if index % _SHARE == 0:
                await trio.lowlevel.checkpoint()
        return await check_signatures(claims)

    async def _monitor(self) -> None:
        while True:
            await trio.sleep(_MONITOR_S)
            if self._watch is not None:
                interrupted = self._watch.interrupted
                self._set_link(EtcdLink(True) if interrupted is None else EtcdLink(False, str(interrupted)))

    def _set_link(self, link: EtcdLink) -> None:
        if link != self.link:
            self.link = link
            self._reader.link_changed(link)


def _revision_of(kv: KeyValue) -> int:
    return kv.mod_revision


_T = TypeVar("_T")


def _up_to_vouchers(what: Sequence[_T], key: Callable[[_T], bytes]) -> Iterator[Sequence[_T]]:
    """In parts that end with a bundle or a digest, but for the last."""
    begin = 0
    for end in [*(i + 1 for i, one in enumerate(what) if vouches(key(one))), len(what)]:
        yield what[begin:end]
        begin = end
