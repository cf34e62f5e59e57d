"""What a peer said, as far as we believe it: last good values, mark and sweep, peers that are away."""

from __future__ import annotations

import copy
import itertools
from collections.abc import Iterator
from datetime import UTC, datetime
from pathlib import Path as FilePath

import pytest

from discovery.model import Port, Protocol, ServiceName
from federation import paths
from federation.errors import RefusalCode
from federation.journal import Entry
from federation.paths import BUNDLE, Kind, Path
from federation.peer_events import (
    BundleChanged,
    Deleted,
    Dropped,
    ExportChanged,
    ExportsRestored,
    GatewaysChanged,
    ListingBegan,
    ListingEnded,
    ListingWanted,
    PeerChange,
    PeerEvent,
    Put,
    Refused,
    Stored,
)
from federation.peer_keys import PeerKeys
from federation.peer_memory import BelievedBundle, recall_bundle
from federation.peer_state import PeerState
from federation.record import sign_record
from federation.values import AckValue, ExportValue, GatewayValue, encode
from tests.federation_members import forge, make_authority
from trust.authority import Authority
from trust.bundle import RecordKey, encode_bundle
from trust.keyring import Keyring
from trust.rotation import Step

PAY = ServiceName("shop", "pay")
OLD = ServiceName("shop", "old")
EXPORT = ExportValue((Port("http", 80, Protocol.HTTP),), ("*",), 1.0)


@pytest.fixture(scope="module")
def authority(tmp_path_factory: pytest.TempPathFactory) -> Authority:
    return make_authority(tmp_path_factory.mktemp("ca"), "west")


class West:
    """The peer as etcd would show it: signs what it is told to, in ever growing sequences."""

    def __init__(self, authority: Authority, now: float) -> None:
        self.authority = authority
        self.now = now
        self._sequences: Iterator[int] = itertools.count(1)

    def keys(self) -> PeerKeys:
        return PeerKeys(self.authority.trust_domain, self.authority.fingerprint)

    def state(self) -> PeerState:
        return PeerState("west", "acme", self.keys())

    def put(self, path: Path, value: bytes) -> Put:
        raw = forge(
            self.authority,
            "west",
            path,
            value,
            sequence=next(self._sequences),
            issued_at=self.now,
            with_chain=path == BUNDLE,
        )
        return Put(path, raw)

    def bundle(self, sequence: int = 1) -> Put:
        return self.put(BUNDLE, encode_bundle(self.authority.bundle(sequence)))

    def export(self, name: ServiceName = PAY, value: ExportValue = EXPORT) -> Put:
        return self.put(paths.export(name), encode(value))

    def gateway(self, gateway_id: str = "g1") -> Put:
        return self.put(paths.gateway(gateway_id), encode(GatewayValue(gateway_id, ("gw:15443",))))

    def ack(self, sequence: int) -> Put:
        return self.put(paths.ack("east"), encode(AckValue(sequence)))

    def key_id(self) -> bytes:
        """Which key signs, as `PeerKeys.key_id` has it."""
        key = RecordKey.of(self.authority.record_key.public_key)
        return f"{key.x}.{key.y}".encode()

    def listed(self, state: PeerState, *puts: Put) -> list[PeerChange]:
        """A whole listing that shows these."""
        events: list[PeerEvent] = [ListingBegan(), *puts, ListingEnded()]
        changes = [change for event in events for change in state.apply(event, self.now)]
        return [change for change in changes if not isinstance(change, Stored)]


@pytest.fixture
def west(authority: Authority) -> West:
    from time import time

    return West(authority, time() + 1)


def test_a_listing_brings_everything(west: West) -> None:
    state = west.state()
    changes = west.listed(state, west.bundle(), west.export(), west.gateway(), west.ack(3))
    assert changes == [BundleChanged(1), ExportChanged(PAY, EXPORT), GatewaysChanged()]
    assert state.has_lease
    assert state.acks == {"east": 3}
    assert state.keys.bundle is not None
    assert state.keys.bundle.authorities == (west.authority.root_der,)


