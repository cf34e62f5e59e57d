"""The requests to join that lie in etcd for us, and our answers to them. Pure; nothing here is verified."""

from __future__ import annotations

from collections.abc import Mapping
from types import MappingProxyType

MAX_REQUESTS = 64
"""How many are looked at: anybody who may write to etcd can leave some."""


class JoinRequests:
    """Fed with what etcd shows. `changed` becomes true when there is something new to look at."""

    def __init__(self) -> None:
        self.changed = False
        self._requests: dict[str, bytes] = {}
        self._unseen: set[str] = set()
        self._answered: set[str] = set()

    @property
    def requests(self) -> Mapping[str, bytes]:
        """By the name under which it lies: a live, read-only view."""
        return MappingProxyType(self._requests)

    def take_changed(self) -> bool:
        taken, self.changed = self.changed, False
        return taken

    def begin_listing(self) -> None:
        self._unseen = set(self._requests)
        self._answered = set()

    def found(self, joiner: str, raw: bytes) -> None:
        self._unseen.discard(joiner)
        if self._requests.get(joiner) == raw or (joiner not in self._requests and len(self._requests) >= MAX_REQUESTS):
            return
        self._requests[joiner] = raw
        self.changed = True

    def gone(self, joiner: str) -> None:
        if self._requests.pop(joiner, None) is not None:
            self.changed = True

    def found_answer(self, joiner: str) -> None:
        """An answer of our cluster's lies in etcd."""
        self._answered.add(joiner)

    def end_listing(self) -> set[str]:
        """Returns the joiners whose answer has no request any more."""
        for joiner in self._unseen:
            self.gone(joiner)
        self._unseen = set()
        return self._answered - self._requests.keys()
