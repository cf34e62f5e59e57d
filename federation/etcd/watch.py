"""A watch that outlives connections: an iterator over everything that happens under a prefix, once and in order."""

from __future__ import annotations

from contextlib import ExitStack

import trio

from federation.etcd import etcd_pb2 as pb
from federation.etcd.channel import Channel
from federation.etcd.errors import EtcdError, RpcError, error_from_rpc
from federation.etcd.grpc import GrpcConnection
from federation.etcd.grpc_stream import GrpcStream
from federation.etcd.kv import KeyValue, prefix_end, read_kv
from federation.etcd.methods import RANGE, WATCH
from federation.etcd.watch_cursor import WatchBatch, WatchCursor

_FIRST_PAUSE_S = 0.05
_LAST_PAUSE_S = 2.0
# What waiting does not mend. Everything else is tried again for as long as the caller iterates.
_FINAL = frozenset({"compacted", "rewound", "permission_denied", "unauthenticated", "invalid_argument", "protocol"})


class Watch:
    """Iterate over it: `async for batch in watch`. One task iterates; a cancelled `__anext__` loses nothing.

    It reconnects by itself and goes on after the last batch that it has handed over. Iteration raises EtcdError for
    what only the caller can mend: `compacted` and `rewound` (`error.history_lost`: read again), `permission_denied`,
    `unauthenticated`. `interrupted` is the error that keeps it from delivering now, else None.
    """

    def __init__(
        self, channel: Channel, prefix: bytes, start_revision: int, witness: KeyValue | None, *, progress_notify: bool
    ) -> None:
        self.interrupted: EtcdError | None = None
        self._channel = channel
        self._prefix = prefix
        self._progress_notify = progress_notify
        self._cursor = WatchCursor(start_revision, witness)
        self._stream: GrpcStream | None = None
        self._connection: GrpcConnection | None = None
        self._resources = ExitStack()
        self._failures = 0
        self._member_revision: int | None = None
        self._token: str | None = None
        self._may_authenticate = channel.auth.has_password

    def __aiter__(self) -> Watch:
        return self

    async def __anext__(self) -> WatchBatch:
        while True:
            try:
                batch = await self._advance()
            except RpcError as rpc:
                await self._recover(error_from_rpc(rpc))
            except EtcdError as error:
                await self._recover(error)
            else:
                if batch is not None:
                    return batch

    def close(self) -> None:
        """Cancels it at the server. The client's `watch` does that on leaving its block."""
        self._stream = None
        self._member_revision = None
        self._resources.close()

    async def _advance(self) -> WatchBatch | None:
        stream = self._stream or await self._open()
        if self._member_revision is not None:
            await self._check_history(self._member_revision)
            self._member_revision = None
        payload = await stream.receive()
        if payload is None:
            raise EtcdError("unavailable", "etcd ended the watch without an error; it is shutting down")
        response = WATCH.parse(payload)
        batch = self._cursor.apply(response)
        if response.created:
            self._member_revision = response.header.revision
            self._failures = 0
            self._may_authenticate = self._channel.auth.has_password
            self.interrupted = None
        return batch

    async def _open(self) -> GrpcStream:
        self.close()
        connection = self._connection = await self._channel.wait_connection()
        metadata = await self._channel.stream_metadata(connection)
        self._token = self._channel.auth.known
        stream = self._resources.enter_context(connection.open_stream(WATCH.path, metadata))
        self._cursor.restart()
        create = pb.WatchCreateRequest(
            key=self._prefix or b"\0",
            range_end=prefix_end(self._prefix),
            start_revision=self._cursor.next_revision,
            progress_notify=self._progress_notify,
            fragment=True,
        )
        stream.send(pb.WatchRequest(create_request=create).SerializeToString(), end=False)
        self._stream = stream
        return stream

    async def _check_history(self, member_revision: int) -> None:
        """A member that is behind us may be a lagging follower; a quorum that is behind us has lost history.

        Without this, a watch on an etcd that was restored from a backup or started anew is silent until its revision
        has grown past ours, and then misses what came before. It may have grown by the time that we see it again, so
        that what we saw last is looked for as well."""
        if not self._cursor.is_behind(member_revision):
            if self._cursor.witness is not None:
                await self._check_witness(self._cursor.witness)
            return
        answer = await self._channel.call(RANGE, pb.RangeRequest(key=self._prefix or b"\0", limit=1))
        if self._cursor.is_behind(answer.header.revision):
            raise EtcdError(
                "rewound",
                f"etcd is at revision {answer.header.revision}, before {self._cursor.next_revision} where the watch "
                "goes on: it was restored from a backup or replaced; read again",
            )

    async def _check_witness(self, witness: KeyValue) -> None:
        """Where that revision is compacted nobody can tell, and the error says so."""
        asked = pb.RangeRequest(key=witness.key, limit=1, revision=witness.mod_revision)
        answer = await self._channel.call(RANGE, asked)
        if [read_kv(kv) for kv in answer.kvs] != [witness]:
            raise EtcdError(
                "rewound",
                f"etcd has another history than the one that was seen up to revision {witness.mod_revision}: it was "
                "restored from a backup or replaced; read again",
            )

    async def _recover(self, error: EtcdError) -> None:
        self.close()
        # etcd 3.5.1 refuses a watch with an expired token as "permission denied" too, so that is asked once again.
        if error.code in ("unauthenticated", "permission_denied") and self._may_authenticate:
            self._may_authenticate = False
            self._channel.auth.forget(self._token)
        elif error.code in _FINAL:
            raise error
        self.interrupted = error
        if error.code == "no_leader" and self._connection is not None:
            self._channel.leave(self._connection, error.message)
        pause_s = min(_LAST_PAUSE_S, _FIRST_PAUSE_S * 2.0 ** min(self._failures, 10))
        self._failures += 1
        await trio.sleep(pause_s)