def test_the_last_good_value_stays_when_a_bad_one_comes(west: West) -> None:
    """And is named until the place is good again or empty."""
    state = west.state()
    good = west.export()
    west.listed(state, west.bundle(), good)
    (refused,) = state.apply(Put(paths.export(PAY), b"rubbish"), west.now)
    assert isinstance(refused, Refused)
    assert state.exports == {PAY: EXPORT}
    assert [refusal.path for refusal in state.refusals.current()] == ["exports/shop/pay"]
    # The good one put back as it was is believed still, though its sequence is not above itself.
    assert state.apply(good, west.now) == []
    assert state.refusals.current() == ()
    assert state.apply(Put(paths.export(PAY), b"rubbish"), west.now) != []
    assert ExportChanged(PAY, None) in state.apply(Deleted(paths.export(PAY)), west.now)
    assert state.refusals.current() == ()


def test_a_value_under_rubbish_survives_a_listing(west: West) -> None:
    """The place is not empty, so the sweep must not take what was believed there."""
    state = west.state()
    bundle, export = west.bundle(), west.export()
    west.listed(state, bundle, export)
    changes = west.listed(state, bundle, Put(paths.export(PAY), b"rubbish"))
    assert [type(change) for change in changes] == [Refused]
    assert state.exports == {PAY: EXPORT}
    assert west.listed(state, bundle, Put(paths.export(PAY), b"rubbish")) == []


def test_a_withdrawn_record_does_not_come_back(west: West) -> None:
    """Deleted by its owner, put again by somebody else: a rollback."""
    state = west.state()
    export = west.export()
    west.listed(state, west.bundle(), export)
    state.apply(Deleted(paths.export(PAY)), west.now)
    (refused,) = state.apply(export, west.now)
    assert isinstance(refused, Refused)
    assert refused.code == "rolled-back"
    assert not state.exports
    assert ExportChanged(PAY, EXPORT) in state.apply(west.export(), west.now)


def test_a_listing_sweeps_what_it_did_not_show(west: West) -> None:
    """Mark and sweep: withdrawn while we were away from etcd."""
    state = west.state()
    bundle, pay, old = west.bundle(), west.export(), west.export(OLD)
    west.listed(state, bundle, pay, old, west.ack(1))
    changes = west.listed(state, bundle, pay)
    assert ExportChanged(OLD, None) in changes
    assert {change.path for change in changes if isinstance(change, Dropped)} == {paths.export(OLD), paths.ack("east")}
    assert set(state.exports) == {PAY}
    assert state.acks == {}


def test_a_peer_that_is_away_is_not_empty(west: West) -> None:
    """An etcd that lost its data says nothing about the peer; when it has said everything again, the rest is gone."""
    state = west.state()
    west.listed(state, west.bundle(), west.export(), west.export(OLD), west.gateway())
    assert west.listed(state) == [GatewaysChanged()]
    assert state.away
    assert set(state.exports) == {PAY, OLD}
    assert not state.has_lease
    assert list(state.gateways) == ["g1"]
    state.apply(west.export(), west.now)
    assert set(state.exports) == {PAY, OLD}
    changes = state.apply(west.bundle(), west.now)
    assert ExportChanged(OLD, None) in changes
    assert set(state.exports) == {PAY}
    assert not state.away


def test_a_deleted_bundle_takes_nothing_with_it(west: West) -> None:
    state = west.state()
    bundle = west.bundle()
    west.listed(state, bundle, west.export())
    assert state.apply(Deleted(BUNDLE), west.now) == []
    assert set(state.exports) == {PAY}
    state.apply(west.export(), west.now)
    state.apply(bundle, west.now)
    assert not state.away
    assert state.exports


def test_records_wait_for_the_bundle(west: West) -> None:
    """Without keys nothing can be judged: it is neither believed nor refused, and listed again with the bundle."""
    state = west.state()
    export = west.export()
    assert state.apply(export, west.now) == []
    changes = state.apply(west.bundle(), west.now)
    assert [type(change) for change in changes] == [BundleChanged, ListingWanted, Stored]
    assert state.apply(export, west.now)[0] == ExportChanged(PAY, EXPORT)
    assert not state.refusals.counts


def test_a_bundle_goes_only_forward(west: West) -> None:
    """The record's sequence grows, the bundle's inside it does not: a replay by a careless owner."""
    state = west.state()
    west.listed(state, west.bundle(sequence=5))
    (refused,) = state.apply(west.bundle(sequence=4), west.now)
    assert isinstance(refused, Refused)
    assert refused.code == "rolled-back"
    assert state.keys.sequence == 5
    assert [type(change) for change in state.apply(west.bundle(sequence=6), west.now)] == [BundleChanged, Stored]


