"""A peer's gateways: who is leased, who is only known still, and who was replaced."""

from __future__ import annotations

from federation.peer_gateways import PeerGateways
from federation.values import GatewayValue

A, B = GatewayValue("a", ("gw-a.west:15443",)), GatewayValue("b", ("gw-b.west:15443",))


def test_a_gateway_is_known_until_another_takes_its_place() -> None:
    """An etcd that lost its leases must not take the peer's last address away: our tunnels there may still stand."""
    gateways = PeerGateways()
    assert gateways.put(A)
    assert not gateways.put(A), "no news"
    gateways.lose_lease("a")
    assert not gateways.has_lease
    assert gateways.forget_replaced() == []
    assert gateways.put(B)
    assert gateways.forget_replaced() == ["a"]
    assert {key: known.leased for key, known in gateways.known.items()} == {"b": True}


def test_a_lease_that_is_seen_again_is_news_once() -> None:
    """A restart takes what the disk held without a lease; the listing that follows tells who has one."""
    gateways = PeerGateways()
    for value in (A, B):
        gateways.put(value)
    gateways.lose_leases()
    assert [gateways.renew("a"), gateways.renew("a"), gateways.renew("b")] == [True, False, True]
    assert gateways.forget_replaced() == []
