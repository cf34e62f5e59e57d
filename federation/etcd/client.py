"""The etcd client: what the rest of Isthmus may ask of etcd.

`open_etcd` needs no server: it connects in the background and goes on trying; meanwhile calls fail with `unavailable`.
"""

from __future__ import annotations

import random
from collections.abc import AsyncIterator, Callable, Iterator, Sequence
from contextlib import asynccontextmanager, contextmanager

import msgspec
import trio

from federation.etcd import etcd_pb2 as pb
from federation.etcd.channel import Channel
from federation.etcd.config import EtcdConfig
from federation.etcd.endpoints import EndpointState
from federation.etcd.errors import EtcdError
from federation.etcd.kv import (
    Compare,
    KeyRange,
    KeyValue,
    Op,
    RangeNews,
    RangeResult,
    TxnResult,
    build_txn,
    prefix_end,
    read_kv,
    read_txn,
)
from federation.etcd.lease import Lease
from federation.etcd.lease_clock import whole_seconds
from federation.etcd.methods import DELETE_RANGE, LEASE_GRANT, PUT, RANGE, STATUS, TXN
from federation.etcd.watch import Watch

_PAGE_KEYS = 5000
"""The fastest of those that were measured: 100,000 keys of 500 bytes in 0.7 s."""
_READ_ATTEMPTS = 3


class ServerStatus(msgspec.Struct, frozen=True):
    """What the connected member says of itself. `leader` is a member's number, 0 when there is none."""

    version: str
    revision: int
    raft_index: int
    leader: int


class EtcdStatistics(msgspec.Struct, frozen=True):
    """Counters since the client was opened; `open_streams` and `watches` are gauges."""

    open_streams: int
    watches: int
    calls: int
    retries: int
    connections: int
    authentications: int
    pings: int


