"""An invitation of east's and what a joiner makes of its token, for tests."""

from __future__ import annotations

from datetime import UTC, datetime
from pathlib import Path

from federation.invitation import Invitation, public_key_of
from federation.join_request import OpenedRequest, open_request
from federation.join_token import JoinToken
from trust.authority import Authority

NOW = 1_800_000_000.0
SECRET = bytes(range(32))


def make_authority(directory: Path, cluster: str) -> Authority:
    """The CA of `<cluster>.acme.test`, valid at NOW."""
    return Authority.load_or_create(
        directory / cluster / "trust", f"{cluster}.acme.test", datetime.fromtimestamp(NOW, UTC)
    )


def make_token(
    root: str, *, secret: bytes = SECRET, invitation: str = "0123456789abcdef", invited: str = ""
) -> JoinToken:
    """East's token; `root` is its fingerprint."""
    return JoinToken(
        federation="acme",
        cluster="east",
        trust_domain="east.acme.test",
        root=root,
        endpoints=("http://127.0.0.1:2379",),
        prefix="/isthmus",
        invitation=invitation,
        secret=secret,
        expires_at=NOW + 3600,
        invited=invited,
    )


def make_invitation(**changes: object) -> Invitation:
    """The inviter's side of that token."""
    fields = {
        "id": "0123456789abcdef",
        "public_key": public_key_of(SECRET, "0123456789abcdef"),
        "created_at": NOW,
        "expires_at": NOW + 3600,
        "uses": 1,
        "accept": "manual",
    } | changes
    return Invitation(**fields)  # type: ignore[arg-type]


def open_by(invitation: Invitation, root: str, raw: bytes, *, cluster: str = "west", now: float = NOW) -> OpenedRequest:
    """As east, which has this invitation and this root, opens what lies at `cluster`'s request."""
    return open_request(
        raw,
        federation="acme",
        inviter="east",
        inviter_root=root,
        cluster=cluster,
        key_for=lambda id: invitation.key() if id == invitation.id else None,
        now=now,
    )
