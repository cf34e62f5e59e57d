"""When a client's connection has been quiet for too long. `Idleness` is pure; `quiet_s` asks the kernel.

Nobody may hold a connection for nothing: not by sending a request's head a byte at a time (slowloris), not by keeping
one open that it does not use, and not by having vanished in the middle of a stream without a word.
"""

from __future__ import annotations

import enum
import socket
import struct

import msgspec

# For the rest of a request's head, once a part of it has come.
HEAD_S = 10.0
# Between requests. Longer than what common clients keep theirs for, so that the client goes first.
KEEP_ALIVE_S = 300.0
# With streams open, and not a byte either way: a TCP connection may be silent for long and be meant so.
SILENT_STREAM_S = 3600.0
# A peer gateway probes its tunnels every half second. One that is silent for so long is gone.
SILENT_PEER_S = 30.0
# tcp(7), struct tcp_info: tcpi_last_data_sent, tcpi_last_ack_sent, tcpi_last_data_recv, in milliseconds.
_LAST_DATA = struct.Struct("=3I")
_LAST_DATA_OFFSET = 44
# A client that vanished is noticed by the kernel within about two minutes (tcp(7)).
_KEEP_ALIVE_PROBES = {"TCP_KEEPIDLE": 60, "TCP_KEEPINTVL": 15, "TCP_KEEPCNT": 4}


class Verdict(enum.StrEnum):
    """What becomes of a connection. The values are metric labels."""

    STAY = "stay"
    IDLE = "idle"
    """It is not used: it is closed politely."""
    SLOW_HEAD = "slow-head"


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


def quiet_s(sock: socket.socket) -> float:
    """For how long no data has crossed a TCP connection in either direction; 0 where the kernel does not tell."""
    size = _LAST_DATA_OFFSET + _LAST_DATA.size
    if not hasattr(socket, "TCP_INFO"):
        return 0.0
    info = sock.getsockopt(socket.IPPROTO_TCP, socket.TCP_INFO, size)
    if len(info) < size:
        return 0.0
    sent_ms, _, received_ms = _LAST_DATA.unpack_from(info, _LAST_DATA_OFFSET)
    return float(min(sent_ms, received_ms)) / 1000


def keep_alive(sock: socket.socket) -> None:
    """Has the kernel ask a silent client whether it is still there. Raises OSError."""
    sock.setsockopt(socket.SOL_SOCKET, socket.SO_KEEPALIVE, 1)
    for name, value in _KEEP_ALIVE_PROBES.items():
        if hasattr(socket, name):
            sock.setsockopt(socket.IPPROTO_TCP, getattr(socket, name), value)
