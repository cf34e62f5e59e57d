"""Whether the far end of a tunnel is there: PINGs, what came back, and what silence means. Pure.

Silence is graded. A peer that is silent for a moment after a PING is *suspect*: what can go elsewhere does, and its
tunnel stays, since an event loop that lags under load answers in the end. One that has left several PINGs without an
answer is *absent*: if all places of a service are, its requests are refused rather than left waiting. One that stays
silent is *mute*: what might have been done there ends now if it could begin again elsewhere. The only place that a
service has is still better than a refusal, until the peer is *dead*.
All times are seconds of the event loop's clock.
"""

from __future__ import annotations

import enum

import msgspec

PING_INTERVAL_S = 0.25
# Where nothing was asked since the last PING: still often enough that the first request finds out within a second.
IDLE_PING_INTERVAL_S = 0.5
# After a PING, plus the tunnel's round-trip time. Both together bound what a frozen gateway costs: under a second.
SUSPECT_AFTER_S = 0.4
# Where another tunnel to the same gateway is suspect: less, but more than a busy gateway is late by.
SUSPECT_TOO_AFTER_S = 0.15
# A gateway that is flooded lags for a second and more, and is not gone.
ABSENT_AFTER_S = 2.0
# A peer that lags for this long is of no use to what could begin again elsewhere (a POST, a TCP stream).
MUTE_AFTER_S = 3.0
# A machine that is far too busy gets its gateway a turn again within seconds; a frozen one does not.
DEAD_AFTER_S = 8.0
# At first the peer's side of the handshake may still be under way.
FIRST_ANSWER_S = 5.0
# A look that comes so much later than it was due shows that our own event loop stood still: what has arrived meanwhile
# is read before a verdict.
LATE_S = 0.1
GRACE_S = 0.05
# A round-trip time beyond this is taken for a lag.
_RTT_LIMIT_S = 1.0
_SMOOTHING = 0.125


class Standing(enum.Enum):
    """What is thought of the far end."""

    UNPROVEN = "unproven"
    """It has not answered yet: in TLS 1.3 our side of the handshake ends before the peer has judged our certificate."""
    GOOD = "good"
    SUSPECT = "suspect"
    ABSENT = "absent"
    MUTE = "mute"
    DEAD = "dead"


SILENT = frozenset({Standing.SUSPECT, Standing.ABSENT, Standing.MUTE})
"""It has answered before, and may again."""
ABSENT = frozenset({Standing.ABSENT, Standing.MUTE})
"""Silent for so long that nobody waits for it who knows another place, were it only one that is down as well."""


class Look(msgspec.Struct, frozen=True):
    """What a look at a tunnel comes to."""

    standing: Standing
    ping: bytes
    """A PING's payload to send now, or nothing."""
    again_in_s: float
    silent_s: float
    """For how long the oldest PING without an answer has been waiting."""


class TunnelProbe:
    """The PINGs of one tunnel, numbered."""

    def __init__(self, now: float) -> None:
        self.standing = Standing.UNPROVEN
        self.rtt_s = 0.0
        """The last."""
        self._smoothed_rtt_s = 0.0
        self._began = now
        self._sent_at: dict[int, float] = {}
        self._count = 0
        self._waiting_since: float | None = None
        self._due = now
        self._last_ping = float("-inf")
        self._interval_s = PING_INTERVAL_S

    def answered(self, payload: bytes, now: float) -> None:
        """Takes the answer to a PING."""
        number = int.from_bytes(payload, "big")
        sent_at = self._sent_at.get(number)
        if sent_at is None:
            return
        self._sent_at = {later: at for later, at in self._sent_at.items() if later > number}
        self.rtt_s = now - sent_at
        rtt_s = min(self.rtt_s, _RTT_LIMIT_S)
        first = self.standing is Standing.UNPROVEN
        self._smoothed_rtt_s = rtt_s if first else self._smoothed_rtt_s + _SMOOTHING * (rtt_s - self._smoothed_rtt_s)
        self.standing = Standing.GOOD
        self._waiting_since = min(self._sent_at.values(), default=None)

    def look(self, now: float, last_heard: float, *, idle: bool = False) -> Look:
        """Judges the silence. `last_heard`: when the last byte came. `idle`: nothing was asked since the last look."""
        self._interval_s = IDLE_PING_INTERVAL_S if idle and self.standing is Standing.GOOD else PING_INTERVAL_S
        late_s = now - self._due
        if self._waiting_since is not None and last_heard >= self._waiting_since:
            # Whatever it was, somebody sent it: it counts as an answer.
            self._waiting_since = None
            self._sent_at = {number: at for number, at in self._sent_at.items() if at > last_heard}
            if self.standing in SILENT:
                self.standing = Standing.GOOD
        if late_s > LATE_S:
            return self._postponed(now, late_s)
        silent_s = now - self._waiting_since if self._waiting_since is not None else 0.0
        self._judge(now, silent_s)
        ping = self._next_ping(now)
        again_in_s = self._again_in_s(now)
        self._due = now + again_in_s
        return Look(self.standing, ping, again_in_s, silent_s)

    def suspect_too(self, now: float, last_heard: float) -> bool:
        """Another tunnel to the same gateway fell silent. Returns whether this one becomes suspect by that, as it is
        silent too: what is new would wait here until it is found out in its turn."""
        if self.standing is not Standing.GOOD or self._waiting_since is None or last_heard >= self._waiting_since:
            return False
        if now - self._waiting_since < SUSPECT_TOO_AFTER_S + self._smoothed_rtt_s:
            return False
        self.standing = Standing.SUSPECT
        return True

    def _postponed(self, now: float, late_s: float) -> Look:
        """Our own loop was late: the time for which it stood still does not count against the peer."""
        if self._waiting_since is not None:
            self._waiting_since += late_s
        self._due = now + GRACE_S
        return Look(self.standing, b"", GRACE_S, 0.0)

    def _judge(self, now: float, silent_s: float) -> None:
        if self.standing is Standing.UNPROVEN:
            if now - self._began >= FIRST_ANSWER_S:
                self.standing = Standing.DEAD
        elif silent_s >= DEAD_AFTER_S:
            self.standing = Standing.DEAD
        elif silent_s >= MUTE_AFTER_S:
            self.standing = Standing.MUTE
        elif silent_s >= self._absent_after_s:
            self.standing = Standing.ABSENT
        elif silent_s >= self._suspect_after_s:
            self.standing = Standing.SUSPECT

    @property
    def _suspect_after_s(self) -> float:
        return SUSPECT_AFTER_S + self._smoothed_rtt_s

    @property
    def _absent_after_s(self) -> float:
        return ABSENT_AFTER_S + self._smoothed_rtt_s

    def _next_ping(self, now: float) -> bytes:
        if now - self._last_ping < self._interval_s - LATE_S / 2:
            return b""
        self._last_ping = now
        self._count += 1
        self._sent_at[self._count] = now
        if self._waiting_since is None:
            self._waiting_since = now
        return self._count.to_bytes(8, "big")

    def _again_in_s(self, now: float) -> float:
        """Until the next PING is due, or the next verdict if that comes first."""
        due_s = self._last_ping + self._interval_s - now
        if self._waiting_since is not None and self.standing is Standing.GOOD:
            due_s = min(due_s, self._waiting_since + self._suspect_after_s - now)
        elif self._waiting_since is not None and self.standing is Standing.SUSPECT:
            due_s = min(due_s, self._waiting_since + self._absent_after_s - now)
        return max(due_s, 0.001)
