"""What etcd's words and gRPC's codes mean to callers."""

from __future__ import annotations

import pytest

from federation.etcd.errors import EtcdErrorCode, GrpcStatus, RpcError, error_from_rpc, error_from_text


@pytest.mark.parametrize(
    ("status", "message", "code"),
    [
        (GrpcStatus.OUT_OF_RANGE, "etcdserver: mvcc: required revision has been compacted", "compacted"),
        (GrpcStatus.OUT_OF_RANGE, "etcdserver: mvcc: required revision is a future revision", "rewound"),
        (GrpcStatus.PERMISSION_DENIED, "etcdserver: permission denied", "permission_denied"),
        (GrpcStatus.INVALID_ARGUMENT, "etcdserver: user name is empty", "unauthenticated"),
        (GrpcStatus.UNAUTHENTICATED, "etcdserver: invalid auth token", "unauthenticated"),
        (GrpcStatus.INVALID_ARGUMENT, "etcdserver: revision of auth store is old", "unauthenticated"),
        (GrpcStatus.UNAVAILABLE, "etcdserver: no leader", "no_leader"),
        (GrpcStatus.RESOURCE_EXHAUSTED, "etcdserver: mvcc: database space exceeded", "no_space"),
        (GrpcStatus.RESOURCE_EXHAUSTED, "etcdserver: too many requests", "exhausted"),
        (GrpcStatus.INVALID_ARGUMENT, "etcdserver: duplicate key given in txn request", "invalid_argument"),
        (GrpcStatus.INTERNAL, "", "server_error"),
        (99, "from the future", "server_error"),
    ],
)
def test_etcds_words_decide_before_the_status(status: int, message: str, code: EtcdErrorCode) -> None:
    """etcd uses one status for many things ("user name is empty" is an invalid argument to it)."""
    for writes in (False, True):
        assert error_from_rpc(RpcError(status, message), writes=writes).code == code


@pytest.mark.parametrize(
    "rpc",
    [
        RpcError(GrpcStatus.UNAVAILABLE, "etcdserver: request timed out"),
        RpcError(GrpcStatus.UNAVAILABLE, "etcdserver: leader changed"),
        RpcError(GrpcStatus.UNAVAILABLE, "the connection broke", lost=True),
        RpcError(GrpcStatus.DEADLINE_EXCEEDED, "no answer within 5.0 s", lost=True),
        RpcError(GrpcStatus.CANCELLED, "the server reset the stream", lost=True),
    ],
)
def test_a_write_without_an_answer_may_have_happened(rpc: RpcError) -> None:
    """Whoever believes that it failed, writes twice; whoever believes that it worked, loses it."""
    assert error_from_rpc(rpc, writes=False).code in ("unavailable", "deadline_exceeded")
    error = error_from_rpc(rpc, writes=True)
    assert error.code == "unknown_outcome"
    assert "read the key" in str(error)


def test_a_write_that_was_never_sent_did_not_happen() -> None:
    """REFUSED_STREAM and GOAWAY promise that (RFC 9113 section 8.7)."""
    rpc = RpcError(GrpcStatus.UNAVAILABLE, "the server ended the connection", unsent=True, lost=True)
    assert error_from_rpc(rpc, writes=True).code == "unavailable"


def test_errors_name_the_endpoint_and_unknown_words_are_left_to_the_status() -> None:
    """A text that we do not know is no reason to guess."""
    assert error_from_text("something else") is None
    error = error_from_rpc(RpcError(GrpcStatus.NOT_FOUND, "gone"), endpoint="etcd-1:2379")
    assert str(error) == "etcd etcd-1:2379: gone"