class EtcdClient:
    """Made by `open_etcd`. Every call raises EtcdError, and nothing else, for what goes wrong at etcd or on the way;
    a cancelled call is reset at the server at once (a cancelled write may have happened nevertheless)."""

    def __init__(self, channel: Channel) -> None:
        self._channel = channel
        self._watches = 0

    @property
    def connected(self) -> bool:
        """Whether there is a connection whose server has spoken."""
        return self._channel.current is not None

    @property
    def endpoints(self) -> tuple[EndpointState, ...]:
        """Each endpoint with its last error."""
        return self._channel.ring.states

    async def wait_connected(self) -> None:
        """Returns when there is a connection, however long that takes."""
        await self._channel.wait_connection()

    async def get(self, key: bytes) -> KeyValue | None:
        answer = await self._channel.call(RANGE, pb.RangeRequest(key=key))
        return read_kv(answer.kvs[0]) if answer.kvs else None

    async def read_prefix(
        self, prefix: bytes, *, page_keys: int = _PAGE_KEYS, serializable: bool = False
    ) -> RangeResult:
        """All keys under a prefix as they were at one revision. `serializable` asks one member only: it answers
        without a quorum, and may be behind."""
        attempts_left = _READ_ATTEMPTS
        while True:
            attempts_left -= 1
            kvs: list[KeyValue] = []
            revision = 0
            try:
                async for page in self.read_pages(prefix, page_keys=page_keys, serializable=serializable):
                    kvs += page.kvs
                    revision = page.revision
            except EtcdError as error:
                # The revision of the first page was compacted while the next ones were read.
                if error.history_lost and attempts_left:
                    continue
                raise
            return RangeResult(revision, kvs)

    async def read_pages(
        self,
        prefix: bytes,
        *,
        page_keys: int = _PAGE_KEYS,
        serializable: bool = False,
        revision: int = 0,
        left_out: Sequence[KeyRange] = (),
        gap: Callable[[bytes], KeyRange | None] = lambda key: None,
    ) -> AsyncIterator[RangeResult]:
        """The same in pages of at most `page_keys`, each at `revision`, or else at that of the first. At least one page
        comes.

        What lies in the ranges `left_out` is not read. `gap` says, of the last key of a page, which range at or after
        it is of no interest either: what of it is not read already is left out. Raises EtcdError `compacted` when that
        revision is compacted meanwhile: begin again."""
        end = prefix_end(prefix)
        holes = sorted(left_out)
        request = pb.RangeRequest(key=prefix or b"\0", limit=page_keys, revision=revision, serializable=serializable)
        while True:
            hole = next((hole for hole in holes if request.key < hole.end), None)
            if hole is not None and hole.begin <= request.key:
                request.key = hole.end
                continue
            request.range_end = hole.begin if hole is not None else end
            answer = await self._channel.call(RANGE, request, leader=not serializable)
            request.revision = request.revision or answer.header.revision
            yield RangeResult(request.revision, [read_kv(kv) for kv in answer.kvs])
            if answer.more:
                request.key = answer.kvs[-1].key + b"\0"
                if (found := gap(answer.kvs[-1].key)) is not None and found not in holes:
                    holes = sorted([*holes, found])
            elif hole is not None:
                request.key = hole.end
            else:
                return

    async def read_news(
        self, keys: KeyRange, *, since: int, revision: int = 0, page_keys: int = _PAGE_KEYS
    ) -> RangeNews:
        """What was put into a range after the revision `since` and still lies there, as it is at `revision` (0: now),
        and how many keys there are in all. etcd reads all of them to tell, and sends these only."""
        request = pb.RangeRequest(
            key=keys.begin, range_end=keys.end, min_mod_revision=since + 1, revision=revision, limit=page_keys
        )
        answer = await self._channel.call(RANGE, request)
        kvs = [read_kv(kv) for kv in answer.kvs]
        return RangeNews(keys, revision or answer.header.revision, kvs, answer.count, not answer.more)

    async def remembers(self, witness: KeyValue) -> bool:
        """Whether this etcd has the history that `witness` was seen in: byte for byte, that lies or lay there at that
        revision. False as well where nobody can tell, because it was replaced and its revision is compacted."""
        for revision in (0, witness.mod_revision):
            request = pb.RangeRequest(key=witness.key, revision=revision)
            try:
                answer = await self._channel.call(RANGE, request)
            except EtcdError as error:
                if error.history_lost:
                    return False
                raise
            if [read_kv(kv) for kv in answer.kvs] == [witness]:
                return True
        return False

    async def put(self, key: bytes, value: bytes, *, lease: int = 0) -> int:
        """Returns the revision that it made."""
        answer = await self._channel.call(PUT, pb.PutRequest(key=key, value=value, lease=lease))
        return answer.header.revision

    async def delete(self, key: bytes) -> int:
        """Returns how many keys were deleted: 1, or 0 if there was none."""
        answer = await self._channel.call(DELETE_RANGE, pb.DeleteRangeRequest(key=key))
        return answer.deleted

    async def delete_prefix(self, prefix: bytes) -> int:
        """Returns how many keys were deleted."""
        request = pb.DeleteRangeRequest(key=prefix or b"\0", range_end=prefix_end(prefix))
        answer = await self._channel.call(DELETE_RANGE, request)
        return answer.deleted

    async def txn(self, compare: Sequence[Compare], success: Sequence[Op], failure: Sequence[Op] = ()) -> TxnResult:
        """Does `success` if all of `compare` hold, else `failure`, as one revision. At most 128 entries in each."""
        return read_txn(await self._channel.call(TXN, build_txn(compare, success, failure)))

    @asynccontextmanager
    async def watch(
        self, prefix: bytes, *, start_revision: int, progress_notify: bool = True, witness: KeyValue | None = None
    ) -> AsyncIterator[Watch]:
        """Everything under a prefix from `start_revision` on (that one included): after `read_prefix`, its
        `revision + 1`. With `progress_notify`, etcd reports its revision from time to time while nothing happens.
        `witness` is the latest that was read: it tells this etcd from one that was put in its place meanwhile."""
        watch = Watch(self._channel, prefix, start_revision, witness, progress_notify=progress_notify)
        with self._counted(watch):
            yield watch

    async def grant_lease(self, ttl_s: float) -> Lease:
        """A lease of at least `ttl_s` seconds; etcd may give more. Run its `keep_alive` in a task."""
        asked_at = trio.current_time()
        answer = await self._channel.call(LEASE_GRANT, pb.LeaseGrantRequest(TTL=whole_seconds(ttl_s)))
        return Lease(self._channel, answer.ID, answer.TTL, asked_at)

    async def status(self) -> ServerStatus:
        """The connected member's own view; it answers without a quorum."""
        answer = await self._channel.call(STATUS, pb.StatusRequest(), leader=False)
        return ServerStatus(answer.version, answer.header.revision, answer.raftIndex, answer.leader)

    def statistics(self) -> EtcdStatistics:
        channel = self._channel
        return EtcdStatistics(
            open_streams=channel.current.statistics().open_streams if channel.current else 0,
            watches=self._watches,
            calls=channel.calls,
            retries=channel.retries,
            connections=channel.connections,
            authentications=channel.auth.authentications,
            pings=channel.pings,
        )

    @contextmanager
    def _counted(self, watch: Watch) -> Iterator[None]:
        self._watches += 1
        try:
            yield
        finally:
            self._watches -= 1
            watch.close()


@asynccontextmanager
async def open_etcd(config: EtcdConfig) -> AsyncIterator[EtcdClient]:
    """A client for as long as the block runs. Raises EtcdError `bad_config` at once for what can never work (a
    malformed endpoint, an unreadable file); a server that is down is no error here."""
    channel = Channel(config, random.Random())
    failure: Exception | None = None
    async with trio.open_nursery() as nursery:
        nursery.start_soon(channel.run)
        try:
            yield EtcdClient(channel)
        except Exception as error:
            # Raised after the nursery, which would wrap it in a group of one.
            failure = error
        nursery.cancel_scope.cancel()
    if failure is not None:
        raise failure
