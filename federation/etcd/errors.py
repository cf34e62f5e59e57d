"""What can go wrong with etcd, and the one exception that says it.

gRPC has seventeen status codes and etcd puts its meaning into the message beside them, so both are read here, once:
everything above this module asks for `EtcdError.code` only.
"""

from __future__ import annotations

from typing import Literal, TypeAlias

import msgspec

EtcdErrorCode: TypeAlias = Literal[
    "bad_config",  # A file or endpoint in the configuration cannot be used.
    "compacted",  # The revision asked for is gone: read again, then watch from there.
    "deadline_exceeded",  # A read got no answer in time.
    "exhausted",  # etcd, or the connection to it, takes no more requests now.
    "invalid_argument",
    "no_leader",  # etcd has no quorum.
    "no_space",  # etcd's quota is used up; it is read-only.
    "not_found",
    "permission_denied",
    "protocol",  # What answered does not speak etcd's API as it should.
    "rewound",  # etcd's history is shorter than what was seen of it: it was restored or replaced. Read again.
    "server_error",
    "too_large",
    "unauthenticated",
    "unavailable",  # No endpoint can be reached. Nothing was changed.
    "unknown_outcome",  # A write was sent and no answer came: it may have happened, now or later.
]


class EtcdError(Exception):
    """A call to etcd failed. `code` is bounded: callers go by it. `str()` is for the operator.

    `compact_revision` is set with `compacted`, where etcd says it: the oldest revision that can still be watched.
    """

    def __init__(self, code: EtcdErrorCode, message: str, *, endpoint: str = "", compact_revision: int = 0) -> None:
        super().__init__(message)
        self.code: EtcdErrorCode = code
        self.message = message
        self.endpoint = endpoint
        self.compact_revision = compact_revision

    def __str__(self) -> str:
        return f"etcd {self.endpoint}: {self.message}" if self.endpoint else f"etcd: {self.message}"

    @property
    def history_lost(self) -> bool:
        """Whether a watcher has to read everything again before it can watch on."""
        return self.code in ("compacted", "rewound")


class RpcError(Exception):
    """An RPC ended with a gRPC status other than OK, or without one. It never leaves this package.

    `unsent` says that the server provably did nothing (RFC 9113 section 8.7); `lost` that the connection or stream
    broke, so that there is no word from the server at all.
    """

    def __init__(self, status: int, message: str, *, unsent: bool = False, lost: bool = False) -> None:
        super().__init__(f"gRPC status {status}: {message}")
        self.status = status
        self.message = message
        self.unsent = unsent
        self.lost = lost


class GrpcStatus:
    """The gRPC status codes that are named here (https://grpc.io/docs/guides/status-codes)."""

    OK = 0
    CANCELLED = 1
    UNKNOWN = 2
    INVALID_ARGUMENT = 3
    DEADLINE_EXCEEDED = 4
    NOT_FOUND = 5
    PERMISSION_DENIED = 7
    RESOURCE_EXHAUSTED = 8
    FAILED_PRECONDITION = 9
    OUT_OF_RANGE = 11
    UNIMPLEMENTED = 12
    INTERNAL = 13
    UNAVAILABLE = 14
    UNAUTHENTICATED = 16


class _Meaning(msgspec.Struct, frozen=True):
    code: EtcdErrorCode
    advice: str


# etcd's own words, as its rpctypes package has them since 3.4; the first that is part of the message decides.
_BY_TEXT: tuple[tuple[str, _Meaning], ...] = (
    ("required revision has been compacted", _Meaning("compacted", "read again and watch from there")),
    ("required revision is a future revision", _Meaning("rewound", "this etcd was restored or replaced; read again")),
    (
        "permission denied",
        _Meaning("permission_denied", "grant the user's role the prefix: etcdctl role grant-permission"),
    ),
    ("user name is empty", _Meaning("unauthenticated", "authentication is on: set etcd.username, or a certificate")),
    ("invalid user ID or password", _Meaning("unauthenticated", "check etcd.username and etcd.password_file")),
    ("invalid auth token", _Meaning("unauthenticated", "the server no longer knows our token")),
    ("revision of auth store is old", _Meaning("unauthenticated", "users or roles have just changed")),
    ("no leader", _Meaning("no_leader", "too few members are up for a quorum; look at etcdctl endpoint status")),
    ("database space exceeded", _Meaning("no_space", "compact and defragment etcd, then disarm its NOSPACE alarm")),
    ("request is too large", _Meaning("too_large", "etcd takes about 1.5 MB in a request (--max-request-bytes)")),
    ("too many operations", _Meaning("too_large", "split the transaction (--max-txn-ops)")),
    ("too many requests", _Meaning("exhausted", "etcd is behind in applying; look at its disk")),
    ("requested lease not found", _Meaning("not_found", "the lease has expired or was revoked")),
    # A proposal that timed out may still be committed by the next leader.
    ("request timed out", _Meaning("unavailable", "etcd's members could not agree in time")),
    ("leader changed", _Meaning("unavailable", "etcd elected a new leader meanwhile")),
)

_BY_STATUS: dict[int, EtcdErrorCode] = {
    GrpcStatus.CANCELLED: "unavailable",
    GrpcStatus.INVALID_ARGUMENT: "invalid_argument",
    GrpcStatus.DEADLINE_EXCEEDED: "deadline_exceeded",
    GrpcStatus.NOT_FOUND: "not_found",
    GrpcStatus.PERMISSION_DENIED: "permission_denied",
    GrpcStatus.RESOURCE_EXHAUSTED: "exhausted",
    GrpcStatus.OUT_OF_RANGE: "invalid_argument",
    GrpcStatus.UNIMPLEMENTED: "protocol",
    GrpcStatus.UNAVAILABLE: "unavailable",
    GrpcStatus.UNAUTHENTICATED: "unauthenticated",
}


def error_from_text(text: str, *, endpoint: str = "") -> EtcdError | None:
    """The error that one of etcd's messages means (a status message, or a watch's cancel_reason), if it is known."""
    for words, meaning in _BY_TEXT:
        if words in text:
            return EtcdError(meaning.code, f"{text}; {meaning.advice}", endpoint=endpoint)
    return None


def error_from_rpc(rpc: RpcError, *, endpoint: str = "", writes: bool = False) -> EtcdError:
    """What a failed RPC means to its caller. `writes`: whether it would have changed something, had it worked."""
    error = error_from_text(rpc.message, endpoint=endpoint) or EtcdError(
        _BY_STATUS.get(rpc.status, "server_error"), rpc.message or f"gRPC status {rpc.status}", endpoint=endpoint
    )
    if writes and not rpc.unsent and error.code in ("unavailable", "deadline_exceeded"):
        error.code = "unknown_outcome"
        error.message += "; the write may have happened: read the key before you try again"
    return error
