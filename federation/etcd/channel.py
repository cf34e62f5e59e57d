"""Calls to an etcd cluster: one connection at a time, another endpoint when it fails, a token when one is asked for.

What is repeated and what not is decided here. A read is sent again when its connection or member failed, within the
call's deadline. A write is sent again only when the server provably did not get it; else its outcome is unknown.
"""

from __future__ import annotations

import random
from collections.abc import Awaitable, Callable

import trio

from federation.etcd.auth import Authenticator
from federation.etcd.config import Endpoint, EtcdConfig, parse_endpoints
from federation.etcd.dial import DIAL_TIMEOUT_S, dial, explain_alert
from federation.etcd.endpoints import EndpointRing
from federation.etcd.errors import EtcdError, RpcError, error_from_rpc
from federation.etcd.grpc import GrpcConnection, Metadata
from federation.etcd.methods import AnswerT, Method, RequestT

_ATTEMPTS = 4
_RETRY_PAUSE_S = 0.05


class Channel:
    """Keeps a connection while `run` runs, and makes calls on it."""

    def __init__(self, config: EtcdConfig, rng: random.Random) -> None:
        self.ring = EndpointRing(parse_endpoints(config), rng)
        self.auth = Authenticator(config.username, config.password)
        self.connections = 0
        self.retries = 0
        self.current: GrpcConnection | None = None
        self._config = config
        self._changed = trio.Event()
        self._ended_calls = 0
        self._ended_pings = 0

    async def run(self) -> None:
        """Connects, and connects again whenever the connection ends, for ever. Never raises for a peer's fault."""
        while True:
            endpoint, pause_s = self.ring.next_attempt()
            await trio.sleep(pause_s)
            error = await self._serve(endpoint)
            self.ring.failed(error, trio.current_time())
            self._announce()

    @property
    def calls(self) -> int:
        return self._ended_calls + (self.current.statistics().calls if self.current else 0)

    @property
    def pings(self) -> int:
        return self._ended_pings + (self.current.statistics().pings if self.current else 0)

    async def wait_connection(self) -> GrpcConnection:
        """The connection, however long it takes."""
        while self.current is None or self.current.closed_because:
            await self._changed.wait()
        return self.current

    async def call(self, method: Method[RequestT, AnswerT], request: RequestT, *, leader: bool = True) -> AnswerT:
        """One unary call within the configured timeout. Raises EtcdError.

        With `leader`, a member that has lost its quorum says so at once instead of letting the call time out.
        """
        deadline = trio.current_time() + self._config.call_timeout_s
        payload = request.SerializeToString()

        async def once(connection: GrpcConnection) -> AnswerT:
            metadata = await self.metadata(connection, deadline, leader=leader)
            answer = await connection.unary(method.path, payload, metadata, _left_s(deadline))
            return method.parse(answer, endpoint=connection.authority)

        return await self._attempt(once, deadline, writes=method.writes)

    async def metadata(self, connection: GrpcConnection, deadline: float, *, leader: bool) -> Metadata:
        """The fields that go with a call. May authenticate first."""
        token = await self.auth.token(connection, _left_s(deadline))
        fields: list[tuple[bytes, bytes]] = []
        if token:
            fields.append((b"token", token.encode()))
        if leader:
            fields.append((b"hasleader", b"true"))
        return fields

    async def stream_metadata(self, connection: GrpcConnection) -> Metadata:
        """The same for a stream, which has no deadline of its own."""
        return await self.metadata(connection, trio.current_time() + self._config.call_timeout_s, leader=True)

    def leave(self, connection: GrpcConnection, because: str) -> None:
        """Moves on to another endpoint, if there is one: this member answers, but cannot serve."""
        if self.ring.has_choice:
            connection.close(because)

    async def _attempt(
        self, once: Callable[[GrpcConnection], Awaitable[AnswerT]], deadline: float, *, writes: bool
    ) -> AnswerT:
        attempts_left, may_authenticate = _ATTEMPTS, self.auth.has_password
        while True:
            connection = await self._connection_by(deadline)
            token = self.auth.known
            attempts_left -= 1
            try:
                return await once(connection)
            except RpcError as rpc:
                error = error_from_rpc(rpc, endpoint=connection.authority, writes=writes)
                if error.code == "unauthenticated" and may_authenticate:
                    may_authenticate = False
                    self.auth.forget(token)
                elif not attempts_left or not self._may_repeat(rpc, error, connection, writes=writes):
                    raise error from rpc
            self.retries += 1
            await trio.sleep(min(_RETRY_PAUSE_S, _left_s(deadline)))

    def _may_repeat(self, rpc: RpcError, error: EtcdError, connection: GrpcConnection, *, writes: bool) -> bool:
        if error.code == "no_leader":
            # Nothing was proposed, so a write may go to another member as well.
            self.leave(connection, error.message)
            return self.ring.has_choice
        if rpc.unsent:
            return rpc.lost
        return not writes and error.code == "unavailable"

    async def _connection_by(self, deadline: float) -> GrpcConnection:
        with trio.move_on_at(deadline):
            while self.current is None or self.current.closed_because:
                if self.current is None and self.ring.hopeless:
                    raise EtcdError("unavailable", f"no endpoint can be reached: {self.ring.describe()}")
                await self._changed.wait()
            return self.current
        waited_s = self._config.call_timeout_s
        raise EtcdError("unavailable", f"not connected within {waited_s:g} s: {self.ring.describe()}")

    async def _serve(self, endpoint: Endpoint) -> str:
        """Uses one endpoint until its connection ends; returns why."""
        give_up_at = trio.current_time() + DIAL_TIMEOUT_S
        try:
            with trio.move_on_at(give_up_at) as dialling:
                transport = await dial(endpoint, self._config)
        except EtcdError as error:
            return error.message
        if dialling.cancelled_caught:
            return f"cannot connect: no answer within {DIAL_TIMEOUT_S:g} s"
        connection = GrpcConnection(transport, authority=endpoint.authority, scheme=endpoint.scheme)
        was_ready = False
        try:
            async with trio.open_nursery() as nursery:
                nursery.start_soon(connection.run)
                with trio.move_on_at(give_up_at):
                    await connection.ready.wait()
                was_ready = connection.ready.is_set() and not connection.closed_because
                if was_ready:
                    self._take(connection)
                else:
                    connection.close(f"it accepts connections but says nothing within {DIAL_TIMEOUT_S:g} s")
        finally:
            self.current = None
            self._ended_calls += connection.statistics().calls
            self._ended_pings += connection.statistics().pings
        return self._explain_end(connection.closed_because, endpoint, was_ready=was_ready)

    def _explain_end(self, because: str, endpoint: Endpoint, *, was_ready: bool) -> str:
        if not was_ready and endpoint.scheme == "http":
            return f"{because}; if the server speaks TLS, write the endpoint as https://"
        return explain_alert(because, self._config)

    def _take(self, connection: GrpcConnection) -> None:
        self.ring.connected(trio.current_time())
        self.connections += 1
        self.current = connection
        self._announce()

    def _announce(self) -> None:
        self._changed.set()
        self._changed = trio.Event()


def _left_s(deadline: float) -> float:
    return max(0.0, deadline - trio.current_time())
