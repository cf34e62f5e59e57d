"""Which endpoint to try next, and when. Pure: `now` and the random source are arguments."""

from __future__ import annotations

import random
from collections.abc import Sequence

import msgspec

from federation.etcd.config import Endpoint

_FIRST_BACKOFF_S = 0.1
_LAST_BACKOFF_S = 3.0
# A connection that lived as long as this was a good one: its loss starts the backoff anew. One that is lost sooner
# (a member without a leader, a server that accepts and dies) counts as another failure, so that we do not spin.
_SETTLED_S = 5.0


class EndpointState(msgspec.Struct):
    """One endpoint as a status page shows it. `error` is the last failure's text, empty while it is connected."""

    url: str
    connected: bool = False
    error: str = ""
    failures: int = 0
    """Failures in a row."""


class EndpointRing:
    """Goes round the endpoints, with a growing pause after each full round without success."""

    def __init__(self, endpoints: Sequence[Endpoint], rng: random.Random) -> None:
        self._endpoints = tuple(endpoints)
        self._states = tuple(EndpointState(str(endpoint)) for endpoint in endpoints)
        self._rng = rng
        self._next = 0
        self._failures = 0
        self._connected_at = 0.0

    @property
    def states(self) -> tuple[EndpointState, ...]:
        return self._states

    @property
    def hopeless(self) -> bool:
        """Whether every endpoint has failed since one was last connected: who waits now, waits for a repair."""
        return all(state.failures for state in self._states)

    @property
    def has_choice(self) -> bool:
        return len(self._endpoints) > 1

    def describe(self) -> str:
        """Every endpoint with its error, for people."""
        return "; ".join(f"{state.url}: {state.error or 'not tried yet'}" for state in self._states)

    def next_attempt(self) -> tuple[Endpoint, float]:
        """The endpoint to dial, after a pause of so many seconds."""
        endpoint = self._endpoints[self._next]
        rounds = self._failures // len(self._endpoints)
        if rounds == 0 or self._failures % len(self._endpoints):
            return endpoint, 0.0
        backoff_s = min(_LAST_BACKOFF_S, _FIRST_BACKOFF_S * 2.0 ** min(rounds - 1, 16))
        return endpoint, backoff_s * self._rng.uniform(0.5, 1.0)

    def connected(self, now: float) -> None:
        """The endpoint of `next_attempt` answered."""
        self._connected_at = now
        for state in self._states:
            state.failures = 0
        self._states[self._next].connected = True
        self._states[self._next].error = ""

    def failed(self, error: str, now: float) -> None:
        """It could not be reached, or its connection ended: the next one's turn."""
        state = self._states[self._next]
        if state.connected and now - self._connected_at >= _SETTLED_S:
            self._failures = 0
        if not state.connected:
            state.failures += 1
        state.connected = False
        state.error = error
        self._failures += 1
        self._next = (self._next + 1) % len(self._endpoints)
