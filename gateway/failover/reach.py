"""Which clusters can be reached over tunnels, how far they are, and how steadily. Pure.

A cluster whose tunnels have all ended is out at once. One that comes back gets its share little by little, and one that
keeps going and coming waits longer each time, so that a flapping link does not swing all traffic to and fro.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Iterable, Mapping, Sequence

import msgspec

from gateway.failover.ejection import slow_start

# A gateway without a tunnel counts as missing after so long: opening another one takes a few round trips.
MISSING_AFTER_S = 2.0
# Over so long a cluster that is back gets its full share again.
SLOW_START_S = 5.0
# A cluster that went more than once is held back when it returns: a second, then twice as long each time.
HOLD_FIRST_S = 1.0
HOLD_LIMIT_S = 30.0
# So long without going again, and one time is forgotten.
FORGIVEN_AFTER_S = 30.0
# What a cluster gets that is held back: nothing while others can, all if no other can.
_HELD = 1e-3
_STEPS = 10
_STEPS_ROUNDING = 1e-6
# Round-trip times are compared by doublings of this one, and by how far one must be outside its class to leave it:
# what differs by less than jitter must not reorder clusters.
_RTT_UNIT_S = 0.002
_RTT_MARGIN = 0.25
# The shortest one of so long counts: a gateway that is busy answers late, and is no further away for it.
_RTT_WINDOW_S = 30.0


class GatewayReach(msgspec.Struct):
    """What is known of one gateway of a cluster now: how many tunnels to it answer, and how fast."""

    cluster: str
    gateway: str
    ready: int
    rtt_s: float


class ClusterReach:
    """One cluster. Times are seconds of one monotonic clock."""

    __slots__ = (
        "_back_at",
        "_down_at",
        "_missing_since",
        "_rtts",
        "_times",
        "damping",
        "fraction",
        "rtt_s",
        "rtt_step",
        "tunnels",
    )

    def __init__(self) -> None:
        self.tunnels = 0
        self.fraction = 0.0
        """Of its gateways, how many answer."""
        self.rtt_s = 0.0
        self.rtt_step = 0
        self.damping = 1.0
        """How much of its share it gets, 0 to 1: less when it has just come back."""
        self._back_at: float | None = None
        """When it may begin to get its share again, until it has it all."""
        self._missing_since: dict[str, float] = {}
        self._rtts: deque[tuple[float, float]] = deque()
        """When, and how long: those that were shorter than all that came later."""
        self._down_at: float | None = None
        self._times = 0

    def __repr__(self) -> str:
        return f"<ClusterReach {self.tunnels} tunnels, {self.rtt_s * 1000:.1f} ms, down {self._times} times>"

    def take(self, gateways: Sequence[GatewayReach], now: float) -> bool:
        """Takes in what its gateways' tunnels are. Returns whether anything changed that requests depend on."""
        before = (self.tunnels > 0, self.fraction, self.rtt_step)
        self._count(gateways, now)
        tunnels = sum(gateway.ready for gateway in gateways)
        if self.tunnels and not tunnels:
            self._went(now)
        elif tunnels and not self.tunnels and self._down_at is not None:
            self._back_at = now + self._hold_s()
            self._damp(now)
        self.tunnels = tunnels
        self._measure([gateway.rtt_s for gateway in gateways if gateway.ready and gateway.rtt_s], now)
        return before != (self.tunnels > 0, self.fraction, self.rtt_step)

    def _count(self, gateways: Sequence[GatewayReach], now: float) -> None:
        missing = {gateway.gateway for gateway in gateways if not gateway.ready}
        self._missing_since = {name: self._missing_since.get(name, now) for name in missing}
        long_missing = sum(now - since >= MISSING_AFTER_S for since in self._missing_since.values())
        self.fraction = 1.0 - long_missing / len(gateways) if gateways else 0.0

    def _went(self, now: float) -> None:
        if self._down_at is not None:
            self._times = max(0, self._times - int((now - self._down_at) / FORGIVEN_AFTER_S))
        self._times += 1
        self._down_at = now

    def _hold_s(self) -> float:
        if self._times < 2:
            return 0.0
        return float(min(HOLD_LIMIT_S, HOLD_FIRST_S * 2.0 ** (self._times - 2)))

    @property
    def times(self) -> int:
        """How often it went, less what was forgotten."""
        return self._times

    def held_s(self, now: float) -> float:
        """For how much longer it is held back, though it answers."""
        return max(0.0, self._back_at - now) if self.tunnels and self._back_at is not None else 0.0

    def _measure(self, rtts_s: Sequence[float], now: float) -> None:
        if not rtts_s:
            return
        nearest, rtts = min(rtts_s), self._rtts
        while rtts and rtts[-1][1] >= nearest:
            rtts.pop()
        rtts.append((now, nearest))
        while rtts[0][0] < now - _RTT_WINDOW_S:
            rtts.popleft()
        self.rtt_s = rtts[0][1]
        self.rtt_step = rtt_step(self.rtt_s, self.rtt_step)

    def settle(self, now: float) -> bool:
        """Time has passed. Returns whether it gets another share of its load now."""
        before = self.damping
        self._damp(now)
        return self.damping != before

    @property
    def restless(self) -> bool:
        """Whether time alone will change its share."""
        return self._back_at is not None

    def _damp(self, now: float) -> None:
        if self._back_at is None:
            return
        if now < self._back_at:
            self.damping = _HELD
            return
        # In steps, since each one is a new plan for every service.
        reached = slow_start(now - self._back_at, SLOW_START_S)
        self.damping = int(reached * _STEPS + _STEPS_ROUNDING) / _STEPS
        if reached >= 1.0:
            self._back_at = None


