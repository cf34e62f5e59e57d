"""What becomes of a redemption: every reason, uses that are counted, and a configuration that is the truth."""

from __future__ import annotations

import base64

import msgspec
import pytest

from federation.invitation import Invitation, Judgement, Pinned, judge, settle, waiting
from federation.join_answer import AnswerCode
from federation.join_request import Redemption
from federation.join_token import invitation_key
from tests.join_parts import NOW, SECRET, make_invitation

_ROOT, _OTHER = "sha256:" + "ab" * 32, "sha256:" + "cd" * 32
_WEST = Pinned("west.acme.test", _ROOT)


def _ask(
    invitation: Invitation,
    cluster: str = "west",
    *,
    trust_domain: str = "",
    root: str = _ROOT,
    peers: dict[str, Pinned] | None = None,
    now: float = NOW + 1,
) -> Judgement:
    redemption = Redemption("acme", "east", _OTHER, cluster, trust_domain or f"{cluster}.acme.test", root, now)
    return judge(invitation, redemption, own=("east", "east.acme.test"), peers=peers or {}, now=now)


def test_a_redemption_waits_for_the_operator() -> None:
    """It is counted and remembered; the same one again is not counted twice."""
    first = _ask(make_invitation())
    assert first.code is AnswerCode.PENDING
    assert [joiner.cluster for joiner in first.invitation.joiners] == ["west"]
    assert _ask(first.invitation, now=NOW + 2) == first


def test_it_is_accepted_by_standing_in_the_configuration() -> None:
    """Nothing else accepts: `accept` and writing the entry by hand are the same."""
    waits = _ask(make_invitation()).invitation
    accepted = _ask(waits, peers={"west": _WEST})
    assert accepted.code is AnswerCode.ACCEPTED
    assert accepted.invitation.joiners[0].accepted_at == NOW + 1
    assert accepted.invitation == settle(waits, {"west": _WEST}, NOW + 1)


def test_a_removed_peer_does_not_come_back_by_itself() -> None:
    """Its request may lie in etcd still, and the invitation may say accept: auto."""
    accepted = _ask(make_invitation(accept="auto", uses=9), peers={"west": _WEST}).invitation
    assert _ask(accepted).code is AnswerCode.REMOVED


@pytest.mark.parametrize("seconds", [0, 1, 1e6])
def test_expired(seconds: float) -> None:
    """From the very second on."""
    judged = _ask(make_invitation(), now=NOW + 3600 + seconds)
    assert judged.code is AnswerCode.EXPIRED
    assert judged.invitation == make_invitation()


def test_who_came_in_time_may_be_accepted_later() -> None:
    """Operators sleep."""
    waits = _ask(make_invitation()).invitation
    assert _ask(waits, now=NOW + 1e5).code is AnswerCode.PENDING


@pytest.mark.parametrize("uses", [1, 3])
def test_used_up(uses: int) -> None:
    """The next one is refused, those before are not, and the count survives a restart."""
    invitation = make_invitation(uses=uses)
    for number in range(uses):
        judged = _ask(invitation, f"west{number}")
        assert judged.code is AnswerCode.PENDING
        invitation = msgspec.json.decode(msgspec.json.encode(judged.invitation), type=Invitation)
    assert _ask(invitation, "north").code is AnswerCode.USED_UP
    assert _ask(invitation, "west0", root=_OTHER).code is AnswerCode.USED_UP
    assert _ask(invitation, "west0").code is AnswerCode.PENDING


@pytest.mark.parametrize(
    ("cluster", "trust_domain", "peers", "code"),
    [
        ("north", "", {}, AnswerCode.OTHER_CLUSTER),
        ("west", "east.acme.test", {}, AnswerCode.TRUST_DOMAIN_TAKEN),
        ("west", "eu.acme.test", {"eu": Pinned("eu.acme.test", _OTHER)}, AnswerCode.TRUST_DOMAIN_TAKEN),
        ("west", "", {"west": Pinned("west.acme.test", _OTHER)}, AnswerCode.NAME_TAKEN),
    ],
)
def test_who_does_not_fit(cluster: str, trust_domain: str, peers: dict[str, Pinned], code: AnswerCode) -> None:
    """Refused without using the invitation up, so that the right one still can."""
    invitation = make_invitation(cluster="west")
    judged = _ask(invitation, cluster, trust_domain=trust_domain, peers=peers)
    assert judged.code is code
    assert judged.invitation == invitation
    assert judged.detail


def test_nobody_joins_under_our_own_name() -> None:
    """Not even with a good invitation for anybody."""
    assert _ask(make_invitation(), "east", trust_domain="x.test").code is AnswerCode.NAME_TAKEN


def test_a_waiting_joiner_may_lose_its_place() -> None:
    """Somebody else became a peer of that name meanwhile: accepting would not be possible."""
    waits = _ask(make_invitation()).invitation
    assert _ask(waits, peers={"west": Pinned("other.test", _OTHER)}).code is AnswerCode.NAME_TAKEN


def test_who_is_waiting() -> None:
    """In the order in which they came, without those who are peers."""
    invitation = make_invitation(uses=3)
    for moment, name in ((3, "north"), (1, "west"), (2, "south")):
        invitation = _ask(invitation, name, now=NOW + moment).invitation
    assert [joiner.cluster for _, joiner in waiting([invitation], {"south": Pinned("south.acme.test", _ROOT)})] == [
        "west",
        "north",
    ]


def test_an_invitation_is_kept_while_somebody_waits() -> None:
    """And for a day, so that who comes late hears `expired` and not `unknown`."""
    invitation = make_invitation()
    assert not invitation.is_over(invitation.expires_at + 86_400)
    assert invitation.is_over(invitation.expires_at + 86_401)
    assert not _ask(invitation).invitation.is_over(invitation.expires_at + 1e7)


def test_the_inviter_keeps_nothing_that_redeems() -> None:
    """Neither the secret nor the private key that it gives."""
    kept = msgspec.json.encode(make_invitation())
    private = invitation_key(SECRET, "0123456789abcdef").private_bytes_raw()
    for secret in (SECRET, private):
        assert secret not in kept
        assert base64.b64encode(secret)[:-1] not in kept
        assert secret.hex().encode() not in kept
