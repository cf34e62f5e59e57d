"""How soon a change of health is said."""

from __future__ import annotations

import pytest

from discovery.model import Port, Protocol, ZoneHealth
from federation.damping import CROSSING_BUDGET, Damper, Urgency, urgency_of
from federation.values import ExportValue


def export(*healthy: int, total: int = 3, to: tuple[str, ...] = ("west",)) -> ExportValue:
    zones = tuple(ZoneHealth(f"z{number}", count, total) for number, count in enumerate(healthy))
    return ExportValue((Port("http", 80, Protocol.HTTP),), to, 1.0, zones)


@pytest.mark.parametrize(
    ("before", "after", "urgency"),
    [
        (None, export(3), Urgency.AT_ONCE),
        (export(3), export(3, to=("west", "eu")), Urgency.AT_ONCE),
        (export(3), export(0, to=("eu",)), Urgency.AT_ONCE),
        (export(3), export(2), Urgency.DRIFT),
        (export(3, 1), export(3, 0), Urgency.DRIFT),
        (export(3), export(3, total=4), Urgency.DRIFT),
        (export(1), export(0), Urgency.CROSSING),
        (export(0, 0), export(0, 1), Urgency.CROSSING),
        (export(2), export(), Urgency.CROSSING),
    ],
)
def test_what_is_urgent(before: ExportValue | None, after: ExportValue, urgency: Urgency) -> None:
    """Failover turns on whether anything is healthy; capacity may be told a little later."""
    assert urgency_of(before, after) is urgency


def test_the_last_endpoint_may_flip_as_often_as_default_checks_let_it() -> None:
    """`fall` 3 and `rise` 2 at a check each second: 24 flips a minute, none of which waits, for ten minutes."""
    damper, now = Damper(), 0.0
    for number in range(240):
        now += (3.0, 2.0)[number % 2]
        assert damper.due(Urgency.CROSSING, now) == now
        damper.written(Urgency.CROSSING, now)


def test_somebody_who_flips_faster_waits() -> None:
    """An endpoint that is checked ten times a second and flips each time is not worth ten writes a second."""
    damper = Damper()
    for _ in range(CROSSING_BUDGET.burst):
        assert damper.due(Urgency.CROSSING, 0.0) == 0.0
        damper.written(Urgency.CROSSING, 0.0)
    assert damper.due(Urgency.CROSSING, 0.0) == CROSSING_BUDGET.every_s


def test_what_somebody_configured_never_waits() -> None:
    """Nor does it spend what health may spend."""
    damper = Damper()
    for _ in range(1000):
        assert damper.due(Urgency.AT_ONCE, 5.0) == 5.0
        damper.written(Urgency.AT_ONCE, 5.0)
    assert damper.due(Urgency.CROSSING, 5.0) == 5.0
