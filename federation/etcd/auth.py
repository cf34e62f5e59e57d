"""The token that a name and password give. It expires (etcd: 300 s without use) and dies with a server's memory."""

from __future__ import annotations

import trio

from federation.etcd import etcd_pb2 as pb
from federation.etcd.errors import RpcError, error_from_rpc
from federation.etcd.grpc import GrpcConnection
from federation.etcd.methods import AUTHENTICATE


class Authenticator:
    """Gets a token when one is needed, once for all calls that wait for it."""

    def __init__(self, username: str, password: str) -> None:
        self.authentications = 0
        self._username = username
        self._password = password
        self._token: str | None = None
        self._lock = trio.Lock()

    @property
    def has_password(self) -> bool:
        return bool(self._username)

    @property
    def known(self) -> str | None:
        """The token that the next call will carry, if there is one already."""
        return self._token

    async def token(self, connection: GrpcConnection, timeout_s: float) -> str:
        """The token, or "" where none is needed. Raises EtcdError for a refusal, RpcError for a broken connection."""
        if not self._username:
            return ""
        async with self._lock:
            if self._token is None:
                self._token = await self._authenticate(connection, timeout_s)
            return self._token

    def forget(self, token: str | None) -> None:
        """The server did not take this token: the next call gets a new one, unless another call already has."""
        if self._token == token:
            self._token = None

    async def _authenticate(self, connection: GrpcConnection, timeout_s: float) -> str:
        request = pb.AuthenticateRequest(name=self._username, password=self._password)
        self.authentications += 1
        try:
            payload = await connection.unary(AUTHENTICATE.path, request.SerializeToString(), (), timeout_s)
        except RpcError as rpc:
            if "authentication is not enabled" in rpc.message:
                return ""  # Then etcd takes calls without a token, as its own clients make them.
            if rpc.lost:
                raise RpcError(rpc.status, rpc.message, unsent=True, lost=True) from rpc
            error = error_from_rpc(rpc, endpoint=connection.authority)
            if error.code == "unauthenticated":
                error.message = f"user {self._username!r} is refused: {error.message}"
            raise error from rpc
        return AUTHENTICATE.parse(payload, endpoint=connection.authority).token
