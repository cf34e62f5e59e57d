"""Certificates as peers may send them: whatever is in the bytes, the answer is an identity or a rejection."""

from __future__ import annotations

import warnings
from typing import get_args

from cryptography import x509
from hypothesis import given, settings
from hypothesis import strategies as st

from tests.forge import NOW, Forge
from trust.errors import PeerRejected, RejectionCode
from trust.spiffe_id import gateway_id
from trust.verify import validate_gateway

EAST = gateway_id("east.acme.test")
CA = Forge.root("east")
INTERMEDIATE = CA.intermediate()
LEAF = INTERMEDIATE.leaf(str(EAST), dns=["gw.east.acme.test"])
CHAIN = [LEAF, INTERMEDIATE.der]
BUNDLES = {EAST.trust_domain: [CA.der]}


def validate(chain: list[bytes]) -> bool:
    rejected: PeerRejected | None = None
    with warnings.catch_warnings():
        # The parser warns of odd but readable certificates, such as one with a negative serial number.
        warnings.simplefilter("ignore")
        try:
            assert validate_gateway(chain, BUNDLES, NOW) == EAST
        except PeerRejected as error:
            rejected = error
    if rejected is not None:
        assert rejected.code in get_args(RejectionCode)
        assert str(rejected).isprintable()
    return rejected is None


@given(st.integers(0, 1), st.data(), st.integers(1, 255))
@settings(max_examples=1500)
def test_nothing_that_is_signed_can_be_changed(which: int, data: st.DataObject, change: int) -> None:
    """The signature's own encoding has some play (a bit string may say that its last zero bits are padding), so the
    bytes of a certificate do not identify it; what it says does."""
    damaged = bytearray(CHAIN[which])
    damaged[data.draw(st.integers(0, len(damaged) - 1))] ^= change
    chain = list(CHAIN)
    chain[which] = bytes(damaged)
    if validate(chain):
        assert signed_part(chain[which]) == signed_part(CHAIN[which])


def signed_part(der: bytes) -> bytes:
    return x509.load_der_x509_certificate(der).tbs_certificate_bytes


@given(st.lists(st.sampled_from([*CHAIN, CA.der]) | st.binary(max_size=300), max_size=6))
@settings(max_examples=300)
def test_any_list_of_bytes_has_an_answer(chain: list[bytes]) -> None:
    """It is let in only as the leaf first with its intermediate somewhere behind."""
    if validate(chain):
        assert chain[0] == LEAF
        assert INTERMEDIATE.der in chain


def test_the_undamaged_chain_is_let_in() -> None:
    """Without this, the properties above would hold for a validator that refuses everybody."""
    assert validate(CHAIN)
