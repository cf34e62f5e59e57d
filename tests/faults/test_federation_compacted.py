"""etcd's history is compacted past what a gateway has read while it was cut off."""

from __future__ import annotations

import json
from pathlib import Path as FilePath

import trio

from discovery.model import ServiceName
from federation.paths import export
from tests.etcd_server import EtcdServer
from tests.federation_members import (
    LAYOUT,
    FederationMember,
    as_peers,
    local_service,
    make_authority,
    run_member,
    until,
)
from tests.tcp_proxy import TcpProxy


async def test_what_happened_in_lost_history_is_known_all_the_same(
    tmp_path: FilePath, etcd_server: EtcdServer, nursery: trio.Nursery
) -> None:
    """Added, changed and removed while east could not listen, and the events are gone: east reads again and compares.
    What did not change is told to nobody."""
    peers = as_peers({name: make_authority(tmp_path, name) for name in ("east", "west")})
    proxy = TcpProxy(etcd_server.port)
    await nursery.start(proxy.run)
    services = (local_service("old"), local_service("changed"), local_service("same"))
    async with (
        run_member(tmp_path, "east", peers, proxy.url) as east,
        run_member(tmp_path, "west", peers, etcd_server.endpoint, services=services) as west,
    ):
        await until(lambda: all(east.sees(name, "west") for name in ("old", "changed", "same")))
        proxy.cut()
        await until(lambda: not east.federation.status().etcd.synced)
        before = {name: await lying(west, name) for name in ("old", "changed", "new")}
        west.federation.remove_local(ServiceName("shop", "old"))
        west.federation.upsert_local(local_service("changed", port=81))
        west.federation.upsert_local(local_service("new"))
        with trio.fail_after(15):
            # All three: history that ends between two of them can still be followed from the first.
            while any([await lying(west, name) == before[name] for name in before]):
                await trio.sleep(0.01)
        (status,) = json.loads(etcd_server.ctl("endpoint", "status", "--write-out=json"))
        etcd_server.ctl("compact", str(status["Status"]["header"]["revision"]))
        east.listener.services.clear()
        proxy.mend()
        await until(lambda: east.sees("new", "west") and east.sees("old"))
        await until(lambda: east.federation.services()[ServiceName("shop", "changed")].ports[0].port == 81)
        assert {name.name for name in east.listener.services} == {"old", "changed", "new"}
        assert east.sees("same", "west")
        await until(lambda: east.federation.status().etcd.synced)


async def lying(member: FederationMember, name: str) -> int | None:
    """The revision at which west's record of `shop/<name>` was written; None: there is none."""
    kv = await member.etcd.get(LAYOUT.key("west", export(ServiceName("shop", name))))
    return kv.mod_revision if kv is not None else None
