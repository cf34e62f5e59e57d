"""A cluster's keys over a rotation: what signs, what is in the bundle, what survives a crash."""

from __future__ import annotations

import shutil
from datetime import UTC, datetime
from pathlib import Path

import pytest

from tests.forge import NOW
from trust.bundle import Bundle, RecordKey, encode_bundle, parse_bundle
from trust.errors import PeerRejected, TrustError
from trust.keyring import Keyring
from trust.keys import PrivateKey
from trust.rotation import CannotRotate, Stage, Step
from trust.spiffe_id import gateway_id
from trust.svid import make_signing_request, svid_from
from trust.verify import validate_gateway, validate_record_chain

EAST = "east.acme.test"
T = NOW.timestamp()


def load(directory: Path) -> Keyring:
    return Keyring.load_or_create(directory / "trust", EAST, NOW)


def issue(keyring: Keyring, gateway: str = "gw-1", lifetime_s: float = 600.0, now: datetime = NOW) -> list[bytes]:
    key = PrivateKey.generate()
    chain = keyring.issue_gateway(make_signing_request(key), now=now, lifetime_s=lifetime_s, gateway=gateway)
    svid_from(chain, key)
    return chain


def judge(chain: list[bytes], bundle: Bundle, now: datetime = NOW) -> str:
    try:
        identity = validate_gateway(chain, {EAST: bundle.authorities}, now, revoked={EAST: bundle.revoked})
    except PeerRejected as error:
        return error.code
    assert identity == gateway_id(EAST)
    return "let in"


def record_key_by(keyring: Keyring, pin: str) -> object:
    return RecordKey.of(validate_record_chain(keyring.record_chain, pin, EAST, NOW)).kid


def test_a_rotation_from_beginning_to_end(tmp_path: Path) -> None:
    """Certificates of both roots are good from the preparation until the retirement; whoever pinned the old root finds
    the way to the new record key for as long, and whoever pins the new one as soon as it signs."""
    keyring = load(tmp_path)
    old = keyring.fingerprint
    before, first = issue(keyring), keyring.bundle(1)
    keyring.prepare(T, 1, forced=False)
    prepared = keyring.bundle(keyring.sequence)
    assert keyring.sequence == 2
    assert (len(prepared.authorities), len(prepared.record_keys)) == (2, 2)
    assert prepared.authorities[0] == first.authorities[0]
    assert keyring.fingerprint == old, "the old one signs, and is what new peers pin"
    assert judge(issue(keyring), first) == "let in"
    keyring.take_step(Step.ACTIVATE, T, 2)
    assert keyring.bundle(2) == prepared, "it was announced before it signs"
    assert keyring.fingerprint != old
    assert judge(before, prepared) == judge(issue(keyring), prepared) == "let in"
    assert judge(issue(keyring), first) == "unknown-authority"
    kid = RecordKey.of(keyring.record_key.public_key).kid
    assert record_key_by(keyring, old) == record_key_by(keyring, keyring.fingerprint) == kid
    keyring.take_step(Step.RETIRE, T, 2)
    after = keyring.bundle(keyring.sequence)
    assert (keyring.sequence, len(after.authorities), len(after.record_keys)) == (3, 1, 1)
    assert judge(before, after) == "unknown-authority"
    with pytest.raises(PeerRejected, match=keyring.fingerprint) as caught:
        record_key_by(keyring, old)
    assert caught.value.code == "wrong-root"
    assert not (tmp_path / "trust" / "ca.key").exists()
    again = load(tmp_path)
    assert again.bundle(3) == after
    assert (again.fingerprint, again.record_chain) == (keyring.fingerprint, keyring.record_chain)


def test_every_stage_survives_a_restart(tmp_path: Path) -> None:
    """Another process that loads the same directory signs with the same keys and says the same."""
    keyring = load(tmp_path)

    def same() -> None:
        other = load(tmp_path)
        assert (other.rotation, other.sequence, other.fingerprint) == (
            keyring.rotation,
            keyring.sequence,
            keyring.fingerprint,
        )
        assert other.bundle(9) == keyring.bundle(9)
        assert [*other.record_chain] == [*keyring.record_chain]

    issue(keyring)
    same()
    keyring.prepare(T, 1, forced=True)
    same()
    keyring.take_step(Step.ACTIVATE, T, 2)
    same()
    keyring.revoke_root(load(tmp_path).fingerprint, T, 2)
    same()
    keyring.take_step(Step.SILENCE, T, 3)
    same()
    keyring.take_step(Step.FINISH, T, 4)
    same()
    keyring.revoke_gateway("gw-1", T, 4, own=True)
    same()


