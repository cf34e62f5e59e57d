"""When a lease is to be renewed, and when it is to be given up. Pure: `now` is an argument."""

from __future__ import annotations

import math


class LeaseClock:
    """When to renew a lease and when to give it up. Times are seconds of a monotonic clock.

    etcd counts a lease's time from when it handled the renewal, so counting from when we sent it is safe: we give the
    lease up before etcd does.
    """

    def __init__(self, ttl_s: float, asked_at: float) -> None:
        self._ttl_s = ttl_s
        self.deadline = asked_at + ttl_s
        self.renew_at = asked_at + ttl_s / 3

    def renewed(self, ttl_s: float, asked_at: float) -> None:
        """A renewal that was sent at `asked_at` was answered with this TTL."""
        self._ttl_s = ttl_s
        self.deadline = asked_at + ttl_s
        self.renew_at = asked_at + ttl_s / 3

    def failed(self, now: float) -> None:
        """A renewal failed: the next one soon, but a dozen at most in a TTL."""
        self.renew_at = now + self._ttl_s / 12


def whole_seconds(ttl_s: float) -> int:
    """etcd counts leases in whole seconds, at least one."""
    return max(1, math.ceil(ttl_s))
