"""Bundles: nothing that anybody writes to etcd raises anything but our own error."""

from __future__ import annotations

import base64
import json
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from tests.forge import Forge
from trust.bundle import Bundle, RecordKey, encode_bundle, parse_bundle
from trust.errors import TrustError
from trust.keys import PrivateKey

EAST = "east.acme.test"
ROOT = Forge.root("east").der
RECORD_KEY = RecordKey.of(PrivateKey.generate().public_key)
DOCUMENT = encode_bundle(Bundle(EAST, 3, 60, (ROOT,), (RECORD_KEY,)))

json_values = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=20),
    lambda inner: st.lists(inner, max_size=4) | st.dictionaries(st.text(max_size=8), inner, max_size=4),
    max_leaves=12,
)
# Documents that are nearly right get further into the parser than arbitrary ones.
keys = st.fixed_dictionaries(
    {},
    optional={
        "kty": st.sampled_from(["EC", "RSA", "OKP"]) | json_values,
        "use": st.sampled_from(["x509-svid", "isthmus-record", "jwt-svid"]) | json_values,
        "crv": st.just("P-256") | json_values,
        "kid": st.text(max_size=5) | json_values,
        "x": st.just(RECORD_KEY.x) | json_values,
        "y": st.just(RECORD_KEY.y) | json_values,
        "x5c": st.lists(
            st.just(base64.b64encode(ROOT).decode()) | st.binary(max_size=9).map(lambda b: base64.b64encode(b).decode())
        )
        | json_values,
    },
)
documents = st.fixed_dictionaries(
    {"keys": st.lists(keys | json_values, max_size=5) | json_values},
    optional={"spiffe_sequence": json_values, "spiffe_refresh_hint": json_values},
)


def parse_or_refuse(document: bytes | dict[str, Any]) -> Bundle | None:
    try:
        return parse_bundle(document, EAST)
    except TrustError as error:
        refused = error
    assert refused.code == "malformed-bundle"
    return None


@given(documents)
@settings(max_examples=300)
def test_any_json_is_a_bundle_or_refused(document: dict[str, Any]) -> None:
    """And what is accepted survives being written out and read again."""
    bundle = parse_or_refuse(document)
    if bundle is not None:
        assert parse_bundle(encode_bundle(bundle), EAST) == bundle
        assert set(bundle.authorities) <= {ROOT}


@given(st.integers(-(2**70), 2**70) | st.none() | st.booleans() | st.text(alphabet="0123456789"))
def test_the_form_on_the_wire_and_the_decoded_one_agree(sequence: object) -> None:
    """Records embed the decoded document; a bundle endpoint serves it as bytes."""
    document = {"keys": [], "spiffe_sequence": sequence}
    assert parse_or_refuse(json.dumps(document).encode()) == parse_or_refuse(document)


@given(st.binary(max_size=200))
def test_any_bytes_are_refused(document: bytes) -> None:
    """Not JSON, or JSON that is no bundle."""
    parse_or_refuse(document)


@pytest.mark.filterwarnings(
    # A serial number below zero is parsed still, with a word about it.
    "ignore:Parsed a serial number:cryptography.utils.CryptographyDeprecationWarning"
)
@given(st.integers(0, len(DOCUMENT) - 1), st.integers(1, 255))
@settings(max_examples=300)
def test_a_flipped_byte_is_refused_or_harmless(at: int, change: int) -> None:
    """Whatever it did to the document, no second authority or key comes of it."""
    damaged = bytearray(DOCUMENT)
    damaged[at] ^= change
    bundle = parse_or_refuse(bytes(damaged))
    if bundle is not None:
        assert len(bundle.authorities) <= 1
        assert len(bundle.record_keys) <= 1
