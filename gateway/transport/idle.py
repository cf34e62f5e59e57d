"""When a client's connection has been quiet for too long. Pure, but for what the kernel is told.

Nobody may hold a connection for nothing: not by sending a request's head a byte at a time (slowloris), not by keeping
one open that it does not use, and not by having vanished in the middle of a stream without a word.
"""

from __future__ import annotations

import enum
import socket

import msgspec

# For the rest of a request's head, once a part of it has come.
HEAD_S = 10.0
# Between requests. Longer than what common clients keep theirs for, so that the client goes first.
KEEP_ALIVE_S = 300.0
# For the rest of a request that was answered before it was whole.
SILENT_REST_S = 300.0
# A peer gateway probes its tunnels twice a second or more. One that is silent for so long is gone.
SILENT_PEER_S = 30.0
# A client that vanished is noticed by the kernel within about two minutes (tcp(7)).
_KEEP_ALIVE_PROBES = {"TCP_KEEPIDLE": 60, "TCP_KEEPINTVL": 15, "TCP_KEEPCNT": 4}


class Verdict(enum.StrEnum):
    """What becomes of a connection. The values are metric labels."""

    STAY = "stay"
    IDLE = "idle"
    """It is not used: it is closed politely."""
    SLOW_HEAD = "slow-head"
    SILENT_REST = "silent-rest"
    """The rest of a request that was answered long ago has not come."""
    SILENT_PEER = "silent-peer"


class Idleness(msgspec.Struct):
    """What was seen of one client's connection at the last look. All times in seconds of one monotonic clock."""

    since: float
    requests: int = 0
    head_since: float | None = None

    def look(self, now: float, *, requests: int, streams: int, mid_head: bool) -> Verdict:
        """`requests` were begun in all, `streams` are open, `mid_head`: a part of a request's head has come."""
        if streams or requests != self.requests:
            self.since, self.requests, self.head_since = now, requests, None
            return Verdict.STAY
        if not mid_head:
            self.head_since = None
        elif self.head_since is None:
            self.head_since = now
        elif now - self.head_since >= HEAD_S:
            return Verdict.SLOW_HEAD
        return Verdict.IDLE if now - self.since >= KEEP_ALIVE_S else Verdict.STAY


def prepare_accepted(listener: socket.socket) -> None:
    """Has what is accepted from `listener` from now on send at once, without waiting to fill a packet, and be asked by
    the kernel whether it is still there: on Linux a connection has these options from its listening socket, which
    saves setting them for each. Raises OSError."""
    listener.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
    keep_alive(listener)


def keep_alive(sock: socket.socket) -> None:
    """Has the kernel ask a silent client whether it is still there. Raises OSError."""
    sock.setsockopt(socket.SOL_SOCKET, socket.SO_KEEPALIVE, 1)
    for name, value in _KEEP_ALIVE_PROBES.items():
        if hasattr(socket, name):
            sock.setsockopt(socket.IPPROTO_TCP, getattr(socket, name), value)
