"""What the request path of a worker keeps of each service that it carries, made when it is first asked for.

All of it is found with one look-up by the service's label; nothing is computed for a request that was known before.
"""

from __future__ import annotations

from gateway.request.breaker import Breaker
from gateway.request.exchange_watch import is_patient
from gateway.request.latency_sketch import LatencySketch
from gateway.traffic import Traffic


class CarriedService:
    """One service, in one worker.

    Args:
        durations: where its requests' durations are counted (`WorkerCounters.durations_of`).
        breakers: of its places, as they were before its traffic changed: they count what is in progress.
    """

    __slots__ = ("breakers", "durations", "patient", "sketch", "traffic")

    def __init__(self, traffic: Traffic, durations: list[float], breakers: dict[str, Breaker]) -> None:
        self.traffic = traffic
        self.patient = is_patient(traffic)
        """Whether its requests need no timer while they are young."""
        self.durations = durations
        self.breakers = breakers
        """By place: `local`, or a cluster's name."""
        self.sketch = LatencySketch() if traffic.retries.hedge_after_quantile else None
        """For requests that are hedged by what others took."""

    def add_breaker(self, place: str) -> Breaker:
        """For a place that has none yet."""
        breaker = self.breakers[place] = Breaker()
        return breaker

    def hedge_delay_s(self) -> float | None:
        """After how many seconds without a response a second place is asked; None: never."""
        retries = self.traffic.retries
        if self.sketch is not None:
            return self.sketch.quantile(retries.hedge_after_quantile)
        return retries.hedge_after_s or None
