"""A cluster whose CA is renewed by somebody else: what it signs, what its bundle says, and in which order."""

from __future__ import annotations

from datetime import timedelta
from pathlib import Path

import pytest

from tests.ca_directory import p384, sub_ca, write_ca
from tests.forge import NOW, Forge, p256
from trust.ca_files import ExternalCa, load_ca
from trust.errors import PeerRejected, TrustError
from trust.external_authority import ExternalAuthority, FormerRoot, load_former, save_former
from trust.fingerprint import fingerprint_of
from trust.keys import PrivateKey
from trust.spiffe_id import gateway_id
from trust.svid import make_signing_request, svid_from
from trust.verify import validate_gateway, validate_record_chain

EAST = "east.acme.test"
LIFE_S = 3600.0


def loaded(directory: Path, issuer: Forge, *roots: Forge) -> ExternalCa:
    return load_ca(write_ca(directory, issuer, roots), EAST, NOW)


@pytest.fixture
def root() -> Forge:
    return Forge.root("acme root")


@pytest.fixture
def authority(tmp_path: Path, root: Forge) -> ExternalAuthority:
    ca = loaded(tmp_path / "ca", sub_ca(root, p384()), root)
    return ExternalAuthority(ca, PrivateKey.generate(), svid_lifetime_s=LIFE_S, now=NOW)


def certified(authority: ExternalAuthority) -> tuple[bytes, ...]:
    key = PrivateKey.generate()
    return svid_from(authority.issue_gateway(make_signing_request(key), now=NOW, lifetime_s=LIFE_S), key).chain


def test_svids_carry_the_intermediate_and_peers_need_the_root_alone(authority: ExternalAuthority, root: Forge) -> None:
    """Peers pin the root; whatever stands below it comes with the SVID."""
    chain = certified(authority)
    assert chain[1:] == authority.ca.intermediates
    assert validate_gateway(chain, {EAST: [root.der]}, NOW) == gateway_id(EAST)


def test_the_record_key_chains_to_the_pinned_root(authority: ExternalAuthority, root: Forge) -> None:
    """A peer that knows nothing but the fingerprint believes the first bundle by this chain."""
    key = validate_record_chain(authority.record_chain, fingerprint_of(root.der), EAST, NOW)
    assert key == authority.record_key.public_key
    assert authority.fingerprint == fingerprint_of(root.der)
    with pytest.raises(PeerRejected):
        validate_record_chain(authority.record_chain, fingerprint_of(Forge.root("acme root").der), EAST, NOW)


def test_a_renewal_under_the_same_root_signs_at_once(tmp_path: Path, authority: ExternalAuthority, root: Forge) -> None:
    """cert-manager renews intermediates every few weeks: nobody has to be told."""
    before = certified(authority)
    authority.offer(loaded(tmp_path / "ca", sub_ca(root, p256()), root), NOW)
    after = certified(authority)
    assert before[1:] != after[1:]
    assert authority.roots == (root.der,)
    assert authority.former == ()
    for chain in (before, after):
        validate_gateway(chain, {EAST: [root.der]}, NOW)
    validate_record_chain(authority.record_chain, [root.der], EAST, NOW)


def test_another_root_is_told_before_it_signs(tmp_path: Path, authority: ExternalAuthority, root: Forge) -> None:
    """Signing first would cut off every peer that has not read the new bundle."""
    new = Forge.root("new root")
    authority.offer(loaded(tmp_path / "ca", sub_ca(new, p256()), new), NOW)
    assert [*authority.roots] == [root.der, new.der]
    assert authority.root_der == root.der
    validate_gateway(certified(authority), {EAST: [root.der]}, NOW)
    authority.activate(NOW)
    assert authority.root_der != root.der
    assert set(authority.roots) == {root.der, new.der}, "what the old one signed is valid still"
    validate_gateway(certified(authority), {EAST: [new.der]}, NOW)
    assert not authority.retire(NOW + timedelta(seconds=LIFE_S - 1))
    assert authority.retire(NOW + timedelta(seconds=LIFE_S))
    assert authority.roots == (new.der,)


def test_a_root_named_beside_the_old_one_is_known_before_the_change(
    tmp_path: Path, authority: ExternalAuthority, root: Forge
) -> None:
    """Operators who put both roots into ca.crt first decide themselves when the new one signs."""
    new = Forge.root("new root")
    authority.offer(loaded(tmp_path / "ca", sub_ca(root, p256()), root, new), NOW)
    assert [*authority.roots] == [root.der, new.der]
    authority.offer(loaded(tmp_path / "ca", sub_ca(new, p256()), new), NOW)
    assert authority.waiting is None
    assert authority.root_der == new.der
    assert authority.former == (FormerRoot(root.der, NOW.timestamp() + LIFE_S),)


def test_going_back_to_the_old_root_forgets_that_it_was_former(
    tmp_path: Path, authority: ExternalAuthority, root: Forge
) -> None:
    """An operator who undoes a change must not lose the root an hour later."""
    old = authority.ca
    new = Forge.root("new root")
    authority.offer(loaded(tmp_path / "ca", sub_ca(new, p256()), new), NOW)
    authority.activate(NOW)
    authority.offer(old, NOW)
    authority.activate(NOW)
    authority.retire(NOW + timedelta(seconds=2 * LIFE_S))
    assert authority.roots == (root.der,)


def test_an_expired_ca_signs_nothing(tmp_path: Path, root: Forge) -> None:
    """Peers would refuse it; the operator reads which file to renew."""
    ca = loaded(tmp_path / "ca", sub_ca(root, p256(), life=timedelta(hours=1)), root)
    authority = ExternalAuthority(ca, PrivateKey.generate(), svid_lifetime_s=LIFE_S, now=NOW)
    request = make_signing_request(PrivateKey.generate())
    with pytest.raises(TrustError, match=r"trust\.ca_dir") as refused:
        authority.issue_gateway(request, now=NOW + timedelta(hours=2), lifetime_s=LIFE_S)
    assert refused.value.code == "authority-not-valid"


def test_former_roots_survive_a_restart(tmp_path: Path, root: Forge) -> None:
    """Dropped early, they would cost the connections of workers that have not renewed yet."""
    path = tmp_path / "former-roots.json"
    assert load_former(path) == ()
    former = (FormerRoot(root.der, 123.0),)
    save_former(path, former)
    assert load_former(path) == former
    ca = loaded(tmp_path / "ca", sub_ca(root, p256()), root)
    current = ExternalAuthority(ca, PrivateKey.generate(), svid_lifetime_s=LIFE_S, now=NOW, former=former)
    assert current.former == (), "a root that signs is no former one"


@pytest.mark.parametrize("content", [b"", b"{}", b'[{"der": "AAAA", "until": 1}]', b'[{"der": 1}]', b"\xff"])
def test_damaged_former_roots_are_named(tmp_path: Path, content: bytes) -> None:
    """The file is ours; a full disk may still have cut it."""
    path = tmp_path / "former-roots.json"
    path.write_bytes(content)
    with pytest.raises(TrustError, match="former roots can't be read"):
        load_former(path)
