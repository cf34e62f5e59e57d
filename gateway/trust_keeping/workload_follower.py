"""Keeps a cluster's identity up to date with its SPIFFE Workload API. When that is away, the last one stays."""

from __future__ import annotations

import logging
import random
from collections.abc import Callable, Sequence
from datetime import datetime
from pathlib import Path

import trio

from federation.workload.client import WorkloadFailed, follow_svids
from trust.errors import TrustError
from trust.workload_authority import WorkloadAuthority
from trust.workload_svid import WorkloadIdentity, WorkloadSvid, read_identity

log = logging.getLogger("isthmus.trust")

FIRST_BACKOFF_S = 0.5
LAST_BACKOFF_S = 30.0


class WorkloadFollower:
    """Calls `changed` when `authority` has another identity than before."""

    def __init__(
        self,
        socket: Path,
        authority: WorkloadAuthority,
        changed: Callable[[], None],
        clock: Callable[[], datetime],
        rng: random.Random,
    ) -> None:
        self.problem = ""
        """Why the identity is not renewed now; empty while the agent is followed."""
        self._socket = socket
        self._authority = authority
        self._changed = changed
        self._clock = clock
        self._rng = rng
        self._failures = 0

    async def run(self) -> None:
        while True:
            try:
                await follow_svids(self._socket, self._take)
            except WorkloadFailed as failure:
                self._refuse(str(failure))
            backoff_s = min(LAST_BACKOFF_S, FIRST_BACKOFF_S * 2.0 ** min(self._failures, 10))
            self._failures += 1
            await trio.sleep(backoff_s * self._rng.uniform(0.5, 1.0))

    def _take(self, svids: Sequence[WorkloadSvid]) -> None:
        identity = read_identity(svids, self._authority.trust_domain, self._clock())
        self._failures = 0
        self.problem = ""
        before, self._authority.identity = self._authority.identity, identity
        if _public(identity) != _public(before):
            log.info("took %s from the Workload API", identity.gateway)
            self._changed()

    def _refuse(self, why: str) -> None:
        until = self._authority.identity.gateway.not_after
        problem = f"{why}; the SVID before it is used until {until:%Y-%m-%dT%H:%M:%SZ}"
        if problem != self.problem:
            log.error("%s", problem)
        self.problem = problem


def _public(identity: WorkloadIdentity) -> tuple[object, ...]:
    return identity.gateway.chain, identity.controller.chain, identity.roots


async def first_identity(
    socket: Path, trust_domain: str, clock: Callable[[], datetime], timeout_s: float
) -> WorkloadIdentity:
    """Waits for a first good identity, asking again meanwhile. Raises TrustError with code `no-identity` and the last
    reason, or the code of what is wrong with what came."""
    identity: WorkloadIdentity | None = None
    refused = TrustError("no-identity", f"{socket}: the agent gave no identity within {timeout_s:g} s")

    with trio.move_on_after(timeout_s) as scope:

        def take(svids: Sequence[WorkloadSvid]) -> None:
            nonlocal identity
            identity = read_identity(svids, trust_domain, clock())
            scope.cancel()

        while True:
            try:
                await follow_svids(socket, take)
            except WorkloadFailed as failure:
                refused = failure.unfit or TrustError("no-identity", str(failure))
            await trio.sleep(FIRST_BACKOFF_S)
    if identity is None:
        raise refused
    return identity
