"""The exchanges that are too young for anything that time does to them. Pure.

Nearly every request ends within a second, and nearly no limit is that short. So an exchange gets its timer when it is
about a second old, or at once where a limit is near; those that began together share one deadline of the worker's heap.
Until then an exchange costs one entry of a dictionary.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

from gateway.traffic import Traffic
from gateway.transport.deadlines import Clock

if TYPE_CHECKING:
    from gateway.request.exchange import Exchange

YOUNG_S: Final = 1.0
PATIENCE_S: Final = 30.0
"""A limit on silence that is no shorter than this may be kept a second late."""


class ExchangeWatch:
    """The young exchanges of one worker."""

    __slots__ = ("_clock", "_due", "_young")

    def __init__(self, clock: Clock) -> None:
        self._clock = clock
        self._young: dict[Exchange, None] = {}
        self._due = False

    def __len__(self) -> int:
        return len(self._young)

    def add(self, exchange: Exchange) -> None:
        """It has begun. Until it is `remove`d it will get a timer."""
        self._young[exchange] = None
        if not self._due:
            self._due = True
            self._clock.call_at(self._clock.now + YOUNG_S, self._grown)

    def remove(self, exchange: Exchange) -> None:
        """It has ended. It may have a timer already."""
        self._young.pop(exchange, None)

    def _grown(self) -> None:
        self._due = False
        grown, self._young = self._young, {}
        for exchange in grown:
            exchange.begin_timer()


def is_patient(traffic: Traffic) -> bool:
    """Whether nothing that a user said of a service needs a timer from the beginning.

    >>> is_patient(Traffic())
    True
    """
    timeouts, retries = traffic.timeouts, traffic.retries
    silences_s = (timeouts.idle_s or PATIENCE_S, timeouts.tunnel_idle_s or PATIENCE_S)
    return min(silences_s) >= PATIENCE_S and not (
        timeouts.request_s or timeouts.attempt_s or retries.hedge_after_s or retries.hedge_after_quantile
    )
