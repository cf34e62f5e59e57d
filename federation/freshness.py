"""How much a peer's word is still worth (DESIGN section 7): a table over two witnesses and a clock.

The witnesses are the leases of the peer's gateways, as etcd tells them, and our tunnels to it. Both speak: *fresh*.
One is missing: *suspect*, for as long as the other speaks, so that losing etcd makes nothing stale while tunnels
answer. Neither speaks: *suspect*, then *stale* after `stale_after`, then *withdrawn* after `withdraw_after`.
"""

from __future__ import annotations

import enum

import msgspec


class Freshness(enum.StrEnum):
    FRESH = "fresh"
    SUSPECT = "suspect"
    STALE = "stale"
    """Still used, last in priority."""
    WITHDRAWN = "withdrawn"
    """No longer used, until the peer is heard again."""


class Lease(enum.StrEnum):
    """What etcd says of the leases of a peer's gateways."""

    LIVE = "live"
    LOST = "lost"
    UNKNOWN = "unknown"
    """etcd can't be asked."""


class Link(enum.StrEnum):
    """What our tunnels to a peer say."""

    UP = "up"
    DOWN = "down"
    UNTRIED = "untried"


class Reason(enum.StrEnum):
    """Why a peer is as fresh as it is. Bounded: status, events and the log say it."""

    HEARD = "heard"
    LINK_DOWN = "link-down"
    LEASE_LOST = "lease-lost"
    ETCD_AWAY = "etcd-away"
    NOTHING_HEARD = "nothing-heard"
    STALE_AFTER = "stale-after"
    WITHDRAW_AFTER = "withdraw-after"


_HEARD: dict[tuple[Lease, Link], tuple[bool, Reason]] = {
    (Lease.LIVE, Link.UP): (True, Reason.HEARD),
    # Nobody has tried a tunnel yet, so none is missing.
    (Lease.LIVE, Link.UNTRIED): (True, Reason.HEARD),
    (Lease.LIVE, Link.DOWN): (True, Reason.LINK_DOWN),
    (Lease.LOST, Link.UP): (True, Reason.LEASE_LOST),
    (Lease.LOST, Link.UNTRIED): (False, Reason.LEASE_LOST),
    (Lease.LOST, Link.DOWN): (False, Reason.NOTHING_HEARD),
    (Lease.UNKNOWN, Link.UP): (True, Reason.ETCD_AWAY),
    (Lease.UNKNOWN, Link.UNTRIED): (False, Reason.ETCD_AWAY),
    (Lease.UNKNOWN, Link.DOWN): (False, Reason.NOTHING_HEARD),
}
"""Whether any witness speaks, and what to say about it."""


class Transition(msgspec.Struct, frozen=True):
    """A peer's freshness changed, or the reason for it did. `at` is in the clock that the caller uses."""

    before: Freshness
    after: Freshness
    reason: Reason
    at: float


class PeerFreshness:
    """The freshness of one peer. `now` is monotonic seconds.

    Silence is counted from the start of the process, never across a restart: a gateway that comes up while etcd is
    down must serve what it knew, however long ago it wrote it down.
    """

    def __init__(self, now: float, *, stale_after_s: float, withdraw_after_s: float) -> None:
        self._stale_after_s = stale_after_s
        self._withdraw_after_s = withdraw_after_s
        self._lease = Lease.UNKNOWN
        self._link = Link.UNTRIED
        self._silent_since = now
        self.state = Freshness.SUSPECT
        self.reason = Reason.ETCD_AWAY
        self.since = now

    def __repr__(self) -> str:
        return f"PeerFreshness({self.state}, {self.reason}, lease={self._lease}, link={self._link})"

    @property
    def lease(self) -> Lease:
        return self._lease

    @property
    def link(self) -> Link:
        return self._link

    def set_limits(self, stale_after_s: float, withdraw_after_s: float) -> None:
        """How long silence may last. It takes effect at the next observation or tick."""
        self._stale_after_s = stale_after_s
        self._withdraw_after_s = withdraw_after_s

    def observe_lease(self, lease: Lease, now: float) -> Transition | None:
        return self._observe(lease, self._link, now)

    def observe_link(self, link: Link, now: float) -> Transition | None:
        return self._observe(self._lease, link, now)

    def listen(self, now: float) -> None:
        """What would tell of the peer is being read just now: silence, if it is any, begins after that."""
        if self.state is Freshness.SUSPECT:
            self._silent_since = max(self._silent_since, now)

    def tick(self, now: float) -> Transition | None:
        """Lets time pass; call it at `next_deadline`."""
        heard, reason = _HEARD[self._lease, self._link]
        if heard:
            return self._become(Freshness.FRESH if reason is Reason.HEARD else Freshness.SUSPECT, reason, now)
        if now >= self._silent_since + self._withdraw_after_s:
            return self._become(Freshness.WITHDRAWN, Reason.WITHDRAW_AFTER, now)
        if now >= self._silent_since + self._stale_after_s:
            return self._become(Freshness.STALE, Reason.STALE_AFTER, now)
        return self._become(Freshness.SUSPECT, reason, now)

    def next_deadline(self) -> float | None:
        """When silence next changes something; None while the peer is heard, or withdrawn already."""
        if _HEARD[self._lease, self._link][0] or self.state is Freshness.WITHDRAWN:
            return None
        after_s = self._withdraw_after_s if self.state is Freshness.STALE else self._stale_after_s
        return self._silent_since + after_s

    def _observe(self, lease: Lease, link: Link, now: float) -> Transition | None:
        was_heard = _HEARD[self._lease, self._link][0]
        self._lease, self._link = lease, link
        if was_heard and not _HEARD[lease, link][0]:
            self._silent_since = now
        return self.tick(now)

    def _become(self, state: Freshness, reason: Reason, now: float) -> Transition | None:
        before = self.state
        if state is before and reason is self.reason:
            return None
        self.state, self.reason = state, reason
        if state is not before:
            self.since = now
        return Transition(before, state, reason, now)
