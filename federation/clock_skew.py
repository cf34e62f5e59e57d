"""How far a peer's clock is from ours, as its records tell. Pure; for people only: nothing is decided by it."""

from __future__ import annotations

TOLERATED_S = 30.0
"""Clocks that NTP keeps differ by far less; a record is on its way for less as well."""


class ClockSkew:
    """A record says when it was signed, by its writer's clock. One that comes by a watch that is up to date was signed
    just now; any other is of unknown age, and tells something only if it comes from our future."""

    def __init__(self) -> None:
        self.ahead_s: float | None = None
        """How far the peer's clock is ahead of ours, negative where it is behind; None: nothing told it yet."""

    def __repr__(self) -> str:
        return f"ClockSkew({self.ahead_s})"

    def observe(self, issued_at: float, now: float, *, live: bool) -> None:
        """A record was accepted. Both times are Unix seconds, the first by the peer's clock."""
        ahead_s = issued_at - now
        if live:
            self.ahead_s = ahead_s
        elif ahead_s > 0:
            self.ahead_s = max(ahead_s, self.ahead_s or 0.0)

    @property
    def is_bad(self) -> bool:
        return self.ahead_s is not None and abs(self.ahead_s) > TOLERATED_S
