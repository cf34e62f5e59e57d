"""What was refused, connections and single streams, and why: counts for metrics, and the last one of each kind for
people."""

from __future__ import annotations

import logging
import ssl
from collections.abc import Callable
from datetime import datetime

from gateway.telemetry import REFUSED, WorkerCounters
from gateway.transport.reactor import Reactor

log = logging.getLogger("isthmus.worker")


class Refused:
    """`last` has the last refusal of each kind: "mesh: no-certificate" to what was seen, when and from where."""

    def __init__(self, counters: WorkerCounters, reactor: Reactor, wall_clock: Callable[[], datetime]) -> None:
        self.last: dict[str, str] = {}
        self._counters = counters
        self._reactor = reactor
        self._wall_clock = wall_clock

    def note(self, listener: str, reason: str, detail: str, client: str) -> None:
        """`listener` is its kind, `reason` a code from a bounded set, `detail` for people."""
        self._counters.add(REFUSED, listener, reason)
        self.last[f"{listener}: {reason}"] = f"{self._wall_clock():%Y-%m-%dT%H:%M:%SZ} {client}: {detail}"

    def note_unforeseen(self, listener: str, error: Exception, client: str) -> None:
        """Call it in an `except`: what a peer sent met a defect of ours. It costs that peer's connection, not the
        worker."""
        self._reactor.defects += 1
        log.exception("a peer's connection failed in a way that nobody foresaw; it is closed")
        self.note(listener, "internal-error", type(error).__name__, client)


def tls_reason(error: ssl.SSLError) -> str:
    """A bounded name for why a handshake failed."""
    reason = error.reason or ""
    if "PEER_DID_NOT_RETURN_A_CERTIFICATE" in reason:
        return "no-certificate"
    if "CERTIFICATE_VERIFY_FAILED" in reason:
        return "unknown-authority"
    if "UNSUPPORTED_PROTOCOL" in reason or "VERSION" in reason:
        return "tls-version"
    return "handshake-failed"
