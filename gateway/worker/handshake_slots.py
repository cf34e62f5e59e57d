"""How many TLS handshakes are under way, in all and from one address. Pure.

A handshake costs a few milliseconds of CPU, and whoever begins one has proved nothing yet. So a flood of them is
refused before it starves the requests; and one address, however many it begins, leaves most of the room to others.
"""

from __future__ import annotations

import ipaddress
from collections import Counter

HANDSHAKES_LIMIT = 256
HANDSHAKES_PER_ADDRESS = 64
"""Many gateways may stand behind one address (NAT), each with a few tunnels."""
# Whoever has one IPv6 address usually has all of its network.
_IPV6_PREFIX_BITS = 64


class HandshakeSlots:
    def __init__(self) -> None:
        self.taken = 0
        self._by_network: Counter[str] = Counter()

    def objection(self, host: str) -> str:
        """Why there is no room for one more of `host`, an IP address; empty if there is."""
        if self.taken >= HANDSHAKES_LIMIT:
            return f"{self.taken} handshakes are under way"
        network = network_of(host)
        if self._by_network[network] >= HANDSHAKES_PER_ADDRESS:
            return f"{self._by_network[network]} handshakes of {network} are under way"
        return ""

    def enter(self, host: str) -> None:
        self.taken += 1
        self._by_network[network_of(host)] += 1

    def leave(self, host: str) -> None:
        network = network_of(host)
        self.taken -= 1
        self._by_network[network] -= 1
        if not self._by_network[network]:
            del self._by_network[network]


def network_of(host: str) -> str:
    """What counts as one address: an IPv4 address, or an IPv6 network of 64 bits."""
    address = ipaddress.ip_address(host.partition("%")[0])
    if address.version == 4:
        return host
    mapped = address.ipv4_mapped
    if mapped is not None:
        return str(mapped)
    return str(ipaddress.ip_network((int(address), _IPV6_PREFIX_BITS), strict=False))
