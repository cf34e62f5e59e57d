"""What an operator orders of a running gateway about its trust: files, as invitations are.

`isthmus trust` writes `<state_dir>/orders/<id>.json`; the gateway takes it away before it obeys, and says in
`<id>.answer` what became of it. Who may write there owns the state directory, and so the CA's key.
"""

from __future__ import annotations

import contextlib
import secrets
from pathlib import Path
from typing import Literal

import msgspec

from trust.keys import write_durably

_MAX_FILE_BYTES = 4_096


class TrustOrder(msgspec.Struct, frozen=True):
    """`subject` is the fingerprint, gateway id or serial number to revoke. `force`: wait for no acknowledgement."""

    action: Literal["rotate", "revoke-root", "revoke-gateway"]
    subject: str = ""
    force: bool = False


class TrustAnswer(msgspec.Struct, frozen=True):
    """`done`: it was obeyed. `message` is for people."""

    done: bool
    message: str


class OrderFiles:
    """The orders of one gateway."""

    def __init__(self, state_dir: Path) -> None:
        self._directory = state_dir / "orders"

    def give(self, order: TrustOrder) -> str:
        """Returns the order's id. Raises OSError."""
        self._directory.mkdir(mode=0o700, exist_ok=True)
        id = secrets.token_hex(8)
        write_durably(self._directory / f"{id}.json", msgspec.json.encode(order))
        return id

    def take(self) -> list[tuple[str, TrustOrder]]:
        """The orders that are there; they are not any more when this returns, so that none is obeyed twice."""
        found: list[tuple[str, TrustOrder]] = []
        try:
            paths = sorted(self._directory.glob("*.json"))
        except OSError:
            return found
        for path in paths:
            with contextlib.suppress(OSError, msgspec.DecodeError, ValueError, RecursionError):
                with path.open("rb") as file:
                    content = file.read(_MAX_FILE_BYTES)
                path.unlink()
                found.append((path.stem, msgspec.json.decode(content, type=TrustOrder)))
        return found

    def answer(self, id: str, answer: TrustAnswer) -> None:
        """Best effort: it was obeyed all the same."""
        with contextlib.suppress(OSError):
            write_durably(self._directory / f"{id}.answer", msgspec.json.encode(answer))

    def read_answer(self, id: str) -> TrustAnswer | None:
        """Takes the answer away; None: there is none yet."""
        path = self._directory / f"{id}.answer"
        try:
            answer = msgspec.json.decode(path.read_bytes(), type=TrustAnswer)
        except FileNotFoundError:
            return None
        except (OSError, msgspec.DecodeError) as error:
            return TrustAnswer(False, f"{path} can't be read: {error}")
        path.unlink(missing_ok=True)
        return answer

    def withdraw(self, id: str) -> bool:
        """Takes an order back; returns whether nobody had taken it."""
        try:
            (self._directory / f"{id}.json").unlink()
        except OSError:
            return False
        return True

    def forget_answers(self) -> None:
        """Of those who no longer wait."""
        with contextlib.suppress(OSError):
            for path in self._directory.glob("*.answer"):
                path.unlink(missing_ok=True)
