"""Bundle documents: ours, other SPIFFE implementations', and wrong ones."""

from __future__ import annotations

import base64
import json
from pathlib import Path
from typing import Any

import msgspec
import pytest
from cryptography.hazmat.primitives.asymmetric import ec, ed25519, rsa
from joserfc import jws
from joserfc.jwk import ECKey

from tests.forge import NOW, Forge
from trust.authority import Authority
from trust.bundle import MAX_DOCUMENT_BYTES, MAX_KEYS, Bundle, RecordKey, encode_bundle, parse_bundle
from trust.errors import TrustError
from trust.keys import PrivateKey

EAST = "east.acme.test"
CA = Forge.root("east")
RECORD_KEY = RecordKey.of(PrivateKey.generate().public_key)
BUNDLE = Bundle(
    trust_domain=EAST,
    sequence=3,
    refresh_hint_s=60,
    authorities=(CA.der, Forge.root("new").der),
    record_keys=(RECORD_KEY, RecordKey.of(PrivateKey.generate().public_key)),
)


def x5c(der: bytes) -> list[str]:
    return [base64.b64encode(der).decode()]


def jwk_of(der: bytes = CA.der, **other: Any) -> dict[str, Any]:
    return {"kty": "EC", "use": "x509-svid", "crv": "P-256", "x": "", "y": "", "x5c": x5c(der), **other}


def parse(*keys: object, **other: object) -> Bundle:
    return parse_bundle({"keys": list(keys), **other}, EAST)


def test_what_is_encoded_is_parsed_back() -> None:
    """Several authorities and record keys, as a rotation has them."""
    assert parse_bundle(encode_bundle(BUNDLE), EAST) == BUNDLE
    assert parse_bundle(BUNDLE.to_document(), EAST) == BUNDLE
    assert msgspec.msgpack.decode(msgspec.msgpack.encode(BUNDLE), type=Bundle) == BUNDLE


def test_the_document_is_what_spiffe_says(tmp_path: Path) -> None:
    """Bundle section 4 and X509-SVID section 6.1: x5c with one certificate and no kid; a key ID on record keys."""
    authority = Authority.load_or_create(tmp_path / "trust", EAST, NOW)
    document = json.loads(encode_bundle(authority.bundle(12)))
    assert document["spiffe_sequence"] == 12
    assert document["spiffe_refresh_hint"] == 300
    root, record = document["keys"]
    assert (root["use"], root["kty"], root["crv"]) == ("x509-svid", "EC", "P-256")
    assert root["x5c"] == x5c(authority.root_der)
    assert "kid" not in root
    assert (record["use"], record["kty"], record["crv"]) == ("isthmus-record", "EC", "P-256")
    assert record["kid"] == RecordKey.of(authority.record_key.public_key).kid
    assert not {"d", "p", "q"} & (root.keys() | record.keys()), "private parameters of RFC 7518"


def test_a_jose_library_agrees() -> None:
    """The key ID is RFC 7638's thumbprint, the JWK is imported as it is, and it verifies what the key signs."""
    key = PrivateKey.generate()
    record_key = RecordKey.of(key.public_key)
    imported = ECKey.import_key(dict(record_key.jwk))
    assert imported.thumbprint() == record_key.kid
    assert imported.public_key == key.public_key == record_key.public_key
    signing_input = b".".join(base64.urlsafe_b64encode(part).rstrip(b"=") for part in (b'{"alg":"ES256"}', b"claims"))
    token = signing_input + b"." + base64.urlsafe_b64encode(key.sign(signing_input)).rstrip(b"=")
    assert jws.deserialize_compact(token, imported).payload == b"claims"


@pytest.mark.parametrize(
    "key",
    [
        pytest.param(rsa.generate_private_key(65537, 2048), id="RSA"),
        pytest.param(ec.generate_private_key(ec.SECP384R1()), id="P-384"),
        pytest.param(ec.generate_private_key(ec.SECP521R1()), id="P-521"),
    ],
)
def test_other_implementations_authorities(key: rsa.RSAPrivateKey | ec.EllipticCurvePrivateKey) -> None:
    """A CA that was brought along need not be P-256."""
    bundle = Bundle(EAST, 1, 60, (Forge.root("other", key=key).der,), ())
    assert parse_bundle(encode_bundle(bundle), EAST) == bundle


def test_unknown_keys_are_left_out() -> None:
    """Bundle sections 4.2.1 and 4.2.2: unknown type or use; X509-SVID section 6.2: no x5c, or more than one."""
    bundle = parse(
        {"kty": "EC", "use": "jwt-svid", "kid": "a"},
        {"kty": "EC", "use": "something-new"},
        {"kty": "OKP", "use": "x509-svid", "x5c": "whatever"},
        {"kty": "EC"},
        {"use": "x509-svid", "x5c": x5c(CA.der)},
        {"kty": "EC", "use": "x509-svid"},
        jwk_of(x5c=[]),
        jwk_of(x5c=[*x5c(CA.der), "ignored"], unknown_member=1),
    )
    assert bundle.authorities == (CA.der,)
    assert bundle.record_keys == ()


def test_absent_numbers() -> None:
    """Both are optional in the standard; 0 is what SPIRE writes for 'no hint'."""
    assert (parse().sequence, parse().refresh_hint_s) == (0, 300)
    assert parse(spiffe_refresh_hint=0).refresh_hint_s == 300
    assert parse(spiffe_sequence=2**63 - 1).sequence == 2**63 - 1


