"""Outlier detection: which places fail so often that they get no requests for a while.

`Outliers` watches the places of one service that are comparable: its endpoints here, or the clusters that have it. It
counts and says when a place is due to be ejected; whether it may be is the caller's to know (`may_eject`). The rules
and words are Envoy's, with two differences: a place returns after a second at first and after twice as long each
further time, and on its return a single failure is enough to eject it again, until one request has succeeded there.
"""

from __future__ import annotations

import random
from collections.abc import Collection
from typing import Final

from gateway.failover.events import Cause
from gateway.failover.outcome import Verdict
from gateway.failover.policy import EjectionPolicy
from gateway.failover.success_rate import outliers

# A time is lengthened by up to so much, so that what was ejected together does not return together.
_JITTER: Final = 0.1
# A returned place begins with so much of its share (Envoy's `min_weight_percent`).
_FIRST_SHARE: Final = 0.1
# 2 to this power is more than any allowed ratio of times.
_MAX_DOUBLINGS: Final = 32


class Host:
    """One place as requests saw it. Times are seconds of one monotonic clock."""

    __slots__ = (
        "cause",
        "ejected_until",
        "gateway_errors",
        "interval_failures",
        "interval_requests",
        "on_probation",
        "rate",
        "returned_at",
        "server_errors",
        "settled_at",
        "times",
    )

    def __init__(self) -> None:
        self.gateway_errors = 0
        """In a row."""
        self.server_errors = 0
        """In a row; gateway errors are among them."""
        self.interval_requests = 0
        self.interval_failures = 0
        self.rate = 0.0
        """The share of requests that failed: before it was ejected, or in the last interval."""
        self.times = 0
        """How often it was ejected, less what it was forgiven."""
        self.cause = Cause.SERVER_ERRORS
        self.ejected_until: float | None = None
        self.on_probation = False
        """It has returned, and no request has succeeded there yet."""
        self.returned_at: float | None = None
        """None when it has its full share."""
        self.settled_at = 0.0
        """Since when it is forgiven for."""

    def __repr__(self) -> str:
        state = "ejected" if self.ejected_until is not None else f"{self.server_errors} errors in a row"
        return f"<Host {state}, ejected {self.times} times>"

    @property
    def ejected(self) -> bool:
        return self.ejected_until is not None

    @property
    def is_failing(self) -> bool:
        """Whether its last request failed, or it is ejected."""
        return self.ejected or self.server_errors > 0

    def failure_rate(self) -> float:
        """Of the interval that runs, or of the last one if nothing has come in it."""
        if not self.interval_requests:
            return self.rate
        return self.interval_failures / self.interval_requests

    def clear(self) -> None:
        self.gateway_errors = self.server_errors = 0


class Outliers:
    """The places of one service, by name."""

    def __init__(self) -> None:
        self.hosts: dict[str, Host] = {}

    def keep(self, names: Collection[str]) -> None:
        """These places are there, and no others."""
        for gone in self.hosts.keys() - names:
            del self.hosts[gone]
        for name in names:
            if name not in self.hosts:
                self.hosts[name] = Host()

    def ejected(self) -> list[str]:
        return [name for name, host in self.hosts.items() if host.ejected]

    # What requests saw.

    def observed(self, host: Host, verdict: Verdict, policy: EjectionPolicy) -> Cause | None:
        """Counts one verdict. Returns why the place is due to be ejected, if it is."""
        if host.ejected_until is not None:
            # It was on its way before, or went there in panic.
            return None
        host.interval_requests += 1
        if verdict is Verdict.SUCCESS:
            host.gateway_errors = host.server_errors = 0
            host.on_probation = False
            return None
        host.interval_failures += 1
        host.server_errors += 1
        host.gateway_errors = host.gateway_errors + 1 if verdict is Verdict.GATEWAY_ERROR else 0
        if policy.consecutive_gateway_errors and (
            host.gateway_errors >= policy.consecutive_gateway_errors or (host.on_probation and host.gateway_errors)
        ):
            return Cause.GATEWAY_ERRORS
        if policy.consecutive_5xx and (host.server_errors >= policy.consecutive_5xx or host.on_probation):
            return Cause.SERVER_ERRORS
        return None

    def end_interval(self, policy: EjectionPolicy) -> list[str]:
        """Compares the success rates of the interval that ends. Returns whom they make due to be ejected."""
        rates: dict[str, float] = {}
        for name, host in self.hosts.items():
            host.rate = host.failure_rate()
            if host.interval_requests >= policy.success_rate_request_volume and not host.ejected:
                rates[name] = 1.0 - host.rate
            host.interval_requests = host.interval_failures = 0
        if not policy.success_rate_minimum_hosts or len(rates) < policy.success_rate_minimum_hosts:
            return []
        return outliers(rates, policy.success_rate_stdev_factor)

    # Going and returning.

    def may_eject(self, policy: EjectionPolicy, *, other_place: bool) -> bool:
        """Whether one more may be ejected: never the last place, one always, and more up to the limit.

        `other_place`: there is somewhere else that the requests can go.
        """
        if not other_place:
            return False
        already = len(self.ejected())
        return not already or already + 1 <= policy.max_ejected * len(self.hosts)

    def eject(self, host: Host, cause: Cause, policy: EjectionPolicy, now: float, rng: random.Random) -> float:
        """Ejects a place; returns for how many seconds."""
        forgiven = int((now - host.settled_at) / policy.interval_s)
        host.times = max(0, host.times - forgiven) + 1
        doubled = policy.base_ejection_time_s * 2.0 ** min(host.times - 1, _MAX_DOUBLINGS)
        time_s = min(policy.max_ejection_time_s, doubled * rng.uniform(1.0, 1.0 + _JITTER))
        host.rate = host.failure_rate()
        host.cause = cause
        host.ejected_until = now + time_s
        host.returned_at = None
        host.clear()
        return time_s

    def returned(self, policy: EjectionPolicy, now: float) -> list[str]:
        """Lets those return whose time is over."""
        over = [
            name for name, host in self.hosts.items() if host.ejected_until is not None and host.ejected_until <= now
        ]
        for name in over:
            host = self.hosts[name]
            host.ejected_until = None
            host.on_probation = True
            host.returned_at = now if policy.slow_start_s else None
            host.settled_at = now
        return over

    @property
    def unsettled(self) -> bool:
        """Whether time alone will change something here."""
        return any(host.ejected_until is not None or host.returned_at is not None for host in self.hosts.values())


def ramp(host: Host, policy: EjectionPolicy, now: float) -> float:
    """How much of its share a place that has returned gets by now, 0 to 1 (Envoy's slow start)."""
    if host.returned_at is None:
        return 1.0
    return slow_start(now - host.returned_at, policy.slow_start_s)


def settle(host: Host, policy: EjectionPolicy, now: float) -> None:
    """A place that has had its time to warm up is like any other."""
    if host.returned_at is not None and now - host.returned_at >= policy.slow_start_s:
        host.returned_at = None


def slow_start(since_s: float, over_s: float) -> float:
    """From a tenth to all, in a straight line.

    >>> slow_start(0.0, 5.0), slow_start(2.5, 5.0), slow_start(9.0, 5.0)
    (0.1, 0.5, 1.0)
    """
    return min(1.0, max(_FIRST_SHARE, since_s / over_s)) if over_s else 1.0