def test_a_bundle_that_is_no_bundle_is_refused(west: West) -> None:
    state = west.state()
    (refused,) = state.apply(west.put(BUNDLE, b'{"keys":7}'), west.now)
    assert isinstance(refused, Refused)
    assert refused.code == "malformed-value"
    assert state.keys.bundle is None


def test_another_root_than_the_pinned_one_is_refused(west: West, tmp_path: FilePath) -> None:
    """Also one that names the same trust domain; and a record without any chain."""
    impostor = West(make_authority(tmp_path, "west"), west.now)
    state = west.state()
    (refused,) = state.apply(impostor.bundle(), west.now)
    assert isinstance(refused, Refused)
    assert refused.code == "bad-chain"
    raw = forge(west.authority, "west", BUNDLE, b"{}", sequence=9, issued_at=west.now)
    (bare,) = state.apply(Put(BUNDLE, raw), west.now)
    assert isinstance(bare, Refused)
    assert bare.code == "bad-chain"


def test_the_accepted_bundle_vouches_for_the_next(west: West, tmp_path: FilePath) -> None:
    """Rotation: a bundle whose signer is a record key of the one before needs no chain to the pin."""
    state = west.state()
    west.listed(state, west.bundle())
    value = encode_bundle(west.authority.bundle(2))
    raw = forge(west.authority, "west", BUNDLE, value, sequence=50, issued_at=west.now)
    assert state.apply(Put(BUNDLE, raw), west.now)[0] == BundleChanged(2)


def test_the_last_gateway_is_kept_without_its_lease(west: West) -> None:
    """Our tunnels to it may stand; with another gateway in its place there is no reason to keep it."""
    state = west.state()
    west.listed(state, west.bundle(), west.gateway("g1"), west.gateway("g2"))
    state.apply(Deleted(paths.gateway("g1")), west.now)
    assert list(state.gateways) == ["g2"]
    state.apply(Deleted(paths.gateway("g2")), west.now)
    assert not state.has_lease
    assert list(state.gateways) == ["g2"]
    changes = state.apply(west.gateway("g3"), west.now)
    assert list(state.gateways) == ["g3"]
    assert any(isinstance(change, Dropped) and change.path == paths.gateway("g2") for change in changes)


def test_what_the_disk_held_is_verified_again_and_listed_later(west: West, tmp_path: FilePath) -> None:
    """Restored gateways have no lease until etcd shows it; the same bytes in a listing are no news; a forged line on
    disk is refused as it would be in etcd."""
    state = west.state()
    bundle, pay, g1, g2 = west.bundle(), west.export(), west.gateway("g1"), west.gateway("g2")
    entries = {put.path: Entry(put.raw) for put in (pay, g1, g2, bundle)} | {paths.export(OLD): Entry(b"forged")}
    changes = list(state.restore(entries, {paths.ack("east"): 10**6}, west.now))
    assert ExportChanged(PAY, EXPORT) in changes
    assert [type(change) for change in changes].count(Refused) == 1
    assert state.away
    assert [known.leased for known in state.gateways.values()] == [False, False]
    assert not [change for change in west.listed(state, bundle, pay, g2) if isinstance(change, ExportChanged)]
    assert list(state.gateways) == ["g2"]
    assert state.has_lease
    # The sequences of empty places came back as well.
    (refused,) = state.apply(west.ack(1), west.now)
    assert isinstance(refused, Refused)
    assert refused.code == "rolled-back"


def test_what_is_sealed_is_believed_only_under_the_key_that_it_was_verified_with(
    west: West, tmp_path: FilePath
) -> None:
    """A seal stands in for the signature alone: without the key in the accepted bundle, at another place, or for the
    bundle itself, it is worth nothing."""
    bundle, pay = west.bundle(), west.export()
    forged = pay.raw[:-8] + b"AAAAAAAA"
    key_id = west.key_id()

    def refusals(**entries: Entry) -> list[RefusalCode]:
        state = west.state()
        taken = {Path(Kind.EXPORT, ("shop", name)): entry for name, entry in entries.items()}
        restored = state.restore({BUNDLE: Entry(bundle.raw), **taken}, {}, west.now)
        codes = [change.code for change in restored if isinstance(change, Refused)]
        assert len(state.exports) + len(codes) == len(entries)
        return codes

    for export in (None, EXPORT):
        assert refusals(pay=Entry(forged, key_id, 2, export)) == [], "the seal was believed in place of the signature"
        assert refusals(pay=Entry(forged, b"", 2, export)) == ["bad-signature"]
        assert refusals(pay=Entry(forged, b"x.y", 2, export)) == ["bad-signature"]
        stranger = forge(make_authority(tmp_path, "eu"), "west", pay.path, b"{}", sequence=9, issued_at=1.0)
        assert refusals(pay=Entry(stranger, key_id, 9, export)) == ["unknown-key"]
    assert refusals(old=Entry(pay.raw, key_id, 2)) == ["wrong-path"]
    state = west.state()
    harmed = Entry(bundle.raw[:-8] + b"AAAAAAAA", key_id)
    assert [change.code for change in state.restore({BUNDLE: harmed}, {}, west.now) if isinstance(change, Refused)]
    # What comes from etcd is verified.
    state = west.state()
    list(state.restore({BUNDLE: Entry(bundle.raw)}, {}, west.now))
    assert [type(change) for change in state.apply(Put(pay.path, forged), west.now)] == [Refused]


