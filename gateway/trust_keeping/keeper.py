"""Keeps the rotation of this cluster's root going: looks what is due, does it, and tells peers and workers.

What is decided lives in `trust.rotation`, what is kept in `trust.keyring`; here are the clock, the files and the log.
"""

from __future__ import annotations

import logging
import re
import time
from collections.abc import Callable, Mapping
from typing import Protocol

import trio

from federation.acknowledgement import PublicationState
from gateway.control import Renew
from gateway.trust_keeping.orders import OrderFiles, TrustAnswer, TrustOrder
from trust.errors import TrustError
from trust.fingerprint import parse_fingerprint
from trust.keyring import Keyring
from trust.rotation import READERS, CannotRotate, Observed, Rotation, Stage, Step, due_step, why_waiting

log = logging.getLogger("isthmus.trust")

POLL_S = 0.2
"""How soon an order is seen: a revocation has to reach every peer within 2 s."""
SETTLE_S = 15.0
"""While no controller ran, workers had no certificates under the new root, and tunnels could not be replaced. Both are
done within this time after a start: a tunnel is tried again every 5 s at least."""
_SERIAL = re.compile(r"(0x)?[0-9a-fA-F:]{8,60}")


class Publisher(Protocol):
    """Who tells peers what this cluster's bundle is: `federation.federation.Federation`."""

    @property
    def gateway_id(self) -> str: ...

    def publication_state(self) -> PublicationState: ...

    def trust_changed(self) -> None: ...


class Worker(Protocol):
    """One that is told: `gateway.controller.worker_link.WorkerLink`."""

    id: str

    def tell(self, message: Renew) -> None: ...


class Workers(Protocol):
    """`gateway.controller.fleet.Fleet`."""

    @property
    def links(self) -> Mapping[str, Worker]: ...


