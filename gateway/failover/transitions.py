"""What has changed between two plans that a person would want to know."""

from __future__ import annotations

from collections.abc import Iterator

import msgspec

from gateway.failover.events import Cause, EventKind
from gateway.failover.plan import GroupState, Plan

# A preferred group that gets at least so much gets everything, as far as people are concerned.
_ALL = 0.995


class Standing(msgspec.Struct, frozen=True):
    """A plan in short."""

    kind: EventKind
    """RECOVERED: all goes to the preferred level, and by its health. PANIC: health is disregarded somewhere."""
    where: str
    cause: Cause
    shares: dict[str, float]
    """Of the groups that get any, by name."""
    availability: float
    """Of the preferred level's best group."""
    stale: frozenset[str] = frozenset()
    """The groups that stand last because nothing was heard of their clusters for long."""
    causes: dict[str, Cause] = {}
    """Of all groups, by name: what takes most away from each."""

    @property
    def numbers(self) -> dict[str, float]:
        return {"availability": self.availability} | {f"share.{name}": share for name, share in self.shares.items()}


class Change(msgspec.Struct, frozen=True):
    """One event to be, without its service and time."""

    kind: EventKind
    where: str
    cause: Cause
    numbers: dict[str, float]
    lost: str = ""
    """The group that got requests before and gets none now, if the cause is one of it."""


NEVER_SEEN = Standing(EventKind.RECOVERED, "", Cause.CONFIGURATION, {}, 1.0)


def standing(plan: Plan) -> Standing:
    """Where a plan's load goes, compared with where it would go if all were well."""
    preferred = [state for state in plan.groups if state.group.level == 0]
    share = sum(state.share for state in preferred)
    best = max(preferred, key=lambda state: state.availability * state.damping, default=None)
    elsewhere = max((state for state in plan.groups if state not in preferred), key=_share, default=None)
    if plan.exhausted or best is None:
        kind, where = EventKind.EXHAUSTED, best.group.name if best is not None else ""
    elif plan.panic:
        kind, where = EventKind.PANIC, max(plan.groups, key=_share).group.name
    elif share >= _ALL or elsewhere is None:
        kind, where = EventKind.RECOVERED, best.group.name
    else:
        kind, where = EventKind.SPILLED if share else EventKind.FAILED_OVER, elsewhere.group.name
    return Standing(
        kind,
        where,
        _cause(best) if best is not None else Cause.CONFIGURATION,
        {state.group.name: round(state.share, 4) for state in plan.groups if state.share},
        round(best.availability, 4) if best is not None else 0.0,
        frozenset(
            state.group.name for state in plan.groups if state.group.share is not None and state.group.share.stale
        ),
        {state.group.name: _cause(state) for state in plan.groups},
    )


def changes(before: Standing, after: Standing) -> Iterator[Change]:
    """The events between two plans of one service: only what kind of thing holds, not each step of a share."""
    if before.kind is EventKind.PANIC and after.kind not in (EventKind.PANIC, EventKind.EXHAUSTED):
        yield Change(EventKind.PANIC_ENDED, after.where, after.cause, after.numbers)
    if after.kind is EventKind.RECOVERED and before.where in after.stale - before.stale:
        yield Change(EventKind.FAILED_OVER, after.where, Cause.STALE, after.numbers)
    elif after.kind is EventKind.RECOVERED and after.where in before.stale - after.stale:
        yield Change(EventKind.RECOVERED, after.where, Cause.TIME_OVER, after.numbers)
    elif after.kind is not before.kind:
        if after.kind is EventKind.RECOVERED:
            yield Change(after.kind, after.where, Cause.TIME_OVER, after.numbers)
        else:
            yield _loss(before, after)
    elif after.kind is EventKind.FAILED_OVER and after.where != before.where:
        yield _loss(before, after)


def _loss(before: Standing, after: Standing) -> Change:
    """Of the place that got most before, which need not be the preferred one: that may be down since long."""
    lost = max(before.shares, key=lambda name: before.shares[name], default="")
    cause = after.causes.get(lost, Cause.CONFIGURATION)
    if lost in after.shares or cause is Cause.CONFIGURATION:
        return Change(after.kind, after.where, after.cause, after.numbers)
    return Change(after.kind, after.where, cause, after.numbers, lost)


def _share(state: GroupState) -> float:
    return state.share


def _cause(state: GroupState) -> Cause:
    """What takes most away from a group."""
    before_ejection = state.published * state.reachable
    reasons = [
        (state.availability / before_ejection if before_ejection else 1.0, Cause.EJECTION),
        (state.reachable, Cause.TUNNELS),
        (state.published, Cause.PUBLISHED_HEALTH),
        (state.damping, Cause.SLOW_START),
    ]
    least, cause = min(reasons, key=lambda reason: reason[0])
    return cause if least < 1.0 else Cause.CONFIGURATION
