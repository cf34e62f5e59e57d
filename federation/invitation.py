"""Invitations as the inviter keeps them, and what becomes of a request that redeems one. Pure.

Nothing here is secret: of the secret there is only the public key that it gives. Who has redeemed is remembered, so
that uses are counted over restarts, and the same request asked twice counts once.
"""

from __future__ import annotations

import base64
from collections.abc import Iterable, Mapping
from typing import Annotated, Literal

import msgspec
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PublicKey

from federation.join_answer import AnswerCode
from federation.join_request import Redemption
from federation.join_token import INVITATION_ID, invitation_key

MAX_USES = 1_000
KEPT_S = 86_400.0
"""For how long an invitation that is over still names itself to those who come late."""


class Joiner(msgspec.Struct, frozen=True):
    """A cluster that redeemed an invitation. Times are Unix seconds; `accepted_at` is 0 while it waits."""

    cluster: str
    trust_domain: str
    root: str
    redeemed_at: float
    accepted_at: float = 0.0

    @property
    def identity(self) -> tuple[str, str, str]:
        return self.cluster, self.trust_domain, self.root


class Invitation(msgspec.Struct, frozen=True, kw_only=True):
    """`cluster` is the only one that may redeem it, empty: any."""

    id: Annotated[str, msgspec.Meta(pattern=f"^{INVITATION_ID.pattern}$")]
    public_key: Annotated[str, msgspec.Meta(min_length=44, max_length=44)]
    """Ed25519, raw, in base64."""
    created_at: float
    expires_at: float
    uses: Annotated[int, msgspec.Meta(ge=1, le=MAX_USES)]
    accept: Literal["auto", "manual"]
    cluster: str = ""
    joiners: tuple[Joiner, ...] = ()

    def key(self) -> Ed25519PublicKey:
        """Raises ValueError if the file was damaged."""
        return Ed25519PublicKey.from_public_bytes(base64.b64decode(self.public_key, validate=True))

    def is_over(self, now: float) -> bool:
        """Whether nothing can come of it any more, and nobody asks."""
        waiting = any(not joiner.accepted_at for joiner in self.joiners)
        return now > self.expires_at + KEPT_S and not waiting


def public_key_of(secret: bytes, invitation: str) -> str:
    """What the inviter keeps of a secret."""
    return base64.b64encode(invitation_key(secret, invitation).public_key().public_bytes_raw()).decode()


class Pinned(msgspec.Struct, frozen=True):
    """A cluster's trust domain and root, as `peers` has them."""

    trust_domain: str
    root: str


class Judgement(msgspec.Struct, frozen=True):
    """What becomes of a request, and the invitation as it is from then on."""

    code: AnswerCode
    detail: str
    invitation: Invitation


def judge(
    invitation: Invitation,
    redemption: Redemption,
    *,
    own: tuple[str, str],
    peers: Mapping[str, Pinned],
    now: float,
) -> Judgement:
    """Decides on a redemption whose signatures are good. `own` is our name and trust domain, `peers` the
    configuration's, which is the truth: a joiner is accepted when it stands there. `now` is Unix seconds."""
    asked = Joiner(redemption.cluster, redemption.trust_domain, redemption.root, now)
    is_peer = peers.get(asked.cluster) == Pinned(asked.trust_domain, asked.root)
    before = next((joiner for joiner in invitation.joiners if joiner.identity == asked.identity), None)
    if before is None:
        refused = _refusal(invitation, asked, own, peers, now, is_peer=is_peer)
        if refused is not None:
            return Judgement(*refused, invitation)
        invitation = msgspec.structs.replace(invitation, joiners=(*invitation.joiners, asked))
        before = asked
    if is_peer:
        return Judgement(AnswerCode.ACCEPTED, "", settle(invitation, peers, now))
    if before.accepted_at:
        detail = f"{asked.cluster} was accepted with this invitation and is no peer any more: ask for a new one"
        return Judgement(AnswerCode.REMOVED, detail, invitation)
    taken = _conflict(asked, own, peers)
    if taken is not None:
        return Judgement(*taken, invitation)
    detail = f"the operator of {own[0]} accepts with: isthmus accept {asked.cluster}"
    return Judgement(AnswerCode.PENDING, detail, invitation)


def settle(invitation: Invitation, peers: Mapping[str, Pinned], now: float) -> Invitation:
    """The invitation with everybody marked as accepted who is a peer now."""

    def settled(joiner: Joiner) -> Joiner:
        if joiner.accepted_at or peers.get(joiner.cluster) != Pinned(joiner.trust_domain, joiner.root):
            return joiner
        return msgspec.structs.replace(joiner, accepted_at=now)

    return msgspec.structs.replace(invitation, joiners=tuple(map(settled, invitation.joiners)))


def waiting(invitations: Iterable[Invitation], peers: Mapping[str, Pinned]) -> list[tuple[Invitation, Joiner]]:
    """Who redeemed an invitation and is neither accepted nor a peer, the first first."""
    found = [
        (invitation, joiner)
        for invitation in invitations
        for joiner in invitation.joiners
        if not joiner.accepted_at and peers.get(joiner.cluster) != Pinned(joiner.trust_domain, joiner.root)
    ]
    return sorted(found, key=lambda pair: (pair[1].redeemed_at, pair[1].identity))


def _refusal(
    invitation: Invitation,
    asked: Joiner,
    own: tuple[str, str],
    peers: Mapping[str, Pinned],
    now: float,
    *,
    is_peer: bool,
) -> tuple[AnswerCode, str] | None:
    """Why somebody new can't redeem the invitation."""
    if now >= invitation.expires_at:
        ago_s = now - invitation.expires_at
        return (
            AnswerCode.EXPIRED,
            f"the invitation expired {ago_s:.0f} s ago by the clock of {own[0]}: ask for a new one",
        )
    if invitation.cluster and asked.cluster != invitation.cluster:
        detail = f"the invitation is for {invitation.cluster} alone, and this is {asked.cluster}"
        return AnswerCode.OTHER_CLUSTER, detail
    if len(invitation.joiners) >= invitation.uses:
        times = "once" if invitation.uses == 1 else f"{invitation.uses} times"
        return AnswerCode.USED_UP, f"the invitation could be used {times}, and was: ask for a new one"
    return None if is_peer else _conflict(asked, own, peers)


def _conflict(asked: Joiner, own: tuple[str, str], peers: Mapping[str, Pinned]) -> tuple[AnswerCode, str] | None:
    """Why the joiner can't stand beside the peers that are there."""
    if asked.cluster == own[0] or asked.cluster in peers:
        detail = (
            f"{own[0]} has a cluster {asked.cluster} already, with another trust domain or root: "
            "names are unique in a federation; its operator has to remove that peer first if it was this one"
        )
        return AnswerCode.NAME_TAKEN, detail
    owners = {own[1]: own[0], **{pinned.trust_domain: name for name, pinned in peers.items()}}
    if asked.trust_domain in owners:
        detail = f"{asked.trust_domain} is the trust domain of {owners[asked.trust_domain]} already"
        return AnswerCode.TRUST_DOMAIN_TAKEN, detail
    return None
