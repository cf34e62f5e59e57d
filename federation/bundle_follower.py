"""Follows the bundle endpoint of one peer: asks it, judges the answer, keeps the last good one, also on disk."""

from __future__ import annotations

import logging
import random
from collections.abc import Awaitable, Callable
from datetime import UTC, datetime
from pathlib import Path

import msgspec
import trio

from federation.bundle_fetch import FetchFailed, fetch_bundle
from federation.bundle_schedule import next_poll_s
from federation.settings import Peer
from trust.bundle import MAX_DOCUMENT_BYTES, Bundle, encode_bundle, parse_bundle
from trust.bundle_source import BundleSource, Fetched, accept_bundle
from trust.errors import TrustError
from trust.keys import write_durably

log = logging.getLogger("isthmus.federation")

_MAX_FILE_BYTES = 2 * MAX_DOCUMENT_BYTES


class _Kept(msgspec.Struct):
    """A bundle on disk, with what it was fetched for: another configuration does not believe it."""

    url: str
    trust_domain: str
    root: str
    at: float
    bundle: msgspec.Raw


class BundleFollower:
    """`changed` is told of each answer, good or bad."""

    def __init__(
        self,
        cluster: str,
        peer: Peer,
        directory: Path,
        changed: Callable[[BundleFollower], None],
        rng: random.Random,
        wall: Callable[[], float],
        fetch: Callable[[BundleSource], Awaitable[Fetched]] = fetch_bundle,
    ) -> None:
        assert peer.endpoint is not None
        self.cluster = cluster
        self.peer = peer
        self.bundle: Bundle | None = None
        self.problem = ""
        """Why the last answer was not taken; empty when it was, or before there is one."""
        self.heard_at: float | None = None
        """When the bundle was confirmed last (Unix seconds)."""
        self._source = peer.endpoint
        self._path = directory / f"{cluster}.json"
        self._changed = changed
        self._rng = rng
        self._wall = wall
        self._fetch = fetch
        self._failures = 0
        self._scope = trio.CancelScope()

    async def run(self) -> None:
        """Until `stop`."""
        self.restore()
        with self._scope:
            while True:
                await self.poll()
                hint_s = self.bundle.refresh_hint_s if self.bundle is not None else None
                await trio.sleep(next_poll_s(hint_s, self._failures, self._rng))

    def stop(self) -> None:
        """For a peer that is none any more: what was kept of it goes too."""
        self._scope.cancel()
        self._path.unlink(missing_ok=True)

    async def poll(self) -> None:
        """Asks once."""
        known, peer, now = self.bundle, self.peer, datetime.fromtimestamp(self._wall(), UTC)
        try:
            fetched = await self._fetch(self._source)
            bundle = accept_bundle(fetched, self._source, peer.trust_domain, peer.root, known, now)
        except (FetchFailed, TrustError) as error:
            self._failures += 1
            self.problem = str(error)[:512]
            log.warning("the bundle of %s stays what it was: %s", self.cluster, self.problem)
        else:
            self._failures, self.problem = 0, ""
            self.bundle, self.heard_at = bundle, self._wall()
            self._keep()
            if bundle != known:
                log.info("took a bundle of %s: sequence %d", self.cluster, bundle.sequence)
        self._changed(self)

    def restore(self) -> None:
        """Takes what was kept for this very endpoint."""
        try:
            with open(self._path, "rb") as file:
                kept = msgspec.json.decode(file.read(_MAX_FILE_BYTES), type=_Kept)
            if (kept.url, kept.trust_domain, kept.root) != self._identity:
                return
            self.bundle = parse_bundle(bytes(kept.bundle), self.peer.trust_domain)
            self.heard_at = kept.at
        except FileNotFoundError:
            return
        except (OSError, msgspec.MsgspecError, ValueError, TrustError) as error:
            log.warning("the kept bundle of %s can't be read, it is fetched anew: %s", self.cluster, error)
        self._changed(self)

    @property
    def url(self) -> str:
        return self._source.url

    @property
    def age_s(self) -> float | None:
        """For how long the bundle was not confirmed; None: there is none."""
        return max(0.0, self._wall() - self.heard_at) if self.heard_at is not None else None

    @property
    def _identity(self) -> tuple[str, str, str]:
        return self._source.url, self.peer.trust_domain, self.peer.root

    def _keep(self) -> None:
        assert self.bundle is not None
        assert self.heard_at is not None
        kept = _Kept(*self._identity, self.heard_at, msgspec.Raw(encode_bundle(self.bundle)))
        try:
            self._path.parent.mkdir(mode=0o700, exist_ok=True)
            write_durably(self._path, msgspec.json.encode(kept))
        except OSError as error:
            log.error("the bundle of %s can't be kept in %s: %s", self.cluster, self._path, error)
