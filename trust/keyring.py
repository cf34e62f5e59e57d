"""The cluster's own trust: a root and a record key that sign, and during a rotation those that come or go.

Implements `trust.source.TrustSource` over the generations on disk. Every change is on disk before it is seen here.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from datetime import UTC, datetime
from pathlib import Path

import msgspec

from trust import rotation as rotations
from trust.authority import REFRESH_HINT_S, Authority
from trust.bundle import Bundle, RecordKey
from trust.errors import TrustError
from trust.keyring_files import KeyringFiles, KeyringState
from trust.keys import PrivateKey
from trust.revocation import FOREVER, MAX_REVOCATIONS, Revocations
from trust.rotation import CannotRotate, Rotation, Stage, Step

_SERIAL_KEPT_S = 86_400 + 600
"""How long a revoked serial number is kept: longer than any SVID lives (`trust.svid_lifetime` is at most 24 h)."""


class Keyring:
    """Made by `load_or_create`. `now` is Unix seconds where it is a float."""

    def __init__(self, files: KeyringFiles, now: datetime) -> None:
        self._files = files
        self._state = KeyringState()
        self._signing: Authority
        self._other: Authority | None = None
        self._link: bytes | None = None
        self._version = files.version()
        self._take(files.read(), now)

    def __repr__(self) -> str:
        return f"<Keyring {self.trust_domain} {self.fingerprint} {self.rotation.stage}>"

    @classmethod
    def load_or_create(cls, directory: Path, trust_domain: str, now: datetime) -> Keyring:
        """The keys kept in `directory`; a first root is made where there is none. Raises TrustError."""
        return cls(KeyringFiles(directory, trust_domain), now)

    # trust.source.TrustSource

    @property
    def trust_domain(self) -> str:
        return self._signing.trust_domain

    @property
    def root_der(self) -> bytes:
        return self._signing.root_der

    @property
    def fingerprint(self) -> str:
        return self._signing.fingerprint

    @property
    def record_key(self) -> PrivateKey:
        return self._signing.record_key

    @property
    def vouching_key(self) -> PrivateKey:
        return self._signing.record_key

    @property
    def record_chain(self) -> Sequence[bytes]:
        """The signing root is in it, and while a rotation lasts, behind it, the way from the old one to it."""
        if self._link is None or self._other is None:
            return self._signing.record_chain
        return [*self._signing.record_chain, self._link, self._other.root_der]

    @property
    def sequence(self) -> int:
        return self._state.sequence

    def bundle(self, sequence: int) -> Bundle:
        believed, signers = [self._signing], [self._signing]
        if self._other is not None:
            # In the order in which they came, so that a bundle does not change by what signs with it.
            at = 1 if self.rotation.stage is Stage.PREPARED else 0
            if self.rotation.stage in (Stage.PREPARED, Stage.ACTIVE):
                believed.insert(at, self._other)
            if self.rotation.stage is not Stage.SILENCED:
                signers.insert(at, self._other)
        return Bundle(
            trust_domain=self.trust_domain,
            sequence=sequence,
            refresh_hint_s=REFRESH_HINT_S,
            authorities=tuple(authority.root_der for authority in believed),
            record_keys=tuple(RecordKey.of(authority.record_key.public_key) for authority in signers),
            revoked=self._state.revoked,
        )

    # More of the same, for whoever keeps the rotation going and for status.

    @property
    def rotation(self) -> Rotation:
        return self._state.rotation

    @property
    def revoked(self) -> Revocations:
        return self._state.revoked

    @property
    def other_root(self) -> bytes | None:
        """The root that comes or goes (DER)."""
        return self._other.root_der if self._other is not None else None

    def issue_gateway(self, csr_der: bytes, *, now: datetime, lifetime_s: float, gateway: str = "") -> list[bytes]:
        """As `Authority.issue_gateway`. Raises TrustError."""
        if lifetime_s > self.rotation.longest_svid_s:
            # Known before it is issued: a retirement waits for it.
            self._change(lambda state: _with_rotation(state, longest_svid_s=lifetime_s), now)
        until = self._state.revoked.gateways.get(gateway, -1)
        if now.timestamp() + lifetime_s <= until < FOREVER:
            # Its certificates up to that second are revoked, so this one has to outlive them.
            lifetime_s = until + 1.0 - now.timestamp() + 1.0
        return self._signing.issue_gateway(csr_der, now=now, lifetime_s=lifetime_s, gateway=gateway)

    # Changes. `published` is the sequence of our bundle that peers may have seen; what changes it goes above.

    def reload(self, now: float) -> bool:
        """Takes in what another gateway of the cluster changed; returns whether something did. Raises TrustError."""
        version = self._files.version()
        if version == self._version:
            return False
        state = self._files.read()
        changed = state != self._state
        if changed:
            self._take(state, _moment(now))
        self._version = version
        return changed

    def prepare(self, now: float, published: int, *, forced: bool) -> None:
        """Makes the next root. Raises CannotRotate and TrustError."""

        def prepared(state: KeyringState) -> KeyringState:
            rotations.prepare(state.rotation, "next", now, forced=forced)
            made = self._files.make(self._signing, _moment(now))
            return _next(state, rotations.prepare(state.rotation, made, now, forced=forced), published)

        self._change(prepared, _moment(now))

    def force(self, now: float) -> None:
        """Raises CannotRotate and TrustError."""
        self._change(
            lambda state: msgspec.structs.replace(state, rotation=rotations.force(state.rotation)), _moment(now)
        )

    def take_step(self, step: Step, now: float, published: int) -> None:
        """Raises CannotRotate and TrustError."""

        def stepped(state: KeyringState) -> KeyringState:
            after = rotations.take_step(state.rotation, step, now)
            if step in (Step.ACTIVATE, Step.FINISH):
                return msgspec.structs.replace(state, rotation=after)
            return _next(state, after, published)

        self._change(stepped, _moment(now))

    def revoke_root(self, fingerprint: str, now: float, published: int) -> None:
        """Takes one of our roots out of the bundle at once. Raises CannotRotate and TrustError."""
        roots = {self.fingerprint: self.rotation.signing}
        if self._other is not None:
            roots[self._other.fingerprint] = self.rotation.other
        if fingerprint not in roots:
            ours = ", ".join(roots)
            raise CannotRotate(f"{fingerprint} is no root of this cluster, which has {ours}")

        def without(state: KeyringState) -> KeyringState:
            revoked = roots[fingerprint]
            after = rotations.revoke(state.rotation, revoked, "new", now)
            if after.signing == "new":
                after = rotations.revoke(state.rotation, revoked, self._files.make(self._signing, _moment(now)), now)
            return _next(state, after, published)

        self._change(without, _moment(now))

    def revoke_gateway(self, gateway: str, now: float, published: int, *, own: bool) -> None:
        """Refuses all certificates of a gateway; of our `own` those that it has so far. Raises CannotRotate and
        TrustError."""
        until = int(now + self.rotation.longest_svid_s) + 1 if own else FOREVER
        self._revoke(lambda old: Revocations({**old.gateways, gateway: until}, old.serials), now, published)

    def revoke_serial(self, serial: str, now: float, published: int) -> None:
        """Refuses one certificate. Raises CannotRotate and TrustError."""
        until = int(now) + _SERIAL_KEPT_S
        self._revoke(lambda old: Revocations(old.gateways, {**old.serials, serial: until}), now, published)

    def forget_ended(self, now: float, published: int) -> bool:
        """Drops revocations that refuse nothing any more; returns whether there were some. Raises TrustError."""
        if self._state.revoked.without_ended(now) == self._state.revoked:
            return False
        self._revoke(lambda old: old, now, published)
        return True

    def _revoke(self, change: Callable[[Revocations], Revocations], now: float, published: int) -> None:
        def revoked(state: KeyringState) -> KeyringState:
            after = change(state.revoked.without_ended(now))
            if len(after) > MAX_REVOCATIONS:
                raise CannotRotate(f"{MAX_REVOCATIONS} certificates and gateways are revoked already: revoke the root")
            return _next(msgspec.structs.replace(state, revoked=after), state.rotation, published)

        self._change(revoked, _moment(now))

    def _change(self, change: Callable[[KeyringState], KeyringState], now: datetime) -> None:
        """Writes, then takes in."""
        with self._files.changing(self._state):
            after = change(self._state)
            try:
                self._files.write(after)
            except OSError as error:
                raise TrustError("unreadable-file", f"{self._files.directory}: can't be written: {error}") from error
            self._take(after, now)
            self._version = self._files.version()
            self._files.remove_others(after)

    def _take(self, state: KeyringState, now: datetime) -> None:
        """Loads all before anything of it is used. Raises TrustError."""
        rotation = state.rotation
        signing = self._files.load(rotation.signing, now)
        other = self._files.load(rotation.other, now) if rotation.other else None
        after = other is not None and rotation.stage is not Stage.PREPARED
        self._link = self._files.link(rotation.signing, other) if after and other is not None else None
        self._signing, self._other, self._state = signing, other, state


def _next(state: KeyringState, rotation: Rotation, published: int) -> KeyringState:
    """The state with another bundle."""
    sequence = max(state.sequence, published) + 1
    return msgspec.structs.replace(state, rotation=rotation, sequence=sequence)


def _with_rotation(state: KeyringState, **changes: object) -> KeyringState:
    return msgspec.structs.replace(state, rotation=msgspec.structs.replace(state.rotation, **changes))


def _moment(now: float) -> datetime:
    return datetime.fromtimestamp(now, UTC)
