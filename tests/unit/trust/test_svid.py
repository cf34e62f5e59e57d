"""A chain and its key, and when to ask for the next."""

from __future__ import annotations

import pickle
import random
from datetime import timedelta

import pytest

from tests.forge import NOW, Forge, p256, private_key_of
from trust.errors import TrustError
from trust.keys import PrivateKey
from trust.spiffe_id import gateway_id
from trust.svid import X509Svid, svid_from

EAST_GATEWAY = gateway_id("east.acme.test")
CA = Forge.root("east")
KEY = p256()


def make_svid() -> X509Svid:
    chain = [CA.leaf(str(EAST_GATEWAY), key=KEY, not_before=NOW, not_after=NOW + timedelta(hours=1))]
    return svid_from(chain, private_key_of(KEY))


def test_an_svid_knows_whose_it_is_and_until_when() -> None:
    """The times come from the certificate, aware and in UTC."""
    svid = make_svid()
    assert svid.spiffe_id == EAST_GATEWAY
    assert (svid.not_before, svid.not_after) == (NOW, NOW + timedelta(hours=1))


def test_renewal_is_before_half_of_its_life_and_spread() -> None:
    """A thousand gateways that started together must not ask together, and half of a life is left for retries."""
    svid = make_svid()
    rng = random.Random(7)
    times = [svid.renew_at(rng) for _ in range(1000)]
    assert NOW + timedelta(minutes=24) <= min(times)
    assert max(times) <= NOW + timedelta(minutes=30)
    assert max(times) - min(times) > timedelta(minutes=5)
    assert svid.renew_at(random.Random(1)) == svid.renew_at(random.Random(1))


def test_it_never_shows_its_key() -> None:
    """It is logged at every renewal, and messages between processes are made of such values."""
    svid = make_svid()
    assert repr(svid) == f"<X509Svid {EAST_GATEWAY} until 2026-06-01T13:00:00Z>"
    with pytest.raises(TypeError):
        pickle.dumps(svid)


def test_intermediates_follow_in_order() -> None:
    """TLS peers build the path from what is sent; a chain out of order fails at the other end only."""
    intermediate = CA.intermediate()
    leaf = intermediate.leaf(str(EAST_GATEWAY), key=KEY)
    key = private_key_of(KEY)
    assert svid_from([leaf, intermediate.der], key).chain == (leaf, intermediate.der)
    with pytest.raises(TrustError, match="out of order") as caught:
        svid_from([leaf, CA.der], key)
    assert caught.value.code == "malformed-chain"


@pytest.mark.parametrize(
    ("chain", "code"),
    [
        pytest.param([], "malformed-chain", id="empty"),
        pytest.param([b"garbage"], "malformed-chain", id="garbage"),
        pytest.param([CA.der], "malformed-chain", id="a CA's"),
        pytest.param([CA.leaf(dns=["east"], key=KEY)], "malformed-chain", id="no SPIFFE ID"),
        pytest.param([CA.leaf(str(EAST_GATEWAY))], "key-mismatch", id="another key's"),
    ],
)
def test_what_does_not_belong_together_is_refused(chain: list[bytes], code: str) -> None:
    """Found at renewal, where the old SVID is still good, not at the next handshake."""
    with pytest.raises(TrustError) as caught:
        svid_from(chain, PrivateKey.generate() if code == "key-mismatch" else private_key_of(KEY))
    assert caught.value.code == code
