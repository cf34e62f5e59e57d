"""What a cluster's keys are on disk: generations of root and record key, and which of them does what.

    <state_dir>/trust/ca.key, ca.pem, record.key, record.pem    the first generation
                     /roots/<id>/…                              a later one, with link.pem by the one before it
                     /keyring.json                              which signs, the stage of a rotation, what is revoked

`keyring.json` is replaced in one piece, after what it names was written and before what it names no longer is removed,
so a crash at any point leaves the state before a step or the one after it. Gateways of one cluster may share the
directory: a lock is held while it is changed, and whoever finds another state than it knew reads it first.
"""

from __future__ import annotations

import fcntl
import shutil
from collections.abc import Iterator
from contextlib import contextmanager
from datetime import datetime
from pathlib import Path

import msgspec
from cryptography import x509
from cryptography.hazmat.primitives import serialization

from trust.authority import Authority
from trust.certificate import PARSE_ERRORS, encode_certificate, parse_certificate
from trust.errors import TrustError
from trust.fingerprint import fingerprint_of
from trust.keys import write_durably
from trust.revocation import Revocations
from trust.rotation import Rotation

FIRST = "."
"""The generation that lies in the directory itself."""
_STATE = "keyring.json"
_LINK = "link.pem"
_LATER = "roots"
_FIRST_FILES = ("ca.key", "ca.pem", "record.key", "record.pem")
_MAX_FILE_BYTES = 262_144


class KeyringState(msgspec.Struct, frozen=True):
    """Everything of a keyring that is no key. `sequence` is that of the bundle since its content changed last."""

    rotation: Rotation = Rotation(FIRST)
    sequence: int = 1
    revoked: Revocations = Revocations()


class KeyringFiles:
    """The directory of one cluster's keys (0700). Raises TrustError, as `Authority.load_or_create` does."""

    def __init__(self, directory: Path, trust_domain: str) -> None:
        self.directory = directory
        self._trust_domain = trust_domain

    def read(self) -> KeyringState:
        """The state; that of a first generation where there is none."""
        path = self.directory / _STATE
        try:
            with path.open("rb") as file:
                return msgspec.json.decode(file.read(_MAX_FILE_BYTES), type=KeyringState)
        except FileNotFoundError:
            return KeyringState()
        except (OSError, msgspec.DecodeError, ValueError, RecursionError) as error:
            raise TrustError(
                "unreadable-file", f"{path}: which keys are in use can't be read: {error}; restore it from a backup"
            ) from None

    def version(self) -> tuple[int, int]:
        """Differs whenever the state was replaced."""
        try:
            status = (self.directory / _STATE).stat()
        except OSError:
            return (0, 0)
        return (status.st_mtime_ns, status.st_ino)

    @contextmanager
    def changing(self, known: KeyringState) -> Iterator[None]:
        """Holds the directory against other gateways of the cluster. Raises TrustError with code `keyring-changed` if
        one of them was here since `known` was read."""
        try:
            with (self.directory / "keyring.lock").open("a") as lock:
                fcntl.flock(lock, fcntl.LOCK_EX)
                if self.read() != known:
                    raise TrustError("keyring-changed", f"{self.directory}: another gateway of this cluster changed it")
                yield
        except OSError as error:
            raise TrustError("unreadable-file", f"{self.directory}: can't be changed: {error}") from error

    def write(self, state: KeyringState) -> None:
        """Raises OSError."""
        write_durably(self.directory / _STATE, msgspec.json.format(msgspec.json.encode(state)) + b"\n")

    def load(self, generation: str, now: datetime) -> Authority:
        """One generation's keys; the first one is made where there is nothing at all."""
        if generation == FIRST:
            return Authority.load_or_create(self.directory, self._trust_domain, now)
        directory = self.directory / _LATER / generation
        if not directory.is_dir():
            raise TrustError(
                "incomplete-authority", f"{directory}: is missing, and {_STATE} names it: restore it from a backup"
            )
        return Authority.load_or_create(directory, self._trust_domain, now)

    def make(self, predecessor: Authority, now: datetime) -> str:
        """Makes another generation, which nothing names yet, and returns its name. Raises OSError."""
        later = self.directory / _LATER
        later.mkdir(mode=0o700, exist_ok=True)
        staging = later / "new"
        shutil.rmtree(staging, ignore_errors=True)
        made = Authority.load_or_create(staging, self._trust_domain, now)
        link = x509.load_der_x509_certificate(predecessor.link_to(made))
        write_durably(staging / _LINK, link.public_bytes(serialization.Encoding.PEM))
        name = fingerprint_of(made.root_der).removeprefix("sha256:")[:16]
        staging.rename(later / name)
        return name

    def link(self, generation: str, predecessor: Authority) -> bytes | None:
        """The generation's root as its predecessor certified it (DER), if it did."""
        path = self.directory / _LATER / generation / _LINK
        try:
            pem = path.read_bytes()
            link = x509.load_pem_x509_certificate(pem)
            if link.issuer != parse_certificate(predecessor.root_der).subject:
                return None
            return encode_certificate(link)
        except FileNotFoundError:
            return None
        except (OSError, *PARSE_ERRORS) as error:
            raise TrustError("malformed-chain", f"{path}: {error}; restore it from a backup") from None

    def remove_others(self, state: KeyringState) -> None:
        """Removes the keys that the state does not name. Best effort: nothing uses them."""
        named = {state.rotation.signing, state.rotation.other}
        if FIRST not in named:
            for name in _FIRST_FILES:
                (self.directory / name).unlink(missing_ok=True)
        later = self.directory / _LATER
        for directory in later.iterdir() if later.is_dir() else ():
            if directory.name not in named:
                shutil.rmtree(directory, ignore_errors=True)
