"""Leaving a federation: a cluster says goodbye, and everything else that it said is taken out of etcd at once.

The goodbye is a signed record like any other, so that nobody can say it for another cluster, and it lies in etcd for as
long as peers believe a silent cluster: one that could not see etcd meanwhile withdraws when it can.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping

import msgspec
import trio

from federation.errors import FederationError, RecordRefused
from federation.etcd.client import EtcdClient
from federation.etcd.kv import KeyValue
from federation.paths import BUNDLE, Key, Kind, Layout
from federation.peer_keys import PeerKeys
from federation.record import next_sequence, open_record, sign_record
from trust.bundle import RecordKey, encode_bundle, parse_bundle
from trust.errors import TrustError
from trust.source import TrustSource

_POLL_S = 0.25
FAREWELL_TTL_S = 86_400.0
"""`freshness.withdraw_after` unless somebody sets it: whoever looks later has withdrawn by himself."""


class StillRegistered(FederationError):
    """A gateway of the cluster holds its lease: it runs, and would write everything again."""

    code = "still-registered"

    def __init__(self, gateways: list[str]) -> None:
        self.gateways = gateways
        super().__init__(
            f"gateway {', '.join(gateways)} of this cluster is registered in etcd and would say everything again: "
            "stop it first"
        )


async def withdraw(
    etcd: EtcdClient, layout: Layout, cluster: str, trust: TrustSource, *, lease_s: float, now: float
) -> Mapping[Kind, int]:
    """Says goodbye and deletes everything else that lies under `cluster`; returns how much of each kind that was. A
    gateway that was killed stays registered until its lease ends: it is waited for (`lease_s`). `now` is Unix seconds.

    Raises StillRegistered, and EtcdError.
    """
    prefix = layout.clusters + f"{cluster}/".encode()
    with trio.move_on_after(lease_s):
        while True:
            kvs = [kv for kv in (await etcd.read_prefix(prefix)).kvs if not _is_farewell(layout, kv)]
            found = _kinds(layout, [kv.key for kv in kvs])
            if not any(key.path.kind is Kind.GATEWAY for key in found):
                break
            await trio.sleep(_POLL_S)
    if gateways := [key.path.names[0] for key in found if key.path.kind is Kind.GATEWAY]:
        raise StillRegistered(gateways)
    bundle = next((kv.value for kv in kvs if kv.key == layout.key(cluster, BUNDLE)), None)
    farewell = make_farewell(bundle, layout.federation, cluster, trust, now) if bundle is not None else None
    if farewell is None:
        if found:
            await etcd.delete_prefix(prefix)
        return Counter(key.path.kind for key in found)
    lease = await etcd.grant_lease(FAREWELL_TTL_S)
    await etcd.put(layout.key(cluster, BUNDLE), farewell, lease=lease.lease_id)
    for kind in Kind:
        if kind is not Kind.BUNDLE:
            await etcd.delete_prefix(prefix + f"{kind}/".encode())
    return Counter(key.path.kind for key in found)


def make_farewell(raw: bytes, federation: str, cluster: str, trust: TrustSource, now: float) -> bytes | None:
    """The goodbye of the cluster whose bundle record is `raw`: a bundle without record keys. Who accepts it believes
    nothing any longer that was signed with those that it had. Roots stay in it, and it has the bundle's own sequence,
    so that the cluster may come back. None: `raw` is not this cluster's."""
    try:
        own = PeerKeys(trust.trust_domain, trust.fingerprint)
        record = open_record(
            raw,
            federation=federation,
            cluster=cluster,
            path=str(BUNDLE),
            key_for=own.bundle_key,
            last_sequence=-1,
            now=now,
        )
        sequence = parse_bundle(record.value, trust.trust_domain).sequence
    except (RecordRefused, TrustError):
        return None
    key = trust.vouching_key
    return sign_record(
        encode_bundle(msgspec.structs.replace(trust.bundle(sequence), record_keys=())),
        federation=federation,
        cluster=cluster,
        path=str(BUNDLE),
        sequence=next_sequence(record.sequence, now),
        issued_at=now,
        key=key,
        kid=RecordKey.of(key.public_key).kid,
        chain=trust.record_chain,
    )


def _is_farewell(layout: Layout, kv: KeyValue) -> bool:
    """Nothing but a goodbye has a lease there."""
    key = layout.parse_key(kv.key)
    return isinstance(key, Key) and key.path == BUNDLE and kv.lease != 0


def _kinds(layout: Layout, keys: list[bytes]) -> list[Key]:
    parsed = (layout.parse_key(key) for key in keys)
    return [key for key in parsed if isinstance(key, Key)]
