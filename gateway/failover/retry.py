"""When one attempt failed: may another be made? Pure.

RFC 9110 section 9.2.2 and RFC 9113 section 8.7 decide what is safe; `RetryBudget` decides what is affordable.
"""

from __future__ import annotations

import enum

SAFE_METHODS = frozenset({b"GET", b"HEAD", b"OPTIONS", b"TRACE"})
IDEMPOTENT_METHODS = SAFE_METHODS | {b"PUT", b"DELETE"}

REPLAY_BYTES = 65_536
"""A request body is kept for another attempt up to this size; a longer one is tried once."""

HEDGE = "hedge"
"""What metrics call the cause of an attempt that was made beside another, which is late."""


class Failure(enum.StrEnum):
    """Why an attempt failed. The values are `isthmus-reason` and metric labels."""

    CONNECT = "connect-failure"
    REFUSED = "refused-stream"
    NO_HEALTHY_UPSTREAM = "no-healthy-upstream"
    CONNECTION_LOST = "upstream-connection-lost"
    RESET = "upstream-reset"
    PROTOCOL = "upstream-protocol-error"
    TIMEOUT = "upstream-timeout"
    STATUS = "upstream-status"
    """It answered, with a status after which another place is asked."""
    OVERFLOW = "overflow"
    """A peer's gateway carries as much of the service as it may."""

    @property
    def unprocessed(self) -> bool:
        """Whether the upstream provably did nothing with the request: another attempt is safe for any method."""
        return self in _UNPROCESSED

    @property
    def costs_budget(self) -> bool:
        """Whether another attempt adds load to an upstream that is still there. When a gateway dies, its whole load
        moves elsewhere at once: that is failover, and a budget of a fifth would fail the other four fifths."""
        return self not in _FAILOVER


_UNPROCESSED = frozenset({Failure.CONNECT, Failure.REFUSED, Failure.NO_HEALTHY_UPSTREAM, Failure.OVERFLOW})
_FAILOVER = frozenset({Failure.CONNECT, Failure.REFUSED, Failure.NO_HEALTHY_UPSTREAM, Failure.CONNECTION_LOST})
UNPROCESSED_REASONS = {failure.value.encode(): failure for failure in _UNPROCESSED}
"""What a peer's gateway says in `isthmus-reason` of a request with which nothing was done."""


def may_retry(failure: Failure, method: bytes, *, replayable: bool, made: int, limit: int) -> bool:
    """Whether the request itself allows another attempt after `made` of `limit`.

    `replayable`: everything that the client has sent is still held here.
    """
    if made >= limit or not replayable:
        return False
    return failure.unprocessed or method in IDEMPOTENT_METHODS