def test_what_is_sealed_does_not_go_back(west: West) -> None:
    """A journal whose parts somebody has put together anew may hold both: that a record was deleted at a sequence, and
    the record."""
    bundle, pay = west.bundle(), west.export()
    state = west.state()
    entries = {BUNDLE: Entry(bundle.raw), pay.path: Entry(pay.raw, west.key_id(), 2, EXPORT)}
    changes = list(state.restore(entries, {pay.path: 2}, west.now))
    assert [change.code for change in changes if isinstance(change, Refused)] == ["rolled-back"]
    assert not state.exports


def test_what_is_sealed_is_told_together_and_not_stored_again(west: West) -> None:
    """It lies on disk as it is. What was verified by its signature is stored, so that the next start finds a seal; what
    was sealed is the last good value like any other: a listing knows it again, and nothing older is taken."""
    bundle, pay = west.bundle(), west.export()
    entries = {put.path: Entry(put.raw) for put in (bundle, west.export(OLD))}
    entries[pay.path] = Entry(pay.raw, west.key_id(), 2, EXPORT)
    state = west.state()
    changes = list(state.restore(entries, {}, west.now))
    stored = {change.path: change for change in changes if isinstance(change, Stored)}
    assert stored.keys() == {bundle.path, paths.export(OLD)}
    assert (stored[paths.export(OLD)].key_id, stored[paths.export(OLD)].export) == (west.key_id(), EXPORT)
    assert ExportsRestored({PAY: EXPORT}) in changes
    assert state.exports.keys() == {PAY, OLD}
    assert state.sees_again(str(pay.path), pay.raw)
    assert not state.sees_again(str(pay.path), pay.raw + b"x")
    older = forge(west.authority, "west", pay.path, encode(EXPORT), sequence=2, issued_at=west.now)
    assert [type(change) for change in state.apply(Put(pay.path, older), west.now)] == [Refused]
    assert not state.sees_again(str(pay.path), pay.raw), "what is good again takes the refusal away, so it is looked at"


def test_a_proof_stands_for_the_signature_under_that_key_alone(west: West, tmp_path: FilePath) -> None:
    """What a thread has checked is not checked again; another key's proof, or one for the bundle, is worth nothing."""
    bundle, pay = west.bundle(), west.export()
    state = west.state()
    assert state.claim(pay.path, pay.raw) is None, "there is no key to check it with"
    state.apply(bundle, west.now)
    claim = state.claim(pay.path, pay.raw)
    assert claim is not None
    assert state.claim(BUNDLE, bundle.raw) is None, "the bundle is always checked where it is taken"
    assert state.claim(pay.path, b"rubbish") is None
    forged = pay.raw[:-8] + b"AAAAAAAA"
    for proof in (b"", b"another.key"):
        other = west.state()
        other.apply(bundle, west.now)
        (refused,) = other.apply(Put(pay.path, forged, proof), west.now)
        assert isinstance(refused, Refused)
        assert refused.code == "bad-signature"
    assert ExportChanged(PAY, EXPORT) in state.apply(Put(pay.path, forged, claim.key_id), west.now)
    assert state.claim(pay.path, forged) is None, "what is believed already needs no check"
    changes = west.state().apply(Put(BUNDLE, bundle.raw[:-8] + b"AAAAAAAA", claim.key_id), west.now)
    assert [type(change) for change in changes] == [Refused]


