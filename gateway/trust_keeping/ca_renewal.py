"""Follows the files of a CA that somebody else renews, and tells peers before anything is signed under another root."""

from __future__ import annotations

import logging
import time
from collections.abc import Callable
from datetime import UTC, datetime
from pathlib import Path
from typing import TypeAlias

import trio

from federation.federation import Federation
from trust.ca_files import CA_FILES, load_ca
from trust.errors import TrustError
from trust.external_authority import ExternalAuthority, save_former

log = logging.getLogger("isthmus.trust")

POLL_S = 1.0
# A peer that is there acknowledges a bundle within a second. One that is not reads it before it dials.
PEERS_WAIT_S = 60.0

_Fingerprint: TypeAlias = tuple[tuple[int, ...], ...]


class CaRenewal:
    """Keeps an `ExternalAuthority` up to date with its directory. `former` is where its former roots are noted,
    `readers_s` how long whoever reads the bundle by its URL may take to come."""

    def __init__(
        self,
        directory: Path,
        authority: ExternalAuthority,
        federation: Federation,
        former: Path,
        clock: Callable[[], datetime] | None = None,
        *,
        readers_s: float = 0.0,
    ) -> None:
        self.problem = ""
        """Why the files, as they are now, were not taken; the CA before them stays."""
        self._directory = directory
        self._authority = authority
        self._federation = federation
        self._former = former
        self._clock = clock or _wall_clock
        self._readers_s = readers_s
        self._seen: _Fingerprint = ()
        """Nothing yet: the files may have changed since `authority` was made of them."""
        self._offered_at = 0.0
        self._offered_sequence = -1

    async def run(self) -> None:
        while True:
            await trio.sleep(POLL_S)
            self.look()

    def look(self) -> None:
        """One look at the files and the clock."""
        found = _fingerprint(self._directory)
        # What was refused is looked at again: it may only have been younger than this machine's clock.
        if found != self._seen or self.problem:
            self._seen = found
            self._take()
        if self._authority.waiting is not None and self._may_activate():
            self._authority.activate(self._clock())
            log.info("%s signs from now on", self._authority.ca)
            self._changed()
        if self._authority.retire(self._clock()):
            log.info("a former root is out of the bundle: what it signed has expired")
            self._changed()

    def _take(self) -> None:
        now = self._clock()
        try:
            ca = load_ca(self._directory, self._authority.trust_domain, now)
        except TrustError as error:
            self._refuse(error)
            return
        self.problem = ""
        if self._authority.waiting is None and ca.certificates == self._authority.ca.certificates:
            return
        self._offered_at = trio.current_time()
        self._offered_sequence = self._federation.status().bundle_sequence
        self._authority.offer(ca, now)
        if self._authority.waiting is None:
            log.info("took the renewed %s", ca)
        else:
            log.warning("%s has another root: it signs when peers know that", ca)
        self._changed()

    def _refuse(self, error: TrustError) -> None:
        problem = f"what trust.ca_dir holds now is refused, the CA before it stays: {error.code}: {error}"
        if problem != self.problem:
            log.error("%s", problem)
        self.problem = problem

    def _may_activate(self) -> bool:
        """Whether all peers know the root of the CA that waits, or there is no time left to wait for them."""
        if self._authority.ca.issuer.not_valid_after_utc <= self._clock():
            return True
        waited_s = trio.current_time() - self._offered_at
        if waited_s < self._readers_s:
            return False
        if waited_s >= PEERS_WAIT_S:
            return True
        status = self._federation.status()
        return status.bundle_sequence > self._offered_sequence and all(
            peer.acknowledged >= status.bundle_sequence for peer in status.peers if peer.following is None
        )

    def _changed(self) -> None:
        try:
            save_former(self._former, self._authority.former_after(self._clock()))
        except OSError as error:
            log.error("the former roots can't be noted in %s: %s", self._former, error)
        self._federation.trust_changed()


def _fingerprint(directory: Path) -> _Fingerprint:
    return tuple(file_fingerprint(directory / name) for name in CA_FILES)


def file_fingerprint(path: Path) -> tuple[int, ...]:
    """Another one when the file is another, or may be read by others; empty when there is none."""
    try:
        status = path.stat()
    except OSError:
        return ()
    return (status.st_mtime_ns, status.st_size, status.st_ino, status.st_mode)


def _wall_clock() -> datetime:
    return datetime.fromtimestamp(time.time(), UTC)  # noqa: TID251 - certificates are dated by the wall clock
