"""Whether an endpoint's answer is believed: who must have answered, and what it may say."""

from __future__ import annotations

import contextlib
import random
from pathlib import Path

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from tests.forge import NOW, Forge
from trust.authority import Authority
from trust.bundle import Bundle, encode_bundle
from trust.bundle_source import BundleSource, Fetched, accept_bundle
from trust.errors import TrustError
from trust.fingerprint import fingerprint_of
from trust.keys import PrivateKey
from trust.spiffe_id import gateway_id, workload_id
from trust.svid import make_signing_request

WEST = "west.acme.test"
SPIFFE = BundleSource("https://west.acme.test:8443", gateway_id(WEST))
WEB = BundleSource("https://west.acme.test:8443")


@pytest.fixture(scope="module")
def west(tmp_path_factory: pytest.TempPathFactory) -> Authority:
    return Authority.load_or_create(tmp_path_factory.mktemp("west") / "trust", WEST, NOW)


def svid(authority: Authority) -> tuple[bytes, ...]:
    request = make_signing_request(PrivateKey.generate())
    return tuple(authority.issue_gateway(request, now=NOW, lifetime_s=3600))


def answer(authority: Authority, *chains: tuple[bytes, ...], sequence: int = 1) -> Fetched:
    return Fetched(encode_bundle(authority.bundle(sequence)), chains)


def accept(fetched: Fetched, source: BundleSource, root: str = "", known: Bundle | None = None) -> Bundle:
    return accept_bundle(fetched, source, WEST, root, known, NOW)


def test_the_first_bundle_is_believed_by_the_pinned_root(west: Authority) -> None:
    """Whoever answers must hold an SVID under the very root that was pinned, and the document must hold that root."""
    bundle = accept(answer(west, svid(west)), SPIFFE, west.fingerprint)
    assert bundle == west.bundle(1)


def test_later_ones_by_what_is_known(west: Authority, tmp_path: Path) -> None:
    """So that the owner can replace its root: the pin is for the beginning only."""
    new = Authority.load_or_create(tmp_path / "new", WEST, NOW)
    both = Bundle(WEST, 2, 300, (west.root_der, new.root_der), ())
    known = accept(Fetched(encode_bundle(both), (svid(west),)), SPIFFE, west.fingerprint, west.bundle(1))
    assert accept(answer(new, svid(new), sequence=3), SPIFFE, west.fingerprint, known) == new.bundle(3)


def test_who_answers_must_be_the_endpoint(west: Authority, tmp_path: Path) -> None:
    """A workload of the peer, a stranger, a forger of its name, and nobody at all."""
    forger = Authority.load_or_create(tmp_path / "forger", WEST, NOW)
    stranger = Authority.load_or_create(tmp_path / "stranger", "mallory.test", NOW)
    root = Forge.root("root")
    workload = root.leaf(str(workload_id(WEST, "shop", "web")))
    cases: list[tuple[tuple[bytes, ...], str]] = [
        (svid(forger), "unknown-authority"),
        (svid(stranger), "wrong-trust-domain"),
        ((workload,), "wrong-trust-domain"),
        ((), "no-certificate"),
    ]
    for chain, code in cases:
        with pytest.raises(TrustError) as refused:
            accept(answer(west, chain), SPIFFE, west.fingerprint)
        assert refused.value.code == code


def test_each_server_of_a_redirect_must_be_the_endpoint(west: Authority, tmp_path: Path) -> None:
    """A stranger who redirects to the right one could otherwise choose which of its answers we see."""
    forger = Authority.load_or_create(tmp_path / "forger", WEST, NOW)
    with pytest.raises(TrustError):
        accept(answer(west, svid(forger), svid(west)), SPIFFE, west.fingerprint)
    accept(answer(west, svid(west), svid(west)), SPIFFE, west.fingerprint)


def test_a_forged_first_bundle_without_the_pinned_root(west: Authority, tmp_path: Path) -> None:
    """Everything fits together, but it is not what was pinned."""
    forger = Authority.load_or_create(tmp_path / "forger", WEST, NOW)
    for source in (SPIFFE, WEB):
        with pytest.raises(TrustError) as refused:
            accept(answer(forger, svid(forger)), source, west.fingerprint)
        assert refused.value.code == "wrong-root"


def test_a_bundle_of_the_past_is_refused(west: Authority) -> None:
    """Somebody who holds an old answer must not bring a revoked root back. The same again is fine."""
    known = west.bundle(5)
    assert accept(answer(west, sequence=5), WEB, known=known) == known
    with pytest.raises(TrustError) as refused:
        accept(answer(west, sequence=4), WEB, known=known)
    assert refused.value.code == "rolled-back"


def test_an_empty_bundle_revokes_everything(west: Authority) -> None:
    """The standard: no keys means that all are revoked. With https_spiffe nobody can answer for it any more then."""
    empty = Bundle(WEST, 9, 300, (), ())
    assert accept(Fetched(encode_bundle(empty), ()), WEB, known=west.bundle(1)).authorities == ()
    with pytest.raises(TrustError):
        accept(answer(west, svid(west), sequence=10), SPIFFE, fingerprint_of(west.root_der), empty)


@settings(max_examples=80, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(st.data())
def test_garbled_answers_are_refused_and_nothing_else(west: Authority, data: st.DataObject) -> None:
    """Document and certificates are strangers' bytes."""
    good = encode_bundle(west.bundle(1))
    cut = data.draw(st.integers(0, len(good)))
    document = good[:cut] + data.draw(st.binary(max_size=20)) + good[cut + data.draw(st.integers(0, 20)) :]
    leaf = bytearray(svid(west)[0])
    leaf[random.Random(data.draw(st.integers())).randrange(len(leaf))] ^= data.draw(st.integers(0, 255))
    with contextlib.suppress(TrustError):
        accept(Fetched(document, ((bytes(leaf),),)), SPIFFE, west.fingerprint)