def test_virtual_ips_of_a_peer_are_its_own_business(west: West) -> None:
    """They are not signed: nothing of them is read, refused or kept."""
    state = west.state()
    west.listed(state, west.bundle())
    assert state.apply(Put(paths.vip(PAY), b"10.0.0.1"), west.now) == []
    assert state.apply(Deleted(paths.vip(PAY)), west.now) == []


@pytest.fixture
def now() -> float:
    return 1_800_000_000.0


class Rotating:
    """West with a keyring, and what it writes into etcd with the keys of now."""

    def __init__(self, directory: FilePath, now: float) -> None:
        self.keyring = Keyring.load_or_create(directory / "trust", "west.acme.test", datetime.fromtimestamp(now, UTC))
        self.now = now
        self._sequences: Iterator[int] = itertools.count(1)

    def put(self, path: Path, value: bytes) -> Put:
        raw = sign_record(
            value,
            federation="acme",
            cluster="west",
            path=str(path),
            sequence=next(self._sequences),
            issued_at=self.now,
            key=self.keyring.record_key,
            kid=RecordKey.of(self.keyring.record_key.public_key).kid,
            chain=self.keyring.record_chain if path == BUNDLE else (),
        )
        return Put(path, raw)

    def bundle(self) -> Put:
        return self.put(BUNDLE, encode_bundle(self.keyring.bundle(self.keyring.sequence)))

    def state(self, pin: str) -> PeerState:
        return PeerState("west", "acme", PeerKeys("west.acme.test", pin))


def test_a_peer_is_followed_to_another_root(tmp_path: FilePath, now: float) -> None:
    """Over every stage; from then on its old root has no word any more, whatever the pin says, and a restart knows."""
    west = Rotating(tmp_path, now)
    pin = west.keyring.fingerprint
    state = west.state(pin)
    assert BundleChanged(1) in state.apply(west.bundle(), now)
    thief = copy.deepcopy(west.bundle())
    west.keyring.prepare(now, 1, forced=False)
    assert BundleChanged(2) in state.apply(west.bundle(), now)
    west.keyring.take_step(Step.ACTIVATE, now, 2)
    late = west.state(pin)
    assert BundleChanged(2) in late.apply(west.bundle(), now), "who has only the pin finds the way while both are known"
    state.apply(west.bundle(), now)
    west.keyring.take_step(Step.RETIRE, now, 2)
    retired = west.bundle()
    assert BundleChanged(3) in state.apply(retired, now)
    refused = west.state(pin).apply(retired, now)
    assert [change.code for change in refused if isinstance(change, Refused)] == [RefusalCode.BAD_CHAIN]
    assert west.keyring.fingerprint in str(refused)
    assert [change.code for change in state.apply(thief, now) if isinstance(change, Refused)] == [RefusalCode.BAD_CHAIN]
    believed = BelievedBundle("west.acme.test", pin, retired.raw.decode())
    ask = {"federation": "acme", "cluster": "west", "trust_domain": "west.acme.test"}
    recalled = recall_bundle(believed, pin=pin, **ask)
    assert recalled is not None
    again = west.state(pin)
    assert again.recall(recalled, retired.raw) == [BundleChanged(3)]
    assert again.apply(west.bundle(), now)[-1:] != []
    assert recall_bundle(believed, pin=west.keyring.fingerprint, **ask) is not None
    assert recall_bundle(believed, pin="sha256:" + "0" * 64, **ask) is None, "the operator meant somebody else"


def test_what_a_revoked_record_key_signed_is_dropped(tmp_path: FilePath, now: float) -> None:
    """As soon as the bundle does not hold the key any more; what was signed anew by then stays."""
    west = Rotating(tmp_path, now)
    state = west.state(west.keyring.fingerprint)
    for path in (paths.export(PAY), paths.export(OLD)):
        state.apply(west.bundle(), now)
        state.apply(west.put(path, encode(EXPORT)), now)
    west.keyring.revoke_root(west.keyring.fingerprint, now, 1)
    state.apply(west.bundle(), now)
    assert set(state.exports) == {PAY, OLD}, "until it had the time to sign anew"
    state.apply(west.put(paths.export(PAY), encode(EXPORT)), now)
    west.keyring.take_step(Step.SILENCE, now, 2)
    changes = state.apply(west.bundle(), now)
    assert ExportChanged(OLD, None) in changes
    assert ListingWanted() in changes
    assert set(state.exports) == {PAY}
