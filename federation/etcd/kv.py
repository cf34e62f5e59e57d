"""Keys and values as callers see them, and their way to and from etcd's messages."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Literal, NamedTuple, TypeAlias

import msgspec

from federation.etcd import etcd_pb2 as pb
from federation.etcd.errors import EtcdError

MAX_TXN_OPS = 128
"""etcd's default `--max-txn-ops`, for each of the three lists of a transaction."""

Operator: TypeAlias = Literal["==", "!=", "<", ">"]

_OPERATORS: dict[Operator, pb.Compare.CompareResult] = {
    "==": pb.Compare.EQUAL,
    "!=": pb.Compare.NOT_EQUAL,
    "<": pb.Compare.LESS,
    ">": pb.Compare.GREATER,
}


class KeyValue(msgspec.Struct, frozen=True, gc=False):
    """A key at some revision. After a delete event only `key` and `mod_revision` mean anything."""

    key: bytes
    value: bytes
    create_revision: int
    mod_revision: int
    version: int
    lease: int


class RangeResult(msgspec.Struct, frozen=True):
    """Keys in ascending order, as they were at `revision`. To follow them, watch from `revision + 1`."""

    revision: int
    kvs: list[KeyValue]


class KeyRange(NamedTuple):
    """The keys from `begin` on, before `end`."""

    begin: bytes
    end: bytes


class RangeNews(msgspec.Struct, frozen=True):
    """What of a range was put after some revision, as of `revision`. `count` is how many keys lie in it, whenever they
    were put: who knows what lay there before can tell whether anything is gone. Not `whole`: `kvs` has not all."""

    keys: KeyRange
    revision: int
    kvs: list[KeyValue]
    count: int
    whole: bool


class Compare(msgspec.Struct, frozen=True):
    """A condition on one key. Of an absent key, revisions and version are 0."""

    key: bytes
    target: Literal["mod_revision", "create_revision", "version", "value"]
    operator: Operator
    operand: int | bytes

    @classmethod
    def mod_revision(cls, key: bytes, operator: Operator, revision: int) -> Compare:
        return cls(key, "mod_revision", operator, revision)

    @classmethod
    def create_revision(cls, key: bytes, operator: Operator, revision: int) -> Compare:
        return cls(key, "create_revision", operator, revision)

    @classmethod
    def version(cls, key: bytes, operator: Operator, version: int) -> Compare:
        return cls(key, "version", operator, version)

    @classmethod
    def value(cls, key: bytes, operator: Operator, value: bytes) -> Compare:
        return cls(key, "value", operator, value)


class Op(msgspec.Struct, frozen=True):
    """One operation of a transaction."""

    kind: Literal["put", "delete", "get"]
    key: bytes
    data: bytes = b""
    lease: int = 0

    @classmethod
    def put(cls, key: bytes, value: bytes, *, lease: int = 0) -> Op:
        return cls("put", key, value, lease)

    @classmethod
    def delete(cls, key: bytes) -> Op:
        return cls("delete", key)

    @classmethod
    def get(cls, key: bytes) -> Op:
        return cls("get", key)


class OpResult(msgspec.Struct, frozen=True):
    """What one operation did: `kv` for a get that found its key, `deleted` for a delete."""

    kv: KeyValue | None = None
    deleted: int = 0


class TxnResult(msgspec.Struct, frozen=True):
    """`succeeded` says which branch ran; `results` has one entry for each of its operations."""

    succeeded: bool
    revision: int
    results: list[OpResult]


def prefix_end(prefix: bytes) -> bytes:
    """The end of the range of all keys that begin with `prefix`: etcd's own rule, with b"\\0" for "no end"."""
    trimmed = prefix.rstrip(b"\xff")
    if not trimmed:
        return b"\0"
    return trimmed[:-1] + bytes([trimmed[-1] + 1])


def read_kv(message: pb.KeyValue) -> KeyValue:
    return KeyValue(
        message.key, message.value, message.create_revision, message.mod_revision, message.version, message.lease
    )


def build_txn(compare: Sequence[Compare], success: Sequence[Op], failure: Sequence[Op]) -> pb.TxnRequest:
    """Raises EtcdError `too_large` for more operations than etcd takes."""
    for name, part in (("comparisons", compare), ("operations", success), ("operations", failure)):
        if len(part) > MAX_TXN_OPS:
            raise EtcdError("too_large", f"{len(part)} {name} in a transaction; etcd takes {MAX_TXN_OPS}: split it")
    return pb.TxnRequest(
        compare=[_build_compare(one) for one in compare],
        success=[_build_op(one) for one in success],
        failure=[_build_op(one) for one in failure],
    )


def read_txn(answer: pb.TxnResponse) -> TxnResult:
    results = [_read_result(response) for response in answer.responses]
    return TxnResult(answer.succeeded, answer.header.revision, results)


def _build_compare(compare: Compare) -> pb.Compare:
    message = pb.Compare(key=compare.key, result=_OPERATORS[compare.operator])
    match compare.target, compare.operand:
        case "mod_revision", int(revision):
            message.target, message.mod_revision = pb.Compare.MOD, revision
        case "create_revision", int(revision):
            message.target, message.create_revision = pb.Compare.CREATE, revision
        case "version", int(version):
            message.target, message.version = pb.Compare.VERSION, version
        case "value", bytes(value):
            message.target, message.value = pb.Compare.VALUE, value
        case _:
            raise TypeError(f"a key's {compare.target} cannot be compared with {type(compare.operand).__name__}")
    return message


def _build_op(op: Op) -> pb.RequestOp:
    match op.kind:
        case "put":
            return pb.RequestOp(request_put=pb.PutRequest(key=op.key, value=op.data, lease=op.lease))
        case "delete":
            return pb.RequestOp(request_delete_range=pb.DeleteRangeRequest(key=op.key))
        case "get":
            return pb.RequestOp(request_range=pb.RangeRequest(key=op.key))


def _read_result(response: pb.ResponseOp) -> OpResult:
    if response.HasField("response_range"):
        kvs = response.response_range.kvs
        return OpResult(kv=read_kv(kvs[0]) if kvs else None)
    return OpResult(deleted=response.response_delete_range.deleted)
