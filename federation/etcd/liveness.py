"""When to ask a silent connection whether it still lives. Pure: `now` is in seconds of any monotonic clock.

etcd's server counts PINGs that come less than 5 s apart, or while no stream is open, and ends the connection after the
third (GOAWAY `too_many_pings`; grpc-go's keepalive enforcement). Without a PING, a frozen server is plain silence.
"""

from __future__ import annotations

import math
from typing import Literal, TypeAlias

PING_INTERVAL_S = 5.5
"""Between two PINGs: etcd's 5 s and room for jitter on the way."""
QUIET_S = 1.0
"""How long a connection with an open stream may be silent before it is asked."""
ANSWER_S = 1.5
"""How long the answer may take. etcd answers PING beside its raft and disk work, so a slow disk does not count."""

Verdict: TypeAlias = Literal["wait", "ping", "dead"]


class Liveness:
    """What one connection's silence means."""

    def __init__(self, now: float) -> None:
        self._heard_at = now
        self._busy_since = now
        self._pinged_at = -math.inf
        self._asked = False

    def heard(self, now: float) -> None:
        """Bytes came, whatever they were: the server lives."""
        self._heard_at = now
        self._asked = False

    def became_busy(self, now: float) -> None:
        """A first stream was opened after a time with none, whose silence means nothing."""
        self._busy_since = now

    def decide(self, now: float, *, busy: bool) -> tuple[Verdict, float]:
        """What to do now, and in how many seconds to ask again at the latest. `ping` counts as sent."""
        if self._asked:
            left_s = self._pinged_at + ANSWER_S - now
            return ("wait", left_s) if left_s > 0 else ("dead", math.inf)
        if not busy:
            return "wait", math.inf
        due_at = max(max(self._heard_at, self._busy_since) + QUIET_S, self._pinged_at + PING_INTERVAL_S)
        if now < due_at:
            return "wait", due_at - now
        self._pinged_at = now
        self._asked = True
        return "ping", ANSWER_S
