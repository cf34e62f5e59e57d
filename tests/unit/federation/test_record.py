"""Signed records: bound to their place, refused anywhere else."""

from __future__ import annotations

import base64

import msgspec
import pytest
from cryptography.hazmat.primitives.asymmetric import ec
from joserfc import jws
from joserfc.jwk import ECKey

from federation.errors import RecordRefused, RefusalCode
from federation.jws import MAX_RECORD_BYTES, RecordHeader
from federation.record import MAX_SKEW_S, Record, next_sequence, open_record, sign_record
from trust.keys import PrivateKey

KEY = PrivateKey.generate()
NOW = 1_800_000_000.0
PLACE = {"federation": "acme", "cluster": "west", "path": "exports/shop/pay"}


def key_for(header: RecordHeader, now: float) -> ec.EllipticCurvePublicKey:
    if header.kid != "k1":
        raise RecordRefused(RefusalCode.UNKNOWN_KEY, header.kid)
    return KEY.public_key


def sign(
    value: bytes = b'{"a":1}',
    *,
    kid: str = "k1",
    sequence: int = 5,
    key: PrivateKey = KEY,
    federation: str = "acme",
    cluster: str = "west",
    path: str = "exports/shop/pay",
) -> bytes:
    return sign_record(
        value,
        federation=federation,
        cluster=cluster,
        path=path,
        sequence=sequence,
        issued_at=NOW,
        key=key,
        kid=kid,
    )


def read(raw: bytes, *, last: int = -1, now: float = NOW, **place: str) -> Record:
    there = {**PLACE, **place}
    return open_record(raw, **there, key_for=key_for, last_sequence=last, now=now)  # type: ignore[arg-type]


def refusal(raw: bytes, *, last: int = -1, now: float = NOW, **place: str) -> RefusalCode:
    with pytest.raises(RecordRefused) as caught:
        read(raw, last=last, now=now, **place)
    assert str(caught.value).startswith(caught.value.code)
    return caught.value.code


def test_what_was_signed_is_read() -> None:
    """The value comes back byte for byte: it is compared as bytes by who wrote it."""
    record = read(sign(b'{"b":2,"a":1}'))
    assert record == Record("west", "exports/shop/pay", 5, NOW, b'{"b":2,"a":1}', "k1")


def test_it_is_an_ordinary_jws() -> None:
    """Another JOSE library, knowing nothing of us, verifies it (RFC 7515): no home-made format."""
    signature = jws.deserialize_compact(sign(), ECKey.import_key(KEY.public_key), algorithms=["ES256"])
    assert signature.headers() == {"alg": "ES256", "typ": "isthmus-record", "kid": "k1"}
    assert msgspec.json.decode(signature.payload)["value"] == {"a": 1}


def test_a_moved_record_is_refused() -> None:
    """Signed for one place, found in another: the copy means nothing there."""
    assert refusal(sign(federation="other")) == "wrong-federation"
    assert refusal(sign(cluster="eu")) == "wrong-cluster"
    assert refusal(sign(path="exports/shop/ledger")) == "wrong-path"


def test_a_sequence_only_grows() -> None:
    """The record itself again, or an older one put back, is a rollback."""
    assert read(sign(sequence=6), last=5).sequence == 6
    assert refusal(sign(sequence=5), last=5) == "rolled-back"
    assert refusal(sign(sequence=4), last=5) == "rolled-back"


def test_clocks_may_differ_within_bounds() -> None:
    """Five minutes of skew are an operator's everyday life; a record from next week is not."""
    assert read(sign(), now=NOW - 300).issued_at == NOW
    assert refusal(sign(), now=NOW - MAX_SKEW_S - 1) == "from-the-future"


def test_another_key_is_refused() -> None:
    assert refusal(sign(kid="k2")) == "unknown-key"
    assert refusal(sign(key=PrivateKey.generate())) == "bad-signature"


def encode(part: object) -> bytes:
    return base64.urlsafe_b64encode(msgspec.json.encode(part)).rstrip(b"=")