class TrustKeeper:
    """Follows a `Keyring`. `clock` gives Unix seconds; `readers_s`: as `Observed` has it."""

    def __init__(
        self,
        keyring: Keyring,
        federation: Publisher,
        fleet: Workers,
        orders: OrderFiles,
        clock: Callable[[], float] | None = None,
        *,
        readers_s: float = 0.0,
    ) -> None:
        self.problem = ""
        """Why the keys can't be followed or changed now."""
        self._keyring = keyring
        self._federation = federation
        self._fleet = fleet
        self._orders = orders
        self._clock = clock or _wall
        self._readers_s = readers_s
        self._certified_by = keyring.fingerprint
        self._told: set[str] = set()
        """The workers that got, or were told to get, a certificate as they are made now."""
        self._renewing = keyring.rotation.stage is not Stage.STEADY
        self._settled_at = self._clock() + (SETTLE_S if keyring.rotation.stage is Stage.ACTIVE else 0.0)

    async def run(self) -> None:
        self._orders.forget_answers()
        while True:
            self.look()
            await trio.sleep(POLL_S)

    def look(self) -> None:
        """One look at the files, the orders and the clock."""
        try:
            if self._keyring.reload(self._clock()):
                log.warning("another gateway of this cluster changed the keys: %s", self._described())
                self._changed()
            for id, order in self._orders.take():
                self._obey(id, order)
            self._go_on()
            self.problem = ""
        except TrustError as error:
            if error.code != "keyring-changed":  # That is read at the next look.
                self._complain(str(error))
        self._renew_workers()

    @property
    def rotation(self) -> Rotation:
        return self._keyring.rotation

    def waiting(self) -> tuple[str, ...]:
        """What the next step of the rotation waits for, for people."""
        state = self._federation.publication_state()
        return why_waiting(self._keyring.rotation, self._observed(state), self._clock())

    def _observed(self, state: PublicationState) -> Observed:
        return Observed(state.waiting_for, state.published and not state.behind, state.unsigned, self._readers_s)

    def _complain(self, problem: str) -> None:
        if problem != self.problem:
            log.error("the cluster's keys stay as they are: %s", problem)
        self.problem = problem

    def _go_on(self) -> None:
        state = self._federation.publication_state()
        now = self._clock()
        if state.behind:
            return  # Whoever has the later keys goes on.
        if self._keyring.forget_ended(now, state.sequence):
            self._federation.trust_changed()
        step = due_step(self._keyring.rotation, self._observed(state), now)
        if step is Step.RETIRE and now < self._settled_at:
            return
        if step is not None:
            if self._keyring.rotation.forced and state.waiting_for:
                for name, why in sorted(state.waiting_for.items()):
                    log.warning("FORCED: the rotation of the root goes on without %s: %s", name, why)
            self._keyring.take_step(step, now, state.sequence)
            log.warning("rotation of the root: %s", self._described())
            self._changed()

    def _described(self) -> str:
        return f"stage {self._keyring.rotation.stage}, {self._keyring.fingerprint} signs"

    def _changed(self) -> None:
        """Tells peers at once, and workers whose certificates are not what they should be."""
        self._federation.trust_changed()
        if self._keyring.fingerprint != self._certified_by:
            self._certified_by = self._keyring.fingerprint
            self._certify_again()

    def _certify_again(self) -> None:
        self._renewing = True
        self._told.clear()

    def _renew_workers(self) -> None:
        """A worker that this controller did not see yet may hold a certificate from before the change."""
        if self._renewing:
            for link in self._fleet.links.values():
                if link.id not in self._told:
                    self._told.add(link.id)
                    link.tell(Renew())

    # Orders.

    def _obey(self, id: str, order: TrustOrder) -> None:
        log.warning("ordered: %s %s%s", order.action, order.subject, " --force" if order.force else "")
        try:
            answer = TrustAnswer(True, self._execute(order))
        except (CannotRotate, TrustError) as error:
            answer = TrustAnswer(False, str(error))
        log.warning("%s: %s", order.action, answer.message)
        self._orders.answer(id, answer)

    def _execute(self, order: TrustOrder) -> str:
        """Returns what was done. Raises CannotRotate and TrustError."""
        state, now = self._federation.publication_state(), self._clock()
        if state.behind:
            raise CannotRotate(
                f"another gateway of this cluster has later keys (bundle {state.sequence}): order it there, and bring "
                "its state_dir/trust here"
            )
        match order.action:
            case "rotate":
                return self._rotate(order, state, now)
            case "revoke-root":
                return self._revoke_root(order.subject, state, now)
            case _:
                return self._revoke_gateway(order.subject, state, now)

    def _rotate(self, order: TrustOrder, state: PublicationState, now: float) -> str:
        if order.force and self._keyring.rotation.stage is not Stage.STEADY:
            self._keyring.force(now)
            left = ", ".join(sorted(state.waiting_for)) or "nobody"
            return f"goes on without waiting for acknowledgements; left behind: {left}"
        self._keyring.prepare(now, state.sequence, forced=order.force)
        self._changed()
        readers = f", and not before {self._readers_s:g} s, for {READERS}" if self._readers_s else ""
        return "the next root is in the bundle; it signs when every peer has acknowledged that" + (
            ", or as soon as that is written: --force" if order.force else readers
        )

    def _revoke_root(self, subject: str, state: PublicationState, now: float) -> str:
        self._keyring.revoke_root(parse_fingerprint(subject), now, state.sequence)
        self._changed()
        return f"{parse_fingerprint(subject)} is revoked; {self._keyring.fingerprint} signs from now on"

    def _revoke_gateway(self, subject: str, state: PublicationState, now: float) -> str:
        known = {self._federation.gateway_id, *state.gateways}
        if subject in known or subject.startswith("gw-"):
            own = subject == self._federation.gateway_id
            self._keyring.revoke_gateway(subject, now, state.sequence, own=own)
            self._changed()
            if own:
                self._certify_again()
                return f"all certificates of {subject} are revoked, and its workers get others: it is this gateway"
            unknown = f"; no such gateway is in etcd now, only {', '.join(sorted(known))}: compare the id"
            return f"gateway {subject} is revoked, with all certificates that it has or will get" + (
                unknown if subject not in known else ""
            )
        if not _SERIAL.fullmatch(subject):
            raise CannotRotate(
                f"{subject} is neither a gateway of this cluster ({', '.join(sorted(known))}) nor a certificate's "
                "serial number in hexadecimal"
            )
        serial = subject.lower().removeprefix("0x").replace(":", "").lstrip("0")
        self._keyring.revoke_serial(serial, now, state.sequence)
        self._changed()
        self._certify_again()
        return f"the certificate with serial number {serial} is revoked; this gateway's workers get others"


def _wall() -> float:
    return time.time()  # noqa: TID251 - certificates and rotations are dated by the wall clock, and this is a driver
