"""Requests to join: only who has the secret and the root that it names gets through, and only to whom it was meant."""

from __future__ import annotations

from pathlib import Path

import msgspec
import pytest
from joserfc import jws
from joserfc.jwk import OKPKey

from federation.join_answer import AnswerCode, AnswerValue, RequestRefused, encode_answer, parse_answer
from federation.join_request import Redemption, RequestValue, make_request, open_request, sign_redemption
from federation.join_token import invitation_key
from federation.paths import request
from federation.record import peek_value, sign_record
from tests.join_parts import NOW, SECRET, make_authority, make_invitation, make_token, open_by
from trust.authority import Authority
from trust.bundle import RecordKey


@pytest.fixture(scope="module")
def authorities(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Authority]:
    directory: Path = tmp_path_factory.mktemp("authorities")
    return {name: make_authority(directory, name) for name in ("east", "west", "north")}


def _refusal(authorities: dict[str, Authority], raw: bytes, **options: object) -> AnswerCode:
    with pytest.raises(RequestRefused) as caught:
        open_by(make_invitation(), authorities["east"].fingerprint, raw, **options)  # type: ignore[arg-type]
    assert SECRET.hex() not in str(caught.value)
    return caught.value.code


def test_the_joiner_is_who_it_says(authorities: dict[str, Authority]) -> None:
    """Name, trust domain and root arrive as they are."""
    east, west = authorities["east"], authorities["west"]
    raw = make_request(make_token(east.fingerprint), west, "west", NOW)
    opened = open_by(make_invitation(), east.fingerprint, raw)
    found = opened.redemption
    assert (found.cluster, found.trust_domain, found.root) == ("west", west.trust_domain, west.fingerprint)


def test_the_redemption_is_a_jws(authorities: dict[str, Authority]) -> None:
    """joserfc opens it: no format of our own."""
    raw = make_request(make_token(authorities["east"].fingerprint), authorities["west"], "west", NOW)
    text = msgspec.json.decode(peek_value(raw), type=RequestValue).redemption
    key = OKPKey.import_key(make_invitation().key())
    assert jws.deserialize_compact(text, key, algorithms=["Ed25519"]).headers()["typ"] == "isthmus-redemption"


def test_the_request_holds_nothing_of_the_secret(authorities: dict[str, Authority]) -> None:
    """It lies in etcd for everybody to read."""
    raw = make_request(make_token(authorities["east"].fingerprint), authorities["west"], "west", NOW)
    private = invitation_key(SECRET, "0123456789abcdef").private_bytes_raw()
    for text in (raw, peek_value(raw)):
        for secret in (SECRET, private):
            assert secret not in text
            assert secret.hex().encode() not in text


def test_another_secret(authorities: dict[str, Authority]) -> None:
    """Refused as such, before anything dear is computed."""
    token = make_token(authorities["east"].fingerprint, secret=bytes(32))
    raw = make_request(token, authorities["west"], "west", NOW)
    assert _refusal(authorities, raw) is AnswerCode.WRONG_SECRET


def test_another_invitation(authorities: dict[str, Authority]) -> None:
    """One that was revoked, or is another gateway's."""
    token = make_token(authorities["east"].fingerprint, invitation="f" * 16)
    raw = make_request(token, authorities["west"], "west", NOW)
    assert _refusal(authorities, raw) is AnswerCode.UNKNOWN_INVITATION


def test_a_token_that_named_another_root(authorities: dict[str, Authority]) -> None:
    """Somebody changed the token on the way: the joiner would have believed another east."""
    raw = make_request(make_token(authorities["north"].fingerprint), authorities["west"], "west", NOW)
    assert _refusal(authorities, raw) is AnswerCode.FOREIGN


def test_moved_to_another_place(authorities: dict[str, Authority]) -> None:
    """A copy under another cluster's name is that cluster's no more than before."""
    raw = make_request(make_token(authorities["east"].fingerprint), authorities["west"], "west", NOW)
    assert _refusal(authorities, raw, cluster="north") is AnswerCode.FOREIGN


@pytest.mark.parametrize(("federation", "inviter"), [("other", "east"), ("acme", "eu")])
def test_another_federation_or_inviter(authorities: dict[str, Authority], federation: str, inviter: str) -> None:
    """With the same invitation even: its federation is signed."""
    raw = make_request(make_token(authorities["east"].fingerprint), authorities["west"], "west", NOW)
    with pytest.raises(RequestRefused) as caught:
        open_request(
            raw,
            federation=federation,
            inviter=inviter,
            inviter_root=authorities["east"].fingerprint,
            cluster="west",
            key_for=lambda id: make_invitation().key(),
            now=NOW,
        )
    assert caught.value.code is AnswerCode.FOREIGN


def test_a_stolen_redemption(authorities: dict[str, Authority]) -> None:
    """North reads west's request in etcd and wraps its redemption into a record of its own: the root is not north's."""
    east, north = authorities["east"], authorities["north"]
    raw = make_request(make_token(east.fingerprint), authorities["west"], "west", NOW)
    stolen = sign_record(
        peek_value(raw),
        federation="acme",
        cluster="west",
        path=str(request("east")),
        sequence=2**40,
        issued_at=NOW,
        key=north.record_key,
        kid=RecordKey.of(north.record_key.public_key).kid,
        chain=north.record_chain,
    )
    assert _refusal(authorities, stolen) is AnswerCode.BAD_RECORD


def test_a_root_that_the_joiner_does_not_have(authorities: dict[str, Authority]) -> None:
    """Whoever has the token can't put a foreign root beside its own name: it must sign with it."""
    east, west, north = authorities["east"], authorities["west"], authorities["north"]
    claim = Redemption("acme", "east", east.fingerprint, "west", north.trust_domain, north.fingerprint, NOW)
    value = RequestValue(sign_redemption(claim, invitation_key(SECRET, "0123456789abcdef"), "0123456789abcdef"))
    raw = sign_record(
        msgspec.json.encode(value),
        federation="acme",
        cluster="west",
        path=str(request("east")),
        sequence=1,
        issued_at=NOW,
        key=west.record_key,
        kid=RecordKey.of(west.record_key.public_key).kid,
        chain=west.record_chain,
    )
    assert _refusal(authorities, raw) is AnswerCode.BAD_RECORD


@pytest.mark.parametrize("raw", [b"", b"x", b"a.b.c", b"\xff" * 100, b"." * 70_000])
def test_garbage(authorities: dict[str, Authority], raw: bytes) -> None:
    """Anybody may write anything into etcd."""
    assert _refusal(authorities, raw) is AnswerCode.BAD_RECORD


def test_answers_come_back() -> None:
    """And what a stranger put in an answer's place is none; what it says can't act on a terminal."""
    answer = AnswerValue("5", AnswerCode.EXPIRED, "an hour ago")
    assert parse_answer(encode_answer(answer)) == answer
    assert parse_answer(b'{"request":"5","code":"new-in-2030"}') is None
    assert parse_answer(b"[]") is None
    assert parse_answer(b'{"request":"5","code":"expired","detail":"\\u001b[2J"}') == AnswerValue(
        "5", AnswerCode.EXPIRED, " [2J"
    )
