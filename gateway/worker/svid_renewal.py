"""A worker's SVID: asked for when there is none, and again before half of its life is over."""

from __future__ import annotations

import logging
import random
from collections.abc import Awaitable, Callable
from datetime import datetime

import trio

from gateway.control import Certificate
from gateway.tunnel.identity import Identity
from trust.errors import TrustError

log = logging.getLogger("isthmus.worker")

ANSWER_TIMEOUT_S = 5.0
RENEWAL_PAUSE_S = 5.0
CLOCK_CHECK_S = 60.0


class SvidRenewal:
    """Keeps `identity` provided with an SVID, by whichever controller is there."""

    def __init__(self, identity: Identity, rng: random.Random, wall_clock: Callable[[], datetime]) -> None:
        self._identity = identity
        self._rng = rng
        self._wall_clock = wall_clock
        self._certified = trio.Event()
        self._wanted = trio.Event()

    def hurry(self) -> None:
        """There is a reason for another one now: roots have changed."""
        self._wanted.set()

    def take(self, certificate: Certificate) -> bool:
        """Whether it is one of ours, and in use now."""
        try:
            self._identity.take_certificate(certificate.chain, certificate.key)
        except TrustError as error:
            log.error("the controller's certificate is of no use: %s", error)
            return False
        certified, self._certified = self._certified, trio.Event()
        certified.set()
        self._wanted = trio.Event()
        return True

    async def run(self, ask: Callable[[bytes], Awaitable[None]]) -> None:
        """Until cancelled. `ask` brings a signing request (DER) to the controller, which answers by `take`."""
        while True:
            svid = self._identity.svid
            if svid is not None:
                await self._sleep_until(svid.renew_at(self._rng))
            certified = self._certified
            await ask(self._identity.signing_request())
            with trio.move_on_after(ANSWER_TIMEOUT_S):
                await certified.wait()
            if svid is not None and self._identity.svid is not None and self._identity.svid.chain == svid.chain:
                # There is no newer one yet: a Workload API renews by its own clock.
                await trio.sleep(RENEWAL_PAUSE_S)

    async def _sleep_until(self, when: datetime) -> None:
        """By the wall clock, which may be set, and goes on while a machine sleeps; shorter if there is a hurry."""
        called = self._wanted
        while (left_s := (when - self._wall_clock()).total_seconds()) > 0 and not called.is_set():
            with trio.move_on_after(min(left_s, CLOCK_CHECK_S)):
                await called.wait()
