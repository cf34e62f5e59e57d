"""Who wants to join, at the inviter: requests from etcd, invitations from disk, answers to etcd, and with
`accept: auto` the peer's entry in cluster.yaml.

The configuration is the truth: a joiner is accepted when it stands there, whoever wrote it.
"""

from __future__ import annotations

import logging
import time
from collections.abc import Awaitable, Callable, Mapping, Sequence
from pathlib import Path
from typing import Protocol

import trio

from federation.invitation import Invitation, Joiner, Judgement, Pinned, judge, settle, waiting
from federation.invitation_files import InvitationFiles
from federation.join_answer import AnswerCode, AnswerValue, RequestRefused, digest_of
from federation.join_request import OpenedRequest, open_request
from gateway.config import Config
from gateway.config.edit import CannotEdit, add_peer, rewrite

log = logging.getLogger("isthmus.admissions")

POLL_S = 1.0
"""How soon an invitation that was just made is known: files don't tell."""


class Requests(Protocol):
    """Where requests lie and answers go: `federation.Federation`."""

    def join_requests(self) -> Mapping[str, bytes]: ...
    def answer_join(self, joiner: str, answer: AnswerValue) -> None: ...
    def wait_join_requests(self) -> Awaitable[None]: ...


class Admissions:
    """`config` gives the configuration in use, `reload` takes a changed file in, `roots` gives the fingerprints that
    a joiner may have pinned of us: there are two while a root is replaced."""

    def __init__(
        self,
        *,
        files: InvitationFiles,
        requests: Requests,
        roots: Callable[[], Sequence[str]],
        config: Callable[[], Config],
        config_path: Path,
        reload: Callable[[], None],
    ) -> None:
        self.refused: dict[str, str] = {}
        """By cluster: why its request is refused, `code: detail`."""
        self._files = files
        self._requests = requests
        self._roots = roots
        self._config = config
        self._config_path = config_path
        self._reload = reload
        self._seen_files: object = None
        self._invitations: dict[str, Invitation] = {}
        self._opened: dict[str, tuple[bytes, OpenedRequest]] = {}
        self._codes: dict[str, tuple[bytes, AnswerCode]] = {}
        self._not_written: dict[tuple[str, str, str], str] = {}
        """Joiners that `accept: auto` could not write into cluster.yaml, and why."""

    async def run(self) -> None:
        """Looks whenever there is something new, until cancelled."""
        while True:
            self.look(_wall())
            with trio.move_on_after(POLL_S):
                await self._requests.wait_join_requests()

    def pending(self) -> list[tuple[Invitation, Joiner]]:
        """Who waits to be accepted."""
        return waiting(self._invitations.values(), self._peers())

    def problems(self) -> Mapping[str, str]:
        """What is wrong with invitations and with writing cluster.yaml, by what it is about."""
        return {**self._files.problems, **{identity[0]: why for identity, why in self._not_written.items()}}

    def look(self, now: float) -> None:
        """Judges every request as things are now. `now` is Unix seconds."""
        self._read_files(now)
        requests = dict(self._requests.join_requests())
        for joiner in self._codes.keys() - requests.keys():
            del self._codes[joiner]
            self._opened.pop(joiner, None)
            self.refused.pop(joiner, None)
        for joiner, raw in requests.items():
            self._consider(joiner, raw, now)

    def _read_files(self, now: float) -> None:
        """Takes in what changed on disk, forgets what is over, and marks who has become a peer."""
        state = self._files.state()
        if state != self._seen_files:
            self._invitations = self._files.load()
        for invitation in list(self._invitations.values()):
            if invitation.is_over(now):
                self._files.remove(invitation)
                del self._invitations[invitation.id]
            else:
                self._keep(settle(invitation, self._peers(), now))
        self._seen_files = self._files.state()

    def _keep(self, invitation: Invitation) -> bool:
        """Remembers an invitation on disk; returns whether that worked. What is not on disk did not happen: a restart
        would not know of it."""
        if self._invitations.get(invitation.id) == invitation:
            return True
        try:
            self._files.update(invitation)
        except OSError as error:
            self._files.problems[f"{invitation.id}.json"] = f"who redeemed it can't be written: {error}"
            return False
        self._invitations[invitation.id] = invitation
        return True

    def _consider(self, joiner: str, raw: bytes, now: float) -> None:
        try:
            opened = self._open(joiner, raw, now)
            judgement = self._judge(opened, now)
        except RequestRefused as refusal:
            self._say(joiner, raw, refusal.code, refusal.detail)
            return
        if judgement is not None:
            self._say(joiner, raw, judgement.code, judgement.detail)

    def _open(self, joiner: str, raw: bytes, now: float) -> OpenedRequest:
        """Signatures are checked once. Raises RequestRefused."""
        known = self._opened.get(joiner)
        if known is not None and known[0] == raw and known[1].invitation in self._invitations:
            return known[1]
        *others, last = self._roots()
        for root in others:
            try:
                opened = self._open_for(root, joiner, raw, now)
                break
            except RequestRefused as refusal:
                if refusal.code is not AnswerCode.FOREIGN:
                    raise
        else:
            opened = self._open_for(last, joiner, raw, now)
        self._opened[joiner] = (raw, opened)
        return opened

    def _open_for(self, root: str, joiner: str, raw: bytes, now: float) -> OpenedRequest:
        config = self._config()
        return open_request(
            raw,
            federation=config.federation,
            inviter=config.cluster.name,
            inviter_root=root,
            cluster=joiner,
            key_for=lambda id: self._invitations[id].key() if id in self._invitations else None,
            now=now,
        )

    def _judge(self, opened: OpenedRequest, now: float) -> Judgement | None:
        """What becomes of it; None if that can't be remembered now. An automatic acceptance is done on the way."""
        judgement = self._judge_once(opened, now)
        if not self._keep(judgement.invitation):
            return None
        if judgement.code is not AnswerCode.PENDING or judgement.invitation.accept != "auto":
            return judgement
        if not self._accept(opened):
            return judgement
        judgement = self._judge_once(opened, now)
        return judgement if self._keep(judgement.invitation) else None

    def _judge_once(self, opened: OpenedRequest, now: float) -> Judgement:
        cluster = self._config().cluster
        return judge(
            self._invitations[opened.invitation],
            opened.redemption,
            own=(cluster.name, cluster.trust_domain),
            peers=self._peers(),
            now=now,
        )

    def _accept(self, opened: OpenedRequest) -> bool:
        """Writes the peer into cluster.yaml, once; an operator takes over where that does not work."""
        found = opened.redemption
        identity = (found.cluster, found.trust_domain, found.root)
        if identity in self._not_written:
            return False
        try:
            rewrite(self._config_path, lambda text: add_peer(text, *identity))
        except (CannotEdit, ValueError) as error:
            self._not_written[identity] = f"accept: auto could not write {self._config_path}: {error}"
            log.warning("%s", self._not_written[identity])
            return False
        self._reload()
        return True

    def _say(self, joiner: str, raw: bytes, code: AnswerCode, detail: str) -> None:
        """Answers in etcd, remembers for status, and logs what is new."""
        if code.is_refusal:
            self.refused[joiner] = f"{code}: {detail}"
        else:
            self.refused.pop(joiner, None)
        if self._codes.get(joiner) == (raw, code):
            return
        self._codes[joiner] = (raw, code)
        log.info("the request of cluster %s to join: %s%s", joiner, code, f": {detail}" if detail else "")
        # Whoever does not know the invitation says nothing: another gateway of this cluster may have made it.
        if code is not AnswerCode.UNKNOWN_INVITATION:
            self._requests.answer_join(joiner, AnswerValue(digest_of(raw), code, detail))

    def _peers(self) -> dict[str, Pinned]:
        return {name: Pinned(peer.trust_domain, peer.root) for name, peer in self._config().peers.items()}


def _wall() -> float:
    return time.time()  # noqa: TID251 - invitations expire by the wall clock, and this is a driver
