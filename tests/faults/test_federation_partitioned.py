"""A gateway and etcd are cut from each other without a word: packets go nowhere, and its lease expires meanwhile."""

from __future__ import annotations

from pathlib import Path as FilePath

import pytest
import trio

from discovery.model import ServiceName
from federation import publisher
from federation.freshness import Freshness, Lease, Link, Reason
from tests.etcd_server import EtcdServer
from tests.federation_members import FederationMember, as_peers, local_service, make_authority, run_member, until
from tests.tcp_proxy import TcpProxy


def lease_of(member: FederationMember) -> Lease:
    return member.federation.status().peers[0].lease


async def test_a_lease_expires_while_its_owner_is_cut_off(
    tmp_path: FilePath, etcd_server: EtcdServer, nursery: trio.Nursery, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The others see it missing and keep what it said: with a tunnel that answers it is suspect, and never stale. When
    the wire is whole again it registers anew, says what changed, and hears what it missed."""
    # 10 s would only make the test longer.
    monkeypatch.setattr(publisher, "LEASE_TTL_S", 2.0)
    peers = as_peers({name: make_authority(tmp_path, name) for name in ("east", "west")})
    proxy = TcpProxy(etcd_server.port)
    await nursery.start(proxy.run)
    async with (
        run_member(tmp_path, "east", peers, etcd_server.endpoint, stale_after_s=1.0) as east,
        run_member(tmp_path, "west", peers, proxy.url, services=(local_service("pay"),)) as west,
    ):
        await until(lambda: east.sees("pay", "west") and lease_of(east) is Lease.LIVE)
        east.federation.observe_link("west", True)
        proxy.freeze()
        west.federation.remove_local(ServiceName("shop", "pay"))
        west.federation.upsert_local(local_service("new"))
        east.federation.upsert_local(local_service("cart"))
        await until(lambda: lease_of(east) is Lease.LOST)
        seen = east.federation.status().peers[0]
        assert (seen.freshness, seen.reason, seen.link) == (Freshness.SUSPECT, Reason.LEASE_LOST, Link.UP)
        await until(lambda: west.federation.status().etcd.publish_problem != "")
        assert not west.federation.status().etcd.leased
        assert east.sees("pay", "west")
        assert [gateway.id for gateway in east.federation.peers()["west"].gateways], "it is tried still"
        # The tunnel goes as well: nobody speaks for west now.
        east.federation.observe_link("west", False)
        await until(lambda: east.federation.peers()["west"].freshness is Freshness.STALE)
        assert east.sees("pay", "west")

        proxy.mend()
        await until(lambda: east.sees("new", "west") and east.sees("pay") and west.sees("cart", "east"), 30)
        await until(lambda: lease_of(east) is Lease.LIVE and west.federation.status().etcd.leased)
        east.federation.observe_link("west", True)
        assert east.federation.peers()["west"].freshness is Freshness.FRESH
        assert len(east.federation.peers()["west"].gateways) == 1
