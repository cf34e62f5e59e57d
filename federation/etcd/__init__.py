"""Our own etcd v3 client, on trio and h2."""

from federation.etcd.client import EtcdClient, EtcdStatistics, ServerStatus, open_etcd
from federation.etcd.config import EtcdConfig
from federation.etcd.endpoints import EndpointState
from federation.etcd.errors import EtcdError, EtcdErrorCode
from federation.etcd.kv import Compare, KeyValue, Op, OpResult, RangeResult, TxnResult
from federation.etcd.lease import Lease, LeaseLost
from federation.etcd.watch import Watch
from federation.etcd.watch_cursor import WatchBatch, WatchEvent

__all__ = [
    "Compare",
    "EndpointState",
    "EtcdClient",
    "EtcdConfig",
    "EtcdError",
    "EtcdErrorCode",
    "EtcdStatistics",
    "KeyValue",
    "Lease",
    "LeaseLost",
    "Op",
    "OpResult",
    "RangeResult",
    "ServerStatus",
    "TxnResult",
    "Watch",
    "WatchBatch",
    "WatchEvent",
    "open_etcd",
]
