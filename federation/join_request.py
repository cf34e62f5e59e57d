"""A joiner's request: what it leaves in etcd for the inviter, and how the inviter reads it.

It lies at `clusters/<joiner>/requests/<inviter>` and is a record like the joiner's others (`federation.record`), whose
header has the chain to the joiner's root: it proves that the joiner has that root. Its value is a *redemption*: a JWS
(RFC 7515, EdDSA with Ed25519, RFC 9864) under the key that the invitation's secret gives, over the joiner's name, trust
domain and root, and the inviter's as the token had them. So a reader of etcd can neither redeem an invitation nor bend
a redemption to itself, and etcd need not be trusted for any of it.
"""

from __future__ import annotations

import binascii
from collections.abc import Callable
from typing import TypeAlias

import msgspec
from cryptography.exceptions import InvalidSignature
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey, Ed25519PublicKey

from discovery.model import is_dns_label
from federation import base64url
from federation.errors import RecordRefused
from federation.join_answer import AnswerCode, RequestRefused
from federation.join_token import INVITATION_ID, JoinToken
from federation.paths import request
from federation.peer_keys import PeerKeys
from federation.record import next_sequence, open_record, peek_value, sign_record
from trust.bundle import RecordKey
from trust.errors import TrustError
from trust.fingerprint import parse_fingerprint
from trust.source import TrustSource
from trust.spiffe_id import parse_trust_domain

REDEMPTION_TYPE = "isthmus-redemption"
_MAX_REDEMPTION_BYTES = 4_096


class Redemption(msgspec.Struct, frozen=True):
    """Who wants to join (`cluster`, `trust_domain`, `root`), and whom it takes for the inviter. `iat` is Unix
    seconds."""

    federation: str
    inviter: str
    inviter_root: str
    cluster: str
    trust_domain: str
    root: str
    iat: float


class OpenedRequest(msgspec.Struct, frozen=True):
    """A request whose every signature was checked."""

    invitation: str
    redemption: Redemption


class RequestValue(msgspec.Struct, frozen=True):
    """The record's value."""

    redemption: str


class _Header(msgspec.Struct, frozen=True):
    alg: str
    typ: str
    kid: str
    critical: tuple[str, ...] = msgspec.field(name="crit", default=())


InvitationKey: TypeAlias = Callable[[str], Ed25519PublicKey | None]
"""Gives the public key of an invitation, None if there is none of that id."""


def make_request(token: JoinToken, authority: TrustSource, cluster: str, now: float) -> bytes:
    """The request of `cluster` (its CA is `authority`) to the token's inviter."""
    redemption = Redemption(
        token.federation, token.cluster, token.root, cluster, authority.trust_domain, authority.fingerprint, now
    )
    value = RequestValue(sign_redemption(redemption, token.key(), token.invitation))
    return sign_record(
        msgspec.json.encode(value),
        federation=token.federation,
        cluster=cluster,
        path=str(request(token.cluster)),
        sequence=next_sequence(-1, now),
        issued_at=now,
        key=authority.vouching_key,
        kid=RecordKey.of(authority.vouching_key.public_key).kid,
        chain=authority.record_chain,
    )


def sign_redemption(redemption: Redemption, key: Ed25519PrivateKey, invitation: str) -> str:
    """The redemption as a JWS in compact form."""
    header = msgspec.json.encode({"alg": "Ed25519", "typ": REDEMPTION_TYPE, "kid": invitation})
    signed = f"{base64url.encode(header)}.{base64url.encode(msgspec.json.encode(redemption))}"
    return f"{signed}.{base64url.encode(key.sign(signed.encode()))}"


def open_request(
    raw: bytes, *, federation: str, inviter: str, inviter_root: str, cluster: str, key_for: InvitationKey, now: float
) -> OpenedRequest:
    """Checks what lies at `cluster`'s request to us (`inviter`), cheap things first. `now` is Unix seconds.

    Raises RequestRefused: `unknown-invitation`, `wrong-secret`, `foreign` (made for another federation, inviter or
    root, or found under another cluster's name), `bad-record` (the record around it is not one of that cluster's
    root).
    """
    text = _redemption_of(raw)
    header = _read_header(text)
    key = key_for(header.kid)
    if key is None:
        raise RequestRefused(AnswerCode.UNKNOWN_INVITATION, f"invitation {header.kid} is not known here")
    redemption = _verify(text, key, header.kid)
    _validate_place(redemption, federation, inviter, inviter_root, cluster)
    try:
        open_record(
            raw,
            federation=federation,
            cluster=cluster,
            path=str(request(inviter)),
            key_for=PeerKeys(redemption.trust_domain, redemption.root).bundle_key,
            last_sequence=-1,
            now=now,
        )
    except RecordRefused as error:
        raise RequestRefused(AnswerCode.BAD_RECORD, str(error)) from None
    return OpenedRequest(header.kid, redemption)


def _redemption_of(raw: bytes) -> str:
    try:
        text = msgspec.json.decode(peek_value(raw), type=RequestValue).redemption
    except (RecordRefused, msgspec.DecodeError, ValueError, RecursionError):
        raise RequestRefused(AnswerCode.BAD_RECORD, "it is not a record with a redemption in it") from None
    if len(text) > _MAX_REDEMPTION_BYTES:
        raise RequestRefused(AnswerCode.BAD_RECORD, "its redemption is too large")
    return text


def _read_header(text: str) -> _Header:
    try:
        header = msgspec.json.decode(base64url.decode(text.split(".")[0]), type=_Header)
    except (msgspec.DecodeError, binascii.Error, ValueError, RecursionError):
        raise RequestRefused(AnswerCode.BAD_RECORD, "its redemption has not the header of a JWS") from None
    if header.alg != "Ed25519" or header.typ != REDEMPTION_TYPE or header.critical:
        raise RequestRefused(AnswerCode.BAD_RECORD, f"its redemption is not a JWS of type {REDEMPTION_TYPE}")
    if not INVITATION_ID.fullmatch(header.kid):
        raise RequestRefused(AnswerCode.BAD_RECORD, "its redemption names no invitation")
    return header


def _verify(text: str, key: Ed25519PublicKey, invitation: str) -> Redemption:
    """The redemption, if the invitation's key signed it."""
    parts = text.split(".")
    try:
        if len(parts) != 3:
            raise ValueError("not a JWS")
        key.verify(base64url.decode(parts[2]), f"{parts[0]}.{parts[1]}".encode())
        redemption = msgspec.json.decode(base64url.decode(parts[1]), type=Redemption)
    except (InvalidSignature, msgspec.DecodeError, binascii.Error, ValueError, RecursionError):
        detail = f"it was not made with the secret of invitation {invitation}"
        raise RequestRefused(AnswerCode.WRONG_SECRET, detail) from None
    return redemption


def _validate_place(redemption: Redemption, federation: str, inviter: str, inviter_root: str, cluster: str) -> None:
    for what, said, found in (
        ("federation", redemption.federation, federation),
        ("inviter", redemption.inviter, inviter),
        ("inviter's root", redemption.inviter_root, inviter_root),
        ("cluster", redemption.cluster, cluster),
    ):
        if said != found:
            raise RequestRefused(AnswerCode.FOREIGN, f"made for {what} {said[:80]!a}, found at {found!r}")
    try:
        parse_trust_domain(redemption.trust_domain)
        well_formed = is_dns_label(redemption.cluster) and parse_fingerprint(redemption.root) == redemption.root
    except TrustError:
        well_formed = False
    if not well_formed:
        raise RequestRefused(AnswerCode.BAD_RECORD, "its trust domain or root is not one")
