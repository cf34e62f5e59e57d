"""When a change of a service's health may be written: peers shall hear of what matters at once, and etcd shall not see
every flip of an endpoint. Pure.

Each export has two budgets, as leaky buckets. That nothing healthy is left, or something is again, is what failover
turns on, and is held back only from who flips faster than any sound check does; how much is healthy beyond that spends
the smaller budget. A change that waits is not lost: what is written when its time comes is how things are then.
Holding back costs no request: a gateway without a healthy endpoint refuses before anything is lost, and says so.
"""

from __future__ import annotations

import enum

import msgspec

from federation.values import ExportValue


class Urgency(enum.Enum):
    """How soon a changed value must be written."""

    AT_ONCE = "at-once"
    """Somebody changed what is offered, and to whom."""
    CROSSING = "crossing"
    """The last healthy endpoint went, or the first one came."""
    DRIFT = "drift"
    """More or fewer are healthy, and some still are."""
    CONTESTED = "contested"
    """Somebody else wrote over it, or took it away."""


class Budget(msgspec.Struct, frozen=True):
    """`burst` writes in a row, then one `every_s`; between two, at least `gap_s`. In any `t` seconds there are at most
    `burst + t / every_s`."""

    burst: int
    every_s: float
    gap_s: float = 0.0


CROSSING_BUDGET = Budget(burst=10, every_s=2.0)
"""With a check each second and the default rise and fall, an endpoint flips at most 24 times a minute: that is never
held back."""
DRIFT_BUDGET = Budget(burst=3, every_s=10.0, gap_s=1.0)
CONTESTED_BUDGET = Budget(burst=10, every_s=2.0)
"""Two clusters of one name undo what the other one says, as fast as etcd tells them of it."""
_BUDGETS = {
    Urgency.CROSSING: CROSSING_BUDGET,
    Urgency.DRIFT: DRIFT_BUDGET,
    Urgency.CONTESTED: CONTESTED_BUDGET,
}


def urgency_of(before: ExportValue | None, after: ExportValue) -> Urgency:
    """How urgent it is to say `after` where `before` was said."""
    if before is None or msgspec.structs.replace(before, zones=after.zones) != after:
        return Urgency.AT_ONCE
    return Urgency.CROSSING if _is_healthy(before) != _is_healthy(after) else Urgency.DRIFT


def _is_healthy(value: ExportValue) -> bool:
    return any(zone.healthy for zone in value.zones)


class Damper:
    """The budgets of one path. `now` is monotonic seconds."""

    __slots__ = ("_full_at", "_written_at")

    def __init__(self) -> None:
        self._full_at: dict[Urgency, float] = {}
        """When the budget will be whole again."""
        self._written_at = -float("inf")

    def due(self, urgency: Urgency, now: float) -> float:
        """From when on a change of this urgency may be written."""
        budget = _BUDGETS.get(urgency)
        if budget is None:
            return now
        spent_until = self._full_at.get(urgency, now) - (budget.burst - 1) * budget.every_s
        return max(now, spent_until, self._written_at + budget.gap_s)

    def written(self, urgency: Urgency, now: float) -> None:
        """A change of this urgency was written: its budget pays for it."""
        self._written_at = now
        budget = _BUDGETS.get(urgency)
        if budget is not None:
            self._full_at[urgency] = max(now, self._full_at.get(urgency, now)) + budget.every_s
