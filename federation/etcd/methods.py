"""etcd's RPCs that we use: path, answer, and whether the call changes anything (then it is never sent twice)."""

from __future__ import annotations

from typing import Generic, TypeVar

from google.protobuf.message import DecodeError, Message

from federation.etcd import etcd_pb2 as pb
from federation.etcd.errors import EtcdError

RequestT = TypeVar("RequestT", bound=Message)
AnswerT = TypeVar("AnswerT", bound=Message)


class Method(Generic[RequestT, AnswerT]):
    """One RPC. `tests/unit/federation/etcd/test_methods.py` holds it against the services in etcd.proto."""

    def __init__(self, path: str, request: type[RequestT], answer: type[AnswerT], *, writes: bool = False) -> None:
        self.path = path
        self.request = request
        self.answer = answer
        self.writes = writes

    def parse(self, payload: bytes, *, endpoint: str = "") -> AnswerT:
        """Raises EtcdError `protocol` for bytes that are not that message."""
        try:
            return self.answer.FromString(payload)
        except DecodeError as error:
            raise EtcdError(
                "protocol", f"the answer to {self.path} is malformed: {error}", endpoint=endpoint
            ) from error


RANGE = Method("/etcdserverpb.KV/Range", pb.RangeRequest, pb.RangeResponse)
PUT = Method("/etcdserverpb.KV/Put", pb.PutRequest, pb.PutResponse, writes=True)
DELETE_RANGE = Method("/etcdserverpb.KV/DeleteRange", pb.DeleteRangeRequest, pb.DeleteRangeResponse, writes=True)
TXN = Method("/etcdserverpb.KV/Txn", pb.TxnRequest, pb.TxnResponse, writes=True)
WATCH = Method("/etcdserverpb.Watch/Watch", pb.WatchRequest, pb.WatchResponse)
LEASE_GRANT = Method("/etcdserverpb.Lease/LeaseGrant", pb.LeaseGrantRequest, pb.LeaseGrantResponse, writes=True)
LEASE_REVOKE = Method("/etcdserverpb.Lease/LeaseRevoke", pb.LeaseRevokeRequest, pb.LeaseRevokeResponse, writes=True)
# A renewal twice is a renewal: it may be repeated.
LEASE_KEEP_ALIVE = Method("/etcdserverpb.Lease/LeaseKeepAlive", pb.LeaseKeepAliveRequest, pb.LeaseKeepAliveResponse)
AUTHENTICATE = Method("/etcdserverpb.Auth/Authenticate", pb.AuthenticateRequest, pb.AuthenticateResponse)
STATUS = Method("/etcdserverpb.Maintenance/Status", pb.StatusRequest, pb.StatusResponse)