def test_a_crash_between_the_keys_and_the_state_changes_nothing(tmp_path: Path) -> None:
    """Keys that were made and not named yet are as if they had never been, and make no room."""
    keyring = load(tmp_path)
    keyring.prepare(T, 1, forced=False)
    trust = tmp_path / "trust"
    made = next((trust / "roots").iterdir())
    (trust / "keyring.json").unlink()
    shutil.copytree(made, trust / "roots" / "new")
    again = load(tmp_path)
    assert again.rotation.stage is Stage.STEADY
    again.prepare(T, 1, forced=False)
    assert [path.name for path in (trust / "roots").iterdir()] == [again.rotation.other]


def test_the_revocation_of_the_only_root(tmp_path: Path) -> None:
    """Certificates under it are refused at once; who believed it until now follows the link, and nobody else does."""
    keyring = load(tmp_path)
    old, stolen, believed = keyring.fingerprint, issue(keyring), keyring.bundle(1)
    keyring.revoke_root(old, T, 1)
    bundle = keyring.bundle(keyring.sequence)
    assert keyring.sequence == 2
    assert judge(stolen, bundle) == "unknown-authority"
    assert judge(issue(keyring), bundle) == "let in"
    assert len(bundle.record_keys) == 2, "until everything is signed anew"
    key = validate_record_chain(keyring.record_chain, believed.authorities, EAST, NOW)
    assert RecordKey.of(key) == bundle.record_keys[1]
    keyring.take_step(Step.SILENCE, T, 2)
    assert keyring.bundle(3).record_keys == (RecordKey.of(keyring.record_key.public_key),)
    keyring.take_step(Step.FINISH, T, 3)
    assert len(keyring.record_chain) == 2, "the old root has no word any more"


def test_our_own_gateway_goes_on_with_other_certificates(tmp_path: Path) -> None:
    """What it has so far is refused; what it gets from here on is not, and in time nothing needs to be said of it."""
    keyring = load(tmp_path)
    stolen = issue(keyring)
    keyring.revoke_gateway("gw-1", T, 1, own=True)
    bundle = parse_bundle(encode_bundle(keyring.bundle(2)), EAST)
    assert judge(stolen, bundle) == "revoked"
    assert judge(issue(keyring), bundle) == "let in"
    assert judge(issue(keyring, "gw-2"), bundle) == "let in"
    assert not keyring.forget_ended(T + 500, 2)
    assert keyring.forget_ended(T + 700, 2)
    assert not keyring.revoked
    assert keyring.sequence == 3


def test_another_gateway_is_out_for_good(tmp_path: Path) -> None:
    keyring = load(tmp_path)
    keyring.revoke_gateway("gw-2", T, 1, own=False)
    bundle = keyring.bundle(2)
    assert judge(issue(keyring, "gw-2"), bundle) == "revoked"
    assert not keyring.forget_ended(T + 1e8, 2)


def test_a_certificate_is_revoked_by_its_serial_number(tmp_path: Path) -> None:
    keyring = load(tmp_path)
    keyring.revoke_serial("abc123", T, 7)
    assert keyring.sequence == 8, "above what was published"
    assert dict(keyring.bundle(8).revoked.serials) == {"abc123": int(T) + 87_000}


def test_two_gateways_share_the_directory(tmp_path: Path) -> None:
    """What one changes the other reads before it changes anything itself."""
    first, second = load(tmp_path), load(tmp_path)
    assert not second.reload(T)
    first.prepare(T, 1, forced=False)
    with pytest.raises(TrustError) as caught:
        second.prepare(T, 1, forced=False)
    assert caught.value.code == "keyring-changed"
    assert second.reload(T)
    assert second.bundle(2) == first.bundle(2)
    assert not second.reload(T)
    with pytest.raises(CannotRotate):
        second.prepare(T, 2, forced=False)


def test_what_is_not_ours_is_not_revoked(tmp_path: Path) -> None:
    with pytest.raises(CannotRotate, match="no root of this cluster"):
        load(tmp_path).revoke_root("sha256:" + "0" * 64, T, 1)


def test_damage_is_named(tmp_path: Path) -> None:
    """It never begins with other keys than the ones it had."""
    keyring = load(tmp_path)
    keyring.prepare(T, 1, forced=False)
    keyring.take_step(Step.ACTIVATE, T, 2)
    state = tmp_path / "trust" / "keyring.json"
    good = state.read_bytes()
    state.write_bytes(good[:50])
    with pytest.raises(TrustError, match=r"keyring\.json"):
        load(tmp_path)
    state.write_bytes(good)
    shutil.rmtree(tmp_path / "trust" / "roots")
    with pytest.raises(TrustError, match="restore it from a backup"):
        load(tmp_path)


def test_the_clock_of_a_rotation_is_utc(tmp_path: Path) -> None:
    """Restarts and other gateways read it from the file."""
    keyring = load(tmp_path)
    keyring.prepare(T, 1, forced=False)
    assert datetime.fromtimestamp(load(tmp_path).rotation.since, UTC) == NOW
