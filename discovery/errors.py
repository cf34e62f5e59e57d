"""What can go wrong in discovery, under one root."""

from __future__ import annotations

import ipaddress

from discovery.model import ServiceName


class DiscoveryError(Exception):
    """The root of this package's errors. `code` is bounded, `str()` says what to do next."""

    code = "discovery"


class VipRangeExhausted(DiscoveryError):
    """Every usable address of the range belongs to a service already."""

    code = "vip-range-exhausted"

    def __init__(self, name: ServiceName, range: ipaddress.IPv4Network | ipaddress.IPv6Network, size: int) -> None:
        self.name, self.range, self.size = name, range, size
        super().__init__(
            f"no virtual IP is left for {name}: all {size} usable addresses of {range} are assigned; "
            "set gateway.vip_range to a larger range"
        )
