"""Where the requests of one service's port go until something changes: each group's share, and the choice from it."""

from __future__ import annotations

import random
from collections.abc import Sequence
from typing import Final

from gateway.failover.choice import Candidate, InProgress, pick_of_two
from gateway.failover.order import Group
from gateway.failover.retry import Failure
from gateway.failover.target import RemoteTarget, Target

# A request leaves a group after so many attempts there: a group may be dead as a whole, and attempts are few.
_ATTEMPTS_IN_GROUP: Final = 2
# The same place may be tried a second time when the first failure was that of a connection, not of the place.
_ATTEMPTS_AT_PLACE: Final = 2
_CONNECTION_FAILURES: Final = frozenset({Failure.CONNECTION_LOST, Failure.REFUSED})
# A group with less was not meant to get requests yet, or not any more.
_REAL_SHARE: Final = 0.01


class GroupState:
    """One group as it is now: what is left of it, and its share of the requests."""

    __slots__ = (
        "availability",
        "damping",
        "ejected",
        "group",
        "hopeless",
        "hosts",
        "others",
        "panic",
        "published",
        "reachable",
        "ready",
        "share",
        "target",
    )

    def __init__(self, group: Group) -> None:
        self.group = group
        self.target = RemoteTarget(group.cluster) if group.share is not None else None
        self.published = 1.0
        """What its owner calls healthy, 0 to 1."""
        self.reachable = 1.0
        """How much of it tunnels reach, 0 to 1; 0 if none does."""
        self.ejected = 0
        """Places of it that are ejected."""
        self.availability = 0.0
        """All of these together, 0 to 1."""
        self.damping = 1.0
        self.hosts = 0.0
        """What it counts for in panic."""
        self.hopeless = False
        """Every endpoint that our own cluster has fails its checks: not even panic sends anything there."""
        self.ready: list[Candidate] = []
        self.others: list[Candidate] = []
        """Endpoints that are unhealthy, or ejected."""
        self.share = 0.0
        self.panic = False

    def __repr__(self) -> str:
        return f"<GroupState {self.group.name} {self.availability:.0%} available, gets {self.share:.0%}>"

    def pick(
        self, tried: Sequence[Target], in_progress: InProgress, rng: random.Random, now: float, *, any_state: bool
    ) -> Target | None:
        """A target of this group that is not among `tried`. `any_state`: also what is unhealthy or ejected."""
        if self.target is not None:
            return self.target if self.target not in tried else None
        candidates = [*self.ready, *self.others] if any_state else self.ready
        return pick_of_two(candidates, tried, in_progress, rng, now)

    def attempts(self, tried: Sequence[Target]) -> int:
        return sum(target in tried for target in self._targets())

    def _targets(self) -> list[Target]:
        if self.target is not None:
            return [self.target]
        return [candidate.target for candidate in (*self.ready, *self.others)]


class Plan:
    """The groups of one service's port with their shares, the preferred first."""

    def __init__(self, groups: Sequence[GroupState], *, last_resort: bool) -> None:
        """`last_resort`: whether a request that failed everywhere else may go to what is unhealthy or ejected."""
        self.groups = groups
        self._last_resort = last_resort
        self._drawn = [group for group in groups if group.share > 0.0]
        self._sole = self._drawn[0] if len(self._drawn) == 1 else None

    @property
    def exhausted(self) -> bool:
        """Whether there is nowhere to go."""
        return not self._drawn

    @property
    def panic(self) -> bool:
        """Whether requests go to a group whose health is disregarded."""
        return any(group.panic for group in self._drawn)

    def choose(
        self,
        tried: Sequence[Target],
        failure: Failure | None,
        in_progress: InProgress,
        rng: random.Random,
        now: float,
    ) -> Target | None:
        """Where the next attempt of a request goes: `tried` are the earlier ones', the last of which met `failure`."""
        if tried:
            return self._another(tried, failure, in_progress, rng, now)
        group = self._sole or self._draw(rng)
        if group is None:
            return None
        return group.target or group.pick(tried, in_progress, rng, now, any_state=group.panic)

    def _draw(self, rng: random.Random) -> GroupState | None:
        if not self._drawn:
            return None
        left = rng.random()
        for group in self._drawn:
            left -= group.share
            if left < 0.0:
                return group
        return self._drawn[-1]

    def _another(
        self,
        tried: Sequence[Target],
        failure: Failure | None,
        in_progress: InProgress,
        rng: random.Random,
        now: float,
    ) -> Target | None:
        """The nearest place that was not tried; a place that was, if only the connection to it was at fault."""
        last = tried[-1]
        again = failure in _CONNECTION_FAILURES and tried.count(last) < _ATTEMPTS_AT_PLACE and self._carries(last)
        if again and failure is Failure.REFUSED and isinstance(last, RemoteTarget):
            # A gateway that is going away says so; the cluster's other tunnels are not affected.
            return last
        meant = [group for group in self.groups if group.share >= _REAL_SHARE]
        able = [group for group in self.groups if group.availability > 0.0 and group.share < _REAL_SHARE]
        few = [group for group in (*meant, *able) if group.attempts(tried) < _ATTEMPTS_IN_GROUP]
        for group in (*few, *meant, *able):
            if target := group.pick(tried, in_progress, rng, now, any_state=group.panic):
                return target
        if again:
            # Last, as all connections to a place that is frozen end one after the other.
            return last
        for group in self.groups if self._last_resort else ():
            if (
                group.reachable
                and not group.hopeless
                and (target := group.pick(tried, in_progress, rng, now, any_state=True))
            ):
                return target
        return None

    def _carries(self, target: Target) -> bool:
        for group in self.groups:
            if group.target is None:
                if any(candidate.target == target for candidate in group.ready):
                    return True
            elif group.target == target:
                return group.availability > 0.0
        return False