def test_the_same_authority_twice_is_one() -> None:
    """Others may list a root for each intermediate."""
    assert parse(jwk_of(), jwk_of()).authorities == (CA.der,)


def test_an_empty_list_revokes_all() -> None:
    """Bundle section 4.1.3."""
    assert parse().authorities == ()


def record(**other: Any) -> dict[str, Any]:
    return {"use": "isthmus-record", **RECORD_KEY.jwk, **other}


WEAK_CA = Forge.root("weak", key=rsa.generate_private_key(65537, 1024))
EDWARDS_CA = Forge.root("edwards", key=ed25519.Ed25519PrivateKey.generate())


@pytest.mark.parametrize(
    ("document", "why"),
    [
        (b"", "not JSON"),
        (b"not json", "not JSON"),
        (b'{"keys": [}', "not JSON"),
        (b'{"keys": ["\xff"]}', "not JSON"),
        (b"[" * 100_000, "not JSON"),
        (b'{"keys": [], "spiffe_sequence": 1' + b"0" * 5000 + b"}", "spiffe_sequence|not JSON"),
        (b" " * (MAX_DOCUMENT_BYTES + 1), "at most"),
        (b"[]", "not a JSON object"),
        (b"null", "not a JSON object"),
        ({}, "`keys` is not a list"),
        ({"keys": None}, "`keys` is not a list"),
        ({"keys": {}}, "`keys` is not a list"),
        ({"keys": [None] * (MAX_KEYS + 1)}, "at most"),
        ({"keys": ["key"]}, r"keys\[0\] is not an object"),
        ({"keys": [jwk_of(), jwk_of(x5c="text")]}, r"keys\[1\].x5c is not a list"),
        ({"keys": [jwk_of(x5c={"a": 1})]}, "x5c is not a list"),
        ({"keys": [jwk_of(x5c=[7])]}, "x5c is not a list"),
        ({"keys": [jwk_of(x5c=["!"])]}, "not base64"),
        ({"keys": [jwk_of(x5c=["\ud800"])]}, "not base64"),
        ({"keys": [jwk_of(x5c=["AAAA"])]}, "not a DER certificate"),
        ({"keys": [jwk_of(CA.leaf("spiffe://east.acme.test/x"))]}, "not a CA's"),
        ({"keys": [jwk_of(CA.leaf(f"spiffe://{EAST}", ca=True))]}, "keyCertSign"),
        ({"keys": [jwk_of(WEAK_CA.der)]}, "the key is neither"),
        ({"keys": [jwk_of(EDWARDS_CA.der)]}, "the key is neither"),
        ({"keys": [], "spiffe_sequence": -1}, "spiffe_sequence"),
        ({"keys": [], "spiffe_sequence": 2**63}, "spiffe_sequence"),
        ({"keys": [], "spiffe_sequence": True}, "spiffe_sequence"),
        ({"keys": [], "spiffe_sequence": 1.0}, "spiffe_sequence"),
        ({"keys": [], "spiffe_sequence": "1"}, "spiffe_sequence"),
        ({"keys": [], "spiffe_sequence": None}, "spiffe_sequence"),
        ({"keys": [], "spiffe_refresh_hint": -1}, "spiffe_refresh_hint"),
        ({"keys": [record(kid=None)]}, "kid"),
        ({"keys": [record(kid="")]}, "kid"),
        ({"keys": [record(kid="a" * 129)]}, "kid"),
        ({"keys": [record(kid="a b")]}, "kid"),
        ({"keys": [record(kid="\ud800")]}, "kid"),
        ({"keys": [record(), record()]}, "second key"),
        ({"keys": [record(kty="RSA")]}, "not a P-256 key"),
        ({"keys": [record(crv="P-384")]}, "not a P-256 key"),
        ({"keys": [record(x=None)]}, "x and y"),
        ({"keys": [record(y="AA")]}, "x and y"),
        ({"keys": [record(x="A" * 43)]}, "not on the curve"),
    ],
)
def test_half_a_bundle_is_never_believed(document: bytes | dict[str, Any], why: str) -> None:
    """A document that is wrong somewhere is refused whole, and the message says where."""
    with pytest.raises(TrustError, match=why) as caught:
        parse_bundle(document, EAST)
    assert caught.value.code == "malformed-bundle"
    assert EAST in str(caught.value)
    assert len(str(caught.value)) < 500


def test_two_spellings_of_one_key_are_one() -> None:
    """The last base64url digit of 32 bytes has two bits that mean nothing; equality must not depend on them."""
    alphabet = "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789-_"
    x = RECORD_KEY.x
    other = x[:-1] + alphabet[alphabet.index(x[-1]) + 1]
    assert parse(record(x=other)).record_keys == (RECORD_KEY,)


def test_a_leafs_key_has_no_place_in_a_bundle() -> None:
    """The names of keys that sign records and of those that sign SVIDs are apart: one never stands for the other."""
    bundle = parse(record(use="x509-svid"), {**jwk_of(), "use": "isthmus-record", **RECORD_KEY.jwk})
    assert bundle.authorities == ()
    assert bundle.record_keys == (RECORD_KEY,)
