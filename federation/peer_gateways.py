"""The gateways of a peer: those that etcd holds under a lease, and those that nobody has replaced yet. Pure."""

from __future__ import annotations

from collections.abc import Mapping
from types import MappingProxyType

import msgspec

from federation.values import GatewayValue


class KnownGateway(msgspec.Struct, frozen=True):
    """A gateway of the peer. Not `leased`: etcd no longer knows it, but no other has taken its place, and our
    tunnels to it may still stand."""

    value: GatewayValue
    leased: bool


class PeerGateways:
    """By the gateway's id."""

    def __init__(self) -> None:
        self._known: dict[str, KnownGateway] = {}

    @property
    def known(self) -> Mapping[str, KnownGateway]:
        return MappingProxyType(self._known)

    @property
    def has_lease(self) -> bool:
        """Whether etcd holds a leased record of at least one."""
        return any(gateway.leased for gateway in self._known.values())

    def put(self, value: GatewayValue) -> bool:
        """It lies in etcd, under a lease. Returns whether that is news."""
        known = KnownGateway(value, True)
        if self._known.get(value.id) == known:
            return False
        self._known[value.id] = known
        return True

    def renew(self, gateway_id: str) -> bool:
        """What is known of it lies in etcd again. Returns whether it did not before."""
        return self.put(self._known[gateway_id].value)

    def lose_lease(self, gateway_id: str) -> None:
        self._known[gateway_id] = KnownGateway(self._known[gateway_id].value, False)

    def lose_leases(self) -> None:
        for gateway_id in self._known:
            self.lose_lease(gateway_id)

    def forget(self, gateway_id: str) -> None:
        del self._known[gateway_id]

    def forget_replaced(self) -> list[str]:
        """Forgets those without a lease once there is one with it, and says which."""
        if not self.has_lease:
            return []
        replaced = [key for key, gateway in self._known.items() if not gateway.leased]
        for gateway_id in replaced:
            self.forget(gateway_id)
        return replaced
