"""The invitations of a cluster on disk: one file each, in `<state_dir>/invitations`, for its owner only.

`isthmus invite` makes a file, the gateway counts in it who redeemed it, and removing it revokes the invitation.
"""

from __future__ import annotations

import contextlib
import os
from pathlib import Path

import msgspec

from federation.invitation import Invitation
from trust.keys import write_durably

MAX_INVITATIONS = 256
_MAX_FILE_BYTES = 1_048_576


class InvitationFiles:
    """`problems` has what could not be read at the last `load`, by file name."""

    def __init__(self, state_dir: Path) -> None:
        self._directory = state_dir / "invitations"
        self.problems: dict[str, str] = {}

    def create(self, invitation: Invitation) -> None:
        """Raises OSError."""
        self._directory.mkdir(mode=0o700, exist_ok=True)
        write_durably(self._path(invitation.id), _encode(invitation))

    def update(self, invitation: Invitation) -> None:
        """Replaces an invitation that is still there; one that was removed meanwhile stays revoked. Raises OSError."""
        path = self._path(invitation.id)
        if path.exists():
            write_durably(path, _encode(invitation))

    def remove(self, invitation: Invitation) -> None:
        """Best effort: one that can't be removed is over all the same."""
        with contextlib.suppress(OSError):
            self._path(invitation.id).unlink(missing_ok=True)

    def state(self) -> tuple[tuple[str, int, int], ...]:
        """Differs whenever a file came, went or was replaced."""
        return tuple((path.name, stat.st_mtime_ns, stat.st_ino) for path, stat in self._files())

    def load(self) -> dict[str, Invitation]:
        """All that can be read, by id."""
        self.problems = {}
        found: dict[str, Invitation] = {}
        for path, _ in self._files():
            try:
                with path.open("rb") as file:
                    invitation = msgspec.json.decode(file.read(_MAX_FILE_BYTES), type=Invitation)
                invitation.key()
                if f"{invitation.id}.json" != path.name:
                    raise ValueError("its id is not its name")
            except (OSError, msgspec.DecodeError, ValueError, RecursionError) as error:
                self.problems[path.name] = f"{path} is no invitation, remove it: {error}"
                continue
            found[invitation.id] = invitation
        return found

    def _files(self) -> list[tuple[Path, os.stat_result]]:
        files = []
        try:
            for path in sorted(self._directory.glob("*.json"))[:MAX_INVITATIONS]:
                files.append((path, path.stat()))
        except OSError:
            return files
        return files

    def _path(self, invitation: str) -> Path:
        return self._directory / f"{invitation}.json"


def _encode(invitation: Invitation) -> bytes:
    return msgspec.json.format(msgspec.json.encode(invitation)) + b"\n"