def signed(header: object, claims: object) -> bytes:
    """A well-signed JWS of anything."""
    text = encode(header) + b"." + encode(claims)
    return text + b"." + base64.urlsafe_b64encode(KEY.sign(text)).rstrip(b"=")


HEADER = {"alg": "ES256", "typ": "isthmus-record", "kid": "k1"}
CLAIMS = {**PLACE, "sequence": 1, "iat": NOW, "value": {}}


@pytest.mark.parametrize(
    ("header", "code"),
    [
        ({**HEADER, "typ": "JWT"}, "not-a-record"),
        ({**HEADER, "alg": "none"}, "not-a-record"),
        ({**HEADER, "alg": "HS256"}, "not-a-record"),
        ({**HEADER, "kid": 7}, "not-a-record"),
        ({"alg": "ES256", "typ": "isthmus-record"}, "not-a-record"),
        ([1], "not-a-record"),
        ({**HEADER, "crit": ["b64"], "b64": False}, "not-a-record"),
        ({**HEADER, "crit": ["x"], "x": 1}, "not-a-record"),
    ],
)
def test_headers_that_mean_something_else_are_refused(header: object, code: str) -> None:
    """`alg` is not the sender's to choose (RFC 8725 section 3.1), and `crit` that we don't know must be refused."""
    assert refusal(signed(header, CLAIMS)) == code


@pytest.mark.parametrize(
    "claims",
    [
        {**CLAIMS, "sequence": "1"},
        {**CLAIMS, "sequence": 1.5},
        {**CLAIMS, "sequence": -1},
        {**CLAIMS, "sequence": 2**63},
        {**CLAIMS, "iat": None},
        {key: value for key, value in CLAIMS.items() if key != "value"},
        [],
        "text",
    ],
)
def test_claims_of_another_shape_are_refused(claims: object) -> None:
    """A good signature makes nothing well-formed."""
    assert refusal(signed(HEADER, claims)) == "malformed-value"


def test_a_payload_has_one_spelling() -> None:
    """Base64 decoders pass over what is not in their alphabet; a peer that signs such a payload with its own good key
    would have us keep and show bytes that are no ASCII."""
    text = encode(HEADER) + b"." + encode(CLAIMS)[:8] + b"\xff\n" + encode(CLAIMS)[8:]
    assert refusal(text + b"." + base64.urlsafe_b64encode(KEY.sign(text)).rstrip(b"=")) == "bad-signature"


def test_unknown_claims_are_passed_over() -> None:
    """A newer member may say more."""
    assert read(signed(HEADER, {**CLAIMS, "more": [1]})).sequence == 1


@pytest.mark.parametrize("raw", [b"", b"x", b"..", b"a.b.c", b"\xff" * 40, b"{}", b"eyJ9.e30.e30", b"." * 100])
def test_garbage_is_not_a_record(raw: bytes) -> None:
    assert refusal(raw) == "not-a-record"


def test_size_is_bounded_before_anything_is_decoded() -> None:
    assert refusal(b"a" * (MAX_RECORD_BYTES + 1)) == "too-large"


def test_deep_nesting_is_no_way_in() -> None:
    """A JSON bomb in header or claims ends as a refusal, not as a RecursionError."""
    deep = base64.urlsafe_b64encode(b"[" * 20_000).rstrip(b"=")
    assert refusal(deep + b".e30.e30") == "not-a-record"
    header = encode(HEADER)
    text = header + b"." + base64.urlsafe_b64encode(b'{"more":' + b"[" * 20_000).rstrip(b"=")
    raw = text + b"." + base64.urlsafe_b64encode(KEY.sign(text)).rstrip(b"=")
    assert refusal(raw) == "malformed-value"


def test_sequences_follow_the_clock_and_never_go_back() -> None:
    """A cluster that lost its disk goes on above what its peers saw; one whose clock went back does too."""
    assert next_sequence(-1, NOW) == int(NOW * 1000)
    assert next_sequence(int(NOW * 1000), NOW) == int(NOW * 1000) + 1
    assert next_sequence(2 * int(NOW * 1000), NOW - 3600) == 2 * int(NOW * 1000) + 1
