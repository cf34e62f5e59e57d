"""Leaving a federation: everything that a cluster said is taken out of etcd at once."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping

import trio

from federation.etcd.client import EtcdClient
from federation.paths import Key, Kind, Layout
from federation.record import FederationError

_POLL_S = 0.25


class StillRegistered(FederationError):
    """A gateway of the cluster holds its lease: it runs, and would write everything again."""

    code = "still-registered"

    def __init__(self, gateways: list[str]) -> None:
        self.gateways = gateways
        super().__init__(
            f"gateway {', '.join(gateways)} of this cluster is registered in etcd and would say everything again: "
            "stop it first"
        )


async def withdraw(etcd: EtcdClient, layout: Layout, cluster: str, *, lease_s: float) -> Mapping[Kind, int]:
    """Deletes all that lies under `cluster`, in one revision, so that peers see it go as a whole; returns how much of
    each kind that was. A gateway that was killed stays registered until its lease ends: it is waited for (`lease_s`).

    Raises StillRegistered, and EtcdError.
    """
    prefix = layout.clusters + f"{cluster}/".encode()
    with trio.move_on_after(lease_s):
        while True:
            found = _kinds(layout, [kv.key for kv in (await etcd.read_prefix(prefix)).kvs])
            if not any(key.path.kind is Kind.GATEWAY for key in found):
                break
            await trio.sleep(_POLL_S)
    if gateways := [key.path.names[0] for key in found if key.path.kind is Kind.GATEWAY]:
        raise StillRegistered(gateways)
    await etcd.delete_prefix(prefix)
    return Counter(key.path.kind for key in found)


def _kinds(layout: Layout, keys: list[bytes]) -> list[Key]:
    parsed = (layout.parse_key(key) for key in keys)
    return [key for key in parsed if isinstance(key, Key)]
