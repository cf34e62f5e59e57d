"""The virtual IPs of our cluster, agreed between its gateways through etcd: the first writer of a name wins."""

from __future__ import annotations

import ipaddress
from collections.abc import Iterable, Mapping
from typing import NamedTuple

from discovery.errors import VipRangeExhausted
from discovery.model import ServiceName
from discovery.vip import VipPool


class VipClaim(NamedTuple):
    """Write `address` for `name` if the key's modification revision is still this one (0: there is no key)."""

    name: ServiceName
    address: str
    revision: int


class _Shared(NamedTuple):
    address: str
    revision: int


class VipBook:
    """Who has which address. An address is assigned here at once, so that etcd is never waited for; what etcd holds
    for that name in the end is what counts."""

    def __init__(self, vip_range: str) -> None:
        self._network = ipaddress.ip_network(vip_range)
        self._pool = VipPool(self._network, {})
        self._shared: dict[ServiceName, _Shared] = {}
        self._shared_before: dict[ServiceName, _Shared] = {}
        """As it was when the current listing began."""
        self._needed: set[ServiceName] = set()
        self._unclaimed: dict[ServiceName, None] = {}
        self._corrected: set[ServiceName] = set()
        """Names whose address in etcd we replaced. Once each: two gateways with different ranges must not fight."""
        self._released: dict[ServiceName, None] = {}
        self._unseen: set[ServiceName] = set()
        self.exhausted: set[ServiceName] = set()
        """Services for which the range has no address left."""

    @property
    def addresses(self) -> Mapping[ServiceName, str]:
        """A live, read-only view."""
        return self._pool.assigned

    def restore(self, assigned: Mapping[ServiceName, str], agreed: Mapping[ServiceName, int]) -> None:
        """Takes what the disk held: it stays as it is unless etcd says otherwise. `agreed` has the revisions of those
        that lay in etcd so."""
        self._pool = VipPool(self._network, assigned)
        if self._pool.assigned == assigned:
            self._shared = {name: _Shared(assigned[name], revision) for name, revision in agreed.items()}
        # Else the range is another now, and what of it is wrong in etcd is found by reading it.

    def is_shared(self, name: ServiceName) -> bool:
        """Whether etcd holds an address for `name`, be it ours or not."""
        return name in self._shared

    def agreed_at(self, name: ServiceName) -> int:
        """The revision at which etcd got the address that we have for `name`; -1 where it holds another, or none."""
        shared = self._shared.get(name)
        return shared.revision if shared is not None and shared.address == self._pool.assigned.get(name) else -1

    def knows_all(self, put: Iterable[ServiceName], count: int) -> bool:
        """etcd holds `count` addresses, and since we were told of all of them for the last time, those of `put` were
        put there: whether none was deleted, so that the others are as we know them."""
        return count == len(self._shared) + sum(name not in self._shared for name in put)

    def sees_all_again(self) -> None:
        """The listing that has just begun shows what we knew to lie in etcd, as if each were shown to `agrees`."""
        self._shared, self._unseen = self._shared_before, set()

    def need(self, name: ServiceName) -> bool:
        """Makes sure that `name` has an address; returns whether it got one now."""
        self._needed.add(name)
        self._released.pop(name, None)
        new = name not in self._pool.assigned
        if new:
            try:
                self._pool.assign(name)
            except VipRangeExhausted:
                self.exhausted.add(name)
                return False
        self.exhausted.discard(name)
        if name not in self._shared:
            self._unclaimed[name] = None
        return new

    def release(self, name: ServiceName) -> None:
        """Nobody needs the address any longer."""
        self._needed.discard(name)
        self._pool.release(name)
        self._unclaimed.pop(name, None)
        self.exhausted.discard(name)
        if name in self._shared:
            self._released[name] = None

    def found(self, name: ServiceName, address: str, revision: int) -> set[ServiceName]:
        """etcd holds this address for `name`. Returns the names whose address changed by that."""
        if self.agrees(name, address, revision):
            return set()
        self._unseen.discard(name)
        if name in self._shared and revision <= self._shared[name].revision:
            return set()
        self._shared[name] = _Shared(address, revision)
        try:
            agreed = self._pool.assign(name) == address
        except VipRangeExhausted:
            agreed = False
        changed = set() if agreed else self._adopt()
        if self._pool.assigned.get(name) == address:
            self._unclaimed.pop(name, None)
        return changed

    def agrees(self, name: ServiceName, address: str, revision: int) -> bool:
        """Whether the address that etcd holds for `name` is the one that we have: it is shared then. Gateways that
        start alike choose alike, so it mostly is."""
        if self._pool.assigned.get(name) != address:
            return False
        shared = self._shared.get(name)
        if shared is None or revision > shared.revision:
            self._shared[name] = _Shared(address, revision)
            self._unclaimed.pop(name, None)
        self._unseen.discard(name)
        return True

    def missing(self, name: ServiceName) -> None:
        """etcd holds none for `name`."""
        self._released.pop(name, None)
        if self._shared.pop(name, None) is None:
            return
        if name in self._needed:
            self._unclaimed[name] = None
        else:
            self._pool.release(name)

    def begin_listing(self) -> None:
        """What etcd holds is told anew; its revisions may have gone back, if it was restored."""
        self._unseen = set(self._shared)
        self._shared_before = self._shared
        self._shared = {name: _Shared(entry.address, -1) for name, entry in self._shared.items()}

    def end_listing(self) -> set[ServiceName]:
        """Returns for whom etcd holds none any longer."""
        missing, self._unseen, self._shared_before = self._unseen, set(), {}
        for name in missing:
            self.missing(name)
        return missing

    def release_unneeded(self) -> set[ServiceName]:
        """Our catalog is complete: what etcd still holds for other names was left behind. Returns these."""
        unneeded = set(self._shared) - self._needed
        for name in unneeded:
            self.release(name)
        return unneeded

    def take_claims(self, limit: int) -> list[VipClaim]:
        """Addresses to write, at most `limit`."""
        names = [name for name, _ in zip(self._unclaimed, range(limit), strict=False)]
        for name in names:
            del self._unclaimed[name]
        return [self._claim(name) for name in names]

    def take_released(self, limit: int) -> list[ServiceName]:
        """Names whose keys to delete, at most `limit`."""
        names = [name for name, _ in zip(self._released, range(limit), strict=False)]
        for name in names:
            del self._released[name]
        return names

    def fail(self, claims: Iterable[VipClaim], released: Iterable[ServiceName]) -> None:
        """These could not be written: try again later."""
        self._unclaimed.update(dict.fromkeys(claim.name for claim in claims if claim.name in self._needed))
        self._released.update(dict.fromkeys(name for name in released if name not in self._needed))

    def _claim(self, name: ServiceName) -> VipClaim:
        shared = self._shared.get(name)
        return VipClaim(name, self._pool.assigned[name], shared.revision if shared is not None else 0)

    def _adopt(self) -> set[ServiceName]:
        """Builds the pool anew around what etcd holds. Rare: only when two gateways chose differently."""
        before = dict(self._pool.assigned)
        shared = {name: entry.address for name, entry in self._shared.items()}
        taken = set(shared.values())
        local = {name: address for name, address in before.items() if address not in taken}
        self._pool = VipPool(self._network, {**local, **shared})
        for name in sorted(self._needed - set(self._pool.assigned)):
            self.need(name)
        self._correct(shared)
        return {name for name, address in self._pool.assigned.items() if before.get(name, address) != address}

    def _correct(self, shared: Mapping[ServiceName, str]) -> None:
        """Replaces what can't hold (outside the range, or the second owner of an address). The pool decides alike
        in every gateway."""
        for name, address in shared.items():
            if (
                name in self._needed
                and name not in self._corrected
                and self._pool.assigned.get(name, address) != address
            ):
                self._corrected.add(name)
                self._unclaimed[name] = None