def rtt_step(rtt_s: float, present: int) -> int:
    """The class of a round-trip time: 0 up to 2 ms, 1 up to 4 ms, 2 up to 8 ms and so on. It stays `present` as long as
    the time is not clearly outside of that.

    >>> rtt_step(0.006, 0), rtt_step(0.009, 2), rtt_step(0.012, 2)
    (2, 2, 3)
    """
    lowest = _RTT_UNIT_S * 2.0 ** (present - 1) if present else 0.0
    highest = _RTT_UNIT_S * 2.0**present
    if lowest * (1 - _RTT_MARGIN) <= rtt_s <= highest * (1 + _RTT_MARGIN):
        return present
    step, bound = 0, _RTT_UNIT_S
    while rtt_s > bound:
        step, bound = step + 1, bound * 2
    return step


class Reach:
    """All clusters."""

    def __init__(self) -> None:
        self.clusters: dict[str, ClusterReach] = {}

    def take(self, gateways: Iterable[GatewayReach], now: float) -> bool:
        """Takes in the tunnels to all gateways. Returns whether anything changed that requests depend on."""
        by_cluster: dict[str, list[GatewayReach]] = {name: [] for name in self.clusters}
        for gateway in gateways:
            by_cluster.setdefault(gateway.cluster, []).append(gateway)
        changed = False
        for name, members in by_cluster.items():
            known = self.clusters.get(name)
            if known is None:
                known = self.clusters[name] = ClusterReach()
            changed |= known.take(members, now)
        return changed

    def settle(self, now: float) -> bool:
        """Time has passed. Returns whether any cluster gets another share of its load now."""
        return sum(cluster.settle(now) for cluster in self.clusters.values()) > 0

    @property
    def restless(self) -> bool:
        """Whether time alone will change any cluster's share."""
        return any(cluster.restless for cluster in self.clusters.values())

    def keep(self, clusters: Mapping[str, object]) -> None:
        """Forgets the clusters that are not among these."""
        for gone in self.clusters.keys() - clusters.keys():
            del self.clusters[gone]

    def of(self, cluster: str) -> ClusterReach:
        return self.clusters.get(cluster) or _UNKNOWN


_UNKNOWN = ClusterReach()
