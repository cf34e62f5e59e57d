"""Virtual IPs: one address for each service, out of a range that nobody else uses.

The address follows from a hash of the name, so that gateways that start empty come to the same answer, whatever the
order in which they hear of services; a taken address moves a newcomer to the next free one. What was assigned stays
until it is released: clients cache addresses, and a virtual IP that moved would send them to another service.
"""

from __future__ import annotations

import hashlib
import ipaddress
from collections.abc import Mapping
from types import MappingProxyType
from typing import Final, TypeAlias

from discovery.errors import VipRangeExhausted
from discovery.model import ServiceName

IPNetwork: TypeAlias = ipaddress.IPv4Network | ipaddress.IPv6Network

_FIRST_OFFSET = 2
"""The network's own address and the first one (routers, and the range's own use) are never assigned."""
_OCTETS: Final = {str(number): number for number in range(256)}
"""As an IPv4 address spells them, each in one way."""


class VipPool:
    """Assigns addresses of `range` to service names.

    `assigned` is what was assigned before (read back from disk or etcd) and is kept as it is, except for what can't
    hold: text that is no address, an address that is not usable in this range (the range was changed), and the
    second owner of an address. Those are dropped, and get a new address at their next `assign`.
    """

    def __init__(self, range: IPNetwork, assigned: Mapping[ServiceName, str]) -> None:
        self._range = range
        self._first = int(range.network_address) + _FIRST_OFFSET
        # The last address is IPv4's broadcast address; IPv6 loses one of many to the same rule.
        self._size = max(0, range.num_addresses - _FIRST_OFFSET - 1)
        self._assigned: dict[ServiceName, str] = {}
        self.assigned: Mapping[ServiceName, str] = MappingProxyType(self._assigned)
        """Every name's address, as text. A live, read-only view."""
        self._taken: set[int] = set()
        # In order only where two claim the same: a gateway that starts has an address for every service.
        names = assigned if len(set(assigned.values())) == len(assigned) else sorted(assigned)
        for name in names:
            address = assigned[name]
            offset = self._offset_of(address)
            if offset is not None and offset not in self._taken:
                self._take(name, offset, address)

    @property
    def size(self) -> int:
        """How many addresses of the range are usable."""
        return self._size

    def assign(self, name: ServiceName) -> str:
        """The address of `name`, the same for as long as it is not released.

        Raises:
            VipRangeExhausted: when no usable address is free.
        """
        if name in self._assigned:
            return self._assigned[name]
        if len(self._taken) >= self._size:
            raise VipRangeExhausted(name, self._range, self._size)
        offset = _hash(name) % self._size
        while offset in self._taken:
            offset = (offset + 1) % self._size
        address = self._text(self._first + offset)
        self._take(name, offset, address)
        return address

    def release(self, name: ServiceName) -> None:
        """Gives the address of `name` back. Unknown names are ignored."""
        address = self._assigned.pop(name, None)
        if address is not None and (offset := self._offset_of(address)) is not None:
            self._taken.discard(offset)

    def _take(self, name: ServiceName, offset: int, address: str) -> None:
        self._taken.add(offset)
        self._assigned[name] = address

    def _text(self, number: int) -> str:
        if self._range.version == 4:
            return f"{number >> 24}.{number >> 16 & 255}.{number >> 8 & 255}.{number & 255}"
        return str(ipaddress.IPv6Address(number))

    def _offset_of(self, text: str) -> int | None:
        number = self._number(text)
        offset = number - self._first if number is not None else -1
        return offset if 0 <= offset < self._size else None

    def _number(self, text: str) -> int | None:
        """The address as a number; None for what is no address of our range's version, or not spelled as we do."""
        if self._range.version == 4:
            # `ipaddress` takes many times as long, and a gateway that starts reads an address for every service.
            parts = text.split(".")
            if len(parts) != 4:
                return None
            number = 0
            for part in parts:
                octet = _OCTETS.get(part)
                if octet is None:
                    return None
                number = number << 8 | octet
            return number
        try:
            number = int(ipaddress.IPv6Address(text))
        except ValueError:
            return None
        return number if self._text(number) == text else None


def _hash(name: ServiceName) -> int:
    # Not Python's hash(), which differs from process to process. 128 bits reach every address of an IPv6 range.
    return int.from_bytes(hashlib.sha256(str(name).encode()).digest()[:16], "big")
